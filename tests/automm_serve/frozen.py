"""The bundles that each format was frozen with, and copies of them to damage.

Format 2 was written by ``export_tiny`` with ``precisions=("fp16", "bf16")`` and
``default_precision="fp16"``; ``prepared.add_engine`` then added a plan of fp16 for 8.6 and an RTX
engine of fp32 for 8.6, 8.9 and 12.0: a few bytes each, which nothing can run.
"""

import shutil
from pathlib import Path

import msgspec

from automm_serve.manifest import MANIFEST, Manifest, encode_manifest

V1 = Path(__file__).resolve().parents[1] / "bundles" / "v1"
V2 = V1.with_name("v2")


def copy(folder: Path, bundle: Path = V1) -> Path:
    """Return a copy that may be changed."""
    return Path(shutil.copytree(bundle, folder / "bundle"))


def rewrite(bundle: Path, **changes: object) -> None:
    """Change fields of the manifest, with a digest that fits: what a stranger could write."""
    raw = msgspec.json.decode((bundle / MANIFEST).read_bytes())
    raw.update(changes)
    try:
        content = encode_manifest(msgspec.convert(raw, Manifest))
    except msgspec.ValidationError:  # a thing that our own encoder would not write
        content = msgspec.json.encode(raw)
    (bundle / MANIFEST).write_bytes(content)
