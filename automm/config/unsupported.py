"""Arguments of AutoGluon that this release does not act on: taken at their default, else refused.

A script that passes ``standalone=True`` goes on working; one that passes a teacher is told.
"""

from __future__ import annotations

from collections.abc import Mapping

from automm_serve.errors import ConfigError, near_name

DEFAULTS: Mapping[str, object] = {
    "classes": None,
    "clean_ckpts": True,
    "ensemble_mode": "one_shot",
    "ensemble_size": 2,
    "hyperparameter_tune_kwargs": None,
    "id_mappings": None,
    "labels": None,
    "match_label": None,
    "num_classes": None,
    "predictions": None,
    "predictors": None,
    "pretrained": True,
    "query": None,
    "response": None,
    "sample_data_path": None,
    "standalone": True,
    "teacher_predictor": None,
    "use_ensemble": False,
    "warn_if_exist": True,
}
"""Argument of AutoGluon 1.6.3 -> its default, at which it asks for nothing that we lack."""


def refuse_unsupported(call: str, given: Mapping[str, object]) -> None:
    """Refuse arguments that would be ignored.

    Args:
        call: Name of the call, for the message.
        given: Arguments beside those that the call knows.

    Raises:
        ConfigError: One is unknown, or asks for something that this release does not do.
    """
    for name, value in given.items():
        if name not in DEFAULTS:
            near = near_name(name, DEFAULTS)
            raise ConfigError(
                where=call,
                what=f"there is no argument {name!r}"
                + (f", but there is {near!r}" if near else ""),
                mend="Look at its docstring",
            )
        if value != DEFAULTS[name]:
            raise ConfigError(
                where=call,
                what=f"{name}={value!r} asks for something that this release does not do",
                mend="Leave the argument out",
            )
