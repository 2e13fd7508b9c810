"""Read names and defaults out of AutoGluon-Multimodal's wheel, without importing it.

    pip download --no-deps autogluon.multimodal==1.6.3
    python -m scripts.extract_autogluon autogluon_multimodal-1.6.3-py3-none-any.whl

Writes ``docs/autogluon-<version>.json``, the facts that ``scripts.migrating`` compares with.
"""

from __future__ import annotations

import ast
import io
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "autogluon/multimodal"

UTILITIES = (
    "compute_semantic_similarity", "convert_data_for_ranking", "from_coco", "from_coco_or_voc",
    "from_dict", "from_voc", "get_detection_classes", "merge_bio_format",
    "object_detection_data_to_df", "object_detection_df_to_coco", "path_expander",
    "path_to_base64str_expander", "path_to_bytearray_expander", "save_result_coco_format",
    "save_result_voc_format", "semantic_search", "shopee_dataset", "visualize_detection",
    "visualize_ner",
)  # fmt: skip
"""Of what ``utils`` offers, what its documentation shows; the rest serves the package itself."""


def extract(wheel: Path) -> dict[str, Any]:
    """Return version, methods, properties, utilities, commands and hyperparameter keys."""
    with zipfile.ZipFile(wheel) as archive:
        sources = {name: archive.read(name).decode() for name in archive.namelist()
                   if name.startswith(PACKAGE) and name.endswith((".py", ".yaml"))}  # fmt: skip
    predictor = _class(ast.parse(sources[f"{PACKAGE}/predictor.py"]), "MultiModalPredictor")
    methods, properties = {}, []
    for node in predictor.body:
        if not isinstance(node, ast.FunctionDef):
            continue
        decorators = [ast.unparse(one) for one in node.decorator_list]
        if "property" in decorators:
            properties.append(node.name)
        elif not node.name.startswith("_") or node.name == "__init__":
            methods[node.name] = _parameters(node)
    utilities = {}
    for name, source in sources.items():
        if name.startswith(f"{PACKAGE}/utils/") and name.endswith(".py"):
            for node in ast.parse(source).body:
                if isinstance(node, ast.FunctionDef) and node.name in UTILITIES:
                    utilities[node.name] = _parameters(node)
    return {
        "version": wheel.name.split("-")[1],
        "methods": methods,
        "properties": sorted(properties),
        "utilities": dict(sorted(utilities.items())),
        "hyperparameters": dict(_keys(sources)),
    }


def _class(tree: ast.Module, name: str) -> ast.ClassDef:
    return next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name)


def _parameters(node: ast.FunctionDef) -> dict[str, Any]:
    """Name -> default as JSON; a parameter without one has ``"<required>"``."""
    given = node.args
    names = [argument.arg for argument in given.args if argument.arg not in ("self", "cls")]
    required = len(names) - len(given.defaults)
    found: dict[str, Any] = dict.fromkeys(names[:required], "<required>")
    for name, default in zip(names[required:], given.defaults, strict=True):
        found[name] = ast.literal_eval(default)
    if given.kwarg:
        found[f"**{given.kwarg.arg}"] = "<any>"
    return found


def _keys(sources: dict[str, str]) -> list[tuple[str, Any]]:
    import yaml  # only here: what is extracted is committed

    found: list[tuple[str, Any]] = []
    for name, source in sorted(sources.items()):
        if name.endswith("/default.yaml"):
            _walk(yaml.load(io.StringIO(source), _Loader(yaml)), "", found)
    return sorted(found)


def _Loader(yaml: Any) -> Any:  # noqa: N802  # a class
    """A loader for which ``1e9`` is a number, as for OmegaConf."""
    import re

    class Loader(yaml.SafeLoader):  # type: ignore[misc]  # untyped
        """See above."""

    Loader.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"[-+]?\d[\d_]*(\.\d*)?[eE][-+]?\d+"), "0123456789"
    )
    return Loader


def _walk(tree: Any, stem: str, found: list[tuple[str, Any]]) -> None:
    for key, value in tree.items():
        if isinstance(value, dict):
            _walk(value, f"{stem}{key}.", found)
        else:
            found.append((f"{stem}{key}", value))


def main(wheel: str) -> None:
    """Write the JSON."""
    facts = extract(Path(wheel))
    path = ROOT / "docs" / f"autogluon-{facts['version']}.json"
    path.write_text(json.dumps(facts, indent=1) + "\n")
    print(f"{path.name}: {len(facts['methods'])} methods, {len(facts['properties'])} properties, "
          f"{len(facts['utilities'])} utilities, {len(facts['hyperparameters'])} keys")  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1])
