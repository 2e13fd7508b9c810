"""Arguments of AutoGluon that this release does not act on: taken at their default, else refused.

A script that passes ``standalone=True`` goes on working; one that asks for an ensemble is told why
not.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from msgspec import Struct

from automm_serve.errors import ConfigError, near_name

MATCHING = "it is for matching, which this release does not do"
DETECTION = "it is for object detection, which this release does not do"
ENSEMBLE = "ensembles of predictors are not done in this release"


class Unsupported(Struct, frozen=True):
    """An argument that is not acted on.

    Attributes:
        default: Of AutoGluon 1.6.3, at which nothing is asked for.
        reason: Why another value is refused; empty where any value is right, as nothing depends
            on it.
        other_problem: Whether it is of no use in classification and regression.
    """

    default: object
    reason: str = ""
    other_problem: bool = False


_ID_MAPPINGS = Unsupported(None, MATCHING, other_problem=True)
_CANDIDATES = {
    "candidate_data": Unsupported(None, MATCHING, other_problem=True),
    "id_mappings": _ID_MAPPINGS,
}

UNSUPPORTED: Mapping[str, Mapping[str, Unsupported]] = {
    "MultiModalPredictor": {
        "query": Unsupported(None, MATCHING, other_problem=True),
        "response": Unsupported(None, MATCHING, other_problem=True),
        "match_label": Unsupported(None, MATCHING, other_problem=True),
        "num_classes": Unsupported(None, DETECTION, other_problem=True),
        "classes": Unsupported(None, DETECTION, other_problem=True),
        "sample_data_path": Unsupported(None, DETECTION, other_problem=True),
        "warn_if_exist": Unsupported(True),  # a path in use is refused, with or without a warning
        "use_ensemble": Unsupported(False, ENSEMBLE),
        "ensemble_size": Unsupported(2),  # of an ensemble, which use_ensemble asks for
        "ensemble_mode": Unsupported("one_shot"),
    },
    "fit": {
        "id_mappings": _ID_MAPPINGS,
        "standalone": Unsupported(True),  # what is saved needs no other file, ever
        "clean_ckpts": Unsupported(True),  # no checkpoints are left behind
        # Without use_ensemble AutoGluon does not read these three either.
        "predictions": Unsupported(None),
        "labels": Unsupported(None),
        "predictors": Unsupported(None),
    },
    "evaluate": {
        "query_data": Unsupported(None, MATCHING, other_problem=True),
        "response_data": Unsupported(None, MATCHING, other_problem=True),
        "id_mappings": _ID_MAPPINGS,
        "chunk_size": Unsupported(1024, MATCHING, other_problem=True),
        "similarity_type": Unsupported("cosine", MATCHING, other_problem=True),
        "cutoffs": Unsupported([1, 5, 10], MATCHING, other_problem=True),
        "eval_tool": Unsupported(None, DETECTION, other_problem=True),
        "predictions": Unsupported(None),  # as in fit
        "labels": Unsupported(None),
    },
    "predict": {
        **_CANDIDATES,
        "as_coco": Unsupported(False, DETECTION, other_problem=True),
        "result_save_path": Unsupported(None, DETECTION, other_problem=True),
    },
    "predict_proba": _CANDIDATES,
    "extract_embedding": {
        "id_mappings": _ID_MAPPINGS,
        "return_masks": Unsupported(
            False, "masks are of feature extraction without fit, which this release does not do",
            other_problem=True,
        ),
        "signature": Unsupported(None, MATCHING, other_problem=True),
    },
    "save": {"standalone": Unsupported(True)},  # what is saved needs no other file, ever
    "load": {},
}  # fmt: skip
"""Call -> argument of AutoGluon 1.6.3 -> what is to be said of it."""


def refuse_unsupported(
    call: str, given: Mapping[str, object], acted_on: Collection[str] = ()
) -> None:
    """Refuse arguments that would be ignored.

    Args:
        call: Name of the call, an entry of ``UNSUPPORTED``.
        given: Arguments beside those that the call knows.
        acted_on: Those that it knows, to be offered where one is misspelt.

    Raises:
        ConfigError: One is unknown, or asks for something that this release does not do.
    """
    known = UNSUPPORTED[call]
    for name, value in given.items():
        if name not in known:
            near = near_name(name, (*known, *acted_on))
            raise ConfigError(
                where=call,
                what=f"there is no argument {name!r}"
                + (f", but there is {near!r}" if near else ""),
                mend="Look at its docstring",
            )
        if known[name].reason and value != known[name].default:
            raise ConfigError(
                where=call,
                what=f"{name}={value!r} asks for something that this release does not do: "
                f"{known[name].reason}",
                mend="Leave the argument out",
            )
