"""The utilities of ``autogluon.multimodal.utils`` that concern tables of pictures."""

from __future__ import annotations

import base64
from pathlib import Path

from automm_serve.errors import ConfigError

__all__ = ["path_expander", "path_to_base64str_expander", "path_to_bytearray_expander"]

OTHERS = {
    "compute_semantic_similarity": "matching",
    "convert_data_for_ranking": "matching",
    "semantic_search": "matching",
    "merge_bio_format": "named entities",
    "visualize_ner": "named entities",
    "from_coco": "object detection",
    "from_coco_or_voc": "object detection",
    "from_dict": "object detection",
    "from_voc": "object detection",
    "get_detection_classes": "object detection",
    "object_detection_data_to_df": "object detection",
    "object_detection_df_to_coco": "object detection",
    "save_result_coco_format": "object detection",
    "save_result_voc_format": "object detection",
    "visualize_detection": "object detection",
    "shopee_dataset": "downloading a data set",
}
"""Utility of AutoGluon -> what it is for, and what this release does not do."""


def path_expander(path: str, base_folder: str | Path) -> str:
    """Return the absolute paths of a cell of paths with ``;`` between them."""
    return ";".join(str(file) for file in _files(path, base_folder))


def path_to_bytearray_expander(path: str, base_folder: str | Path) -> list[bytearray]:
    """Return the content of each file of a cell of paths."""
    return [bytearray(file.read_bytes()) for file in _files(path, base_folder)]


def path_to_base64str_expander(path: str, base_folder: str | Path) -> list[str]:
    """Return the content of each file of a cell of paths as base64."""
    return [base64.b64encode(file.read_bytes()).decode() for file in _files(path, base_folder)]


def _files(path: str, base_folder: str | Path) -> list[Path]:
    return [Path(base_folder, part).absolute() for part in path.split(";")]


def __getattr__(name: str) -> object:
    if name in OTHERS:
        raise ConfigError(
            where=f"automm.utils.{name}",
            what=f"it is for {OTHERS[name]}, which this release does not do",
            mend="Leave it out",
        )
    raise AttributeError(f"module 'automm.utils' has no attribute {name!r}")
