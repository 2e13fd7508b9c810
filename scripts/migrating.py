"""Write ``docs/migrating.md``: every name of AutoGluon-Multimodal, and what becomes of it here.

    python -m scripts.migrating          # writes the page, prints the share

What is compared is a committed list of its names and defaults (``docs/autogluon-<version>.json``,
made by ``scripts.extract_autogluon``) with our signatures and our configuration as they are now. So
no row is a claim: each is looked up. A test writes the page anew and compares.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from automm import utils
from automm.config.autogluon_keys import find_foreign
from automm.config.overrides import FAST_DEV_RUN, READ_BY_NOTHING, RENAMED, keys_of, override
from automm.config.schema import Config
from automm.config.unsupported import UNSUPPORTED
from automm.predictor import MultiModalPredictor

ROOT = Path(__file__).resolve().parents[1]
FACTS = ROOT / "docs" / "autogluon-1.6.3.json"
PAGE = ROOT / "docs" / "migrating.md"

REQUIRED = "<required>"
Status = Literal["same", "mapped", "refused"]


class Row(NamedTuple):
    """What becomes of a name.

    Attributes:
        group: Heading.
        name: Of AutoGluon.
        status: ``same``: name and default; ``mapped``: taken, and it says what is meant;
            ``refused``: another value than the default ends in a ``ConfigError`` that says why.
        note: What is meant, or why not.
        ours: Whether it concerns classification and regression.
    """

    group: str
    name: str
    status: Status
    note: str = ""
    ours: bool = True


METHODS = {
    "export_onnx": "the graph alone, opset 20, batch and lengths dynamic; `export` writes what "
    "answers rows, preprocessing and all",
    "optimize_for_inference": "answers by ONNX Runtime on the CPU; for a GPU, "
    "`automm export --trt`",
    "dump_model": "`model.safetensors` instead of a pickle",
}
"""Methods that do the same in another way."""

PROPERTIES = {
    "class_labels": "a list, in the same order",
    "problem_property": "the entry of `automm.tasks.TASKS`",
}
OTHER_PROPERTIES = {
    "query": "matching",
    "response": "matching",
    "match_label": "matching",
    "classes": "object detection",
}

PARAMETERS = {
    ("load", "resume"): "goes on with a fit that was cut off, to the same result",
    ("predict", "**kwargs"): "those that AutoGluon reads there are for object detection",
    ("fit", "hyperparameter_tune_kwargs"): "its names; what the two `*_init_args` take is in "
    "[search.md](search.md)",
    ("predict", "save_results"): "writes `predictions.csv` into the predictor's folder",
    ("export_onnx", "data"): "not needed: the predictor keeps rows to try the graph on",
}
"""Parameters whose meaning or default differs."""

DEFAULTS = {
    "data.categorical.minimum_cat_count": "2: 100 drops whole columns of small tables",
    "data.categorical.maximum_num_cat": "1000: 20 drops whole columns",
    "model.names": "the four of every preset",
    "model.hf_text.pooling_mode": "auto: what the checkpoint's family was made for",
    "model.timm_image.max_image_num_per_column": "4: pictures beyond the first are not dropped",
    "model.categorical_mlp.data_types": "None: all that it can read",
    "model.numerical_mlp.data_types": "None: all that it can read",
    "model.hf_text.data_types": "None: all that it can read",
    "model.timm_image.data_types": "None: all that it can read",
    "model.ft_transformer.data_types": "None: all that it can read",
    "model.ft_transformer.head_activation": "None: the features go to head and fusion as they are",
    "model.fusion_transformer.head_activation": "None: what is fused goes to the head as it is",
    "env.strategy": "auto: DDP where there are several devices; the names with `spawn` are taken",
    "optim.lora.filter": "and the names of such layers in DistilBERT, CLIP, ModernBERT and timm",
}
"""Keys that are here with another default, and why."""


def rows() -> list[Row]:
    """Return a row for every name of the list."""
    facts = msgspec.json.decode(FACTS.read_bytes())
    return [
        *_methods(facts["methods"]),
        *_properties(facts["properties"]),
        *_utilities(facts["utilities"]),
        *_keys(facts["hyperparameters"]),
    ]


def share(found: list[Row]) -> float:
    """Return the share of names that are the same or mapped, of those that concern us."""
    ours = [row for row in found if row.ours]
    return sum(row.status != "refused" for row in ours) / len(ours)


def _methods(facts: Mapping[str, Mapping[str, Any]]) -> Iterator[Row]:
    for name, parameters in facts.items():
        called = "MultiModalPredictor" if name == "__init__" else name
        status: Status = "mapped" if name in METHODS else "same"
        if not callable(getattr(MultiModalPredictor, name, None)):
            yield Row("Methods", f"`{called}()`", "refused", "not there")
            continue
        yield Row("Methods", f"`{called}()`", status, METHODS.get(name, ""))
        known = inspect.signature(getattr(MultiModalPredictor, name)).parameters
        for parameter, default in parameters.items():
            yield _parameter(called, parameter, default, known)


def _parameter(
    call: str, name: str, default: object, known: Mapping[str, inspect.Parameter]
) -> Row:
    label = f"`{call}({name})`"
    note = PARAMETERS.get((call, name), "")
    if name in known:
        own = known[name].default
        own = REQUIRED if own is inspect.Parameter.empty else own
        alike = _plain(own) == default
        if not alike and not note:
            note = "not required" if default == REQUIRED else f"default {own!r}"
        return Row("Parameters", label, "mapped" if note else "same", note)
    if note:
        return Row("Parameters", label, "mapped", note)
    found = UNSUPPORTED.get(call, {}).get(name)
    if found is None:
        return Row("Parameters", label, "refused", "not there")
    if not found.reason:
        note = "any value is taken: nothing depends on it"
        return Row("Parameters", label, "mapped", note, not found.other_problem)
    return Row("Parameters", label, "refused", found.reason, not found.other_problem)


def _properties(facts: list[str]) -> Iterator[Row]:
    for name in facts:
        label = f"`{name}`"
        if name in OTHER_PROPERTIES:
            note = f"it is for {OTHER_PROPERTIES[name]}, not done here"
            yield Row("Properties", label, "refused", note, ours=False)
        elif hasattr(MultiModalPredictor, name) or name in vars(MultiModalPredictor(label="a")):
            note = PROPERTIES.get(name, "")
            yield Row("Properties", label, "mapped" if note else "same", note)
        else:
            yield Row("Properties", label, "refused", "not there")


def _utilities(facts: Mapping[str, Any]) -> Iterator[Row]:
    for name in facts:
        label = f"`utils.{name}`"
        if name in utils.__all__:
            yield Row("Utilities", label, "same", f"`automm.utils.{name}`")
        else:
            note = f"it is for {utils.OTHERS[name]}, not done here"
            yield Row("Utilities", label, "refused", note, ours=False)


def _keys(facts: Mapping[str, Any]) -> Iterator[Row]:
    config = Config()
    tree = msgspec.to_builtins(config)
    known = set(keys_of(config))
    for key, default in facts.items():
        label = f"`{key}`"
        meant = _meant(key, known)
        if meant == [key]:
            own = _look_up(tree, key)
            if _plain(own) == _plain(default):
                yield Row("Hyperparameters", label, "same")
            else:
                why = DEFAULTS.get(key, "")
                yield Row("Hyperparameters", label, "mapped",
                          f"default {why}" if why else f"default `{own}`")  # fmt: skip
        elif meant:
            names = " and ".join(f"`{name}`" for name in meant)
            yield Row("Hyperparameters", label, "mapped", names)
        elif key == FAST_DEV_RUN:
            yield Row("Hyperparameters", label, "mapped", "`optim.max_steps`, 1 for True")
        elif key in READ_BY_NOTHING:
            yield Row("Hyperparameters", label, "mapped", "AutoGluon does not read it either")
        else:
            found = find_foreign(key)
            if found is None:
                yield Row("Hyperparameters", label, "refused", "not there")
            elif found.is_only_value:
                note = f"`{found.default}`, the only value: {found.why}"
                yield Row("Hyperparameters", label, "mapped", note)
            else:
                status: Status = "refused" if found.refused else "mapped"
                note = found.why if found.refused else f"any value is taken: {found.why}"
                yield Row("Hyperparameters", label, status, note, not found.other_problem)


def _meant(key: str, known: set[str]) -> list[str]:
    """Our keys that a key of AutoGluon sets."""
    if key in known:
        return [key]
    if key in RENAMED:
        return [RENAMED[key]]
    if key.startswith("model.clip."):
        leaf = key.removeprefix("model.clip.")
        return [f"model.{part}.{leaf}" for part in ("clip_image", "clip_text")
                if f"model.{part}.{leaf}" in known]  # fmt: skip
    return []


def _look_up(tree: Any, key: str) -> Any:
    for part in key.split("."):
        tree = tree[part]
    return tree


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def page() -> str:
    """Return the whole page."""
    found = rows()
    ours = [row for row in found if row.ours]
    counts = {one: sum(row.status == one for row in ours) for one in ("same", "mapped", "refused")}
    lines = [
        "# From AutoGluon-Multimodal",
        "",
        "Change one import:",
        "",
        "```python",
        "from automm import MultiModalPredictor  # from autogluon.multimodal import …",
        "```",
        "",
        "What follows is generated (`python -m scripts.migrating`, part of `make regen`) from the "
        "names and",
        "defaults of AutoGluon-Multimodal 1.6.3 and from the signatures and settings of this "
        "release; a test",
        "writes it anew and tries each row.",
        "",
        f"Of {len(ours)} names that concern classification and regression {counts['same']} are the "
        f"same, {counts['mapped']} are",
        f"mapped and {counts['refused']} are refused: {share(found):.1%} same or mapped. "
        f"{len(found) - len(ours)} more are of other",
        "problems, which this release does not do.",
        "",
        "- *same*: the name, and its default;",
        "- *mapped*: taken, and the note says what is meant, or which default is another one;",
        "- *refused*: its default is taken; another value ends in an error with this reason.",
        "",
        "Parameters behind the third are passed by name. The names before AutoGluon 1.3 "
        "(`optimization.*` and others)",
        "mean what they mean today.",
    ]
    for group in dict.fromkeys(row.group for row in found):
        for title, part in (
            (group, [r for r in found if r.group == group and r.ours]),
            (f"{group} of other problems", [r for r in found if r.group == group and not r.ours]),
        ):
            if part:
                lines += ["", f"## {title}", "", "| name | here | |", "|---|---|---|"]
                lines += [f"| {r.name} | {r.status} | {r.note} |".replace("|  |", "| |")
                          for r in part]  # fmt: skip
    return "\n".join(lines) + "\n"


def check(found: list[Row]) -> list[str]:
    """Return the rows of keys and parameters whose claim is not true, tried out."""
    faults = []
    facts = msgspec.json.decode(FACTS.read_bytes())["hyperparameters"]
    for row in found:
        if row.group == "Hyperparameters":
            key = row.name.strip("`")
            try:
                default = facts.get(key) if key != "model.names" else ["hf_text"]  # null there
                override(Config(), {key: object() if row.status == "refused" else default})
            except ValueError as error:
                said = row.note in str(error) or row.note == "not there"
                if row.status != "refused" or not said:
                    faults.append(f"{key}: {row.status}, but {error}")
            else:
                if row.status == "refused":
                    faults.append(f"{key}: refused, but it is taken")
    return faults


def main() -> None:
    """Write the page, and say how far it is."""
    PAGE.write_text(page())
    found = rows()
    for row in found:
        if row.ours and row.status == "refused":
            print(f"refused: {row.name}: {row.note}")
    for fault in check(found):
        print(f"NOT TRUE: {fault}")
    print(f"{share(found):.1%} of what concerns classification and regression is same or mapped")


if __name__ == "__main__":
    main()
