"""The bundle that format 1 was frozen with, and copies of it to damage."""

import shutil
from pathlib import Path

import msgspec

from automm_serve.manifest import MANIFEST, Manifest, encode_manifest

V1 = Path(__file__).resolve().parents[1] / "bundles" / "v1"


def copy(folder: Path) -> Path:
    """Return a copy that may be changed."""
    return Path(shutil.copytree(V1, folder / "bundle"))


def rewrite(bundle: Path, **changes: object) -> None:
    """Change fields of the manifest, with a digest that fits: what a stranger could write."""
    raw = msgspec.json.decode((bundle / MANIFEST).read_bytes())
    raw.update(changes)
    try:
        content = encode_manifest(msgspec.convert(raw, Manifest))
    except msgspec.ValidationError:  # a thing that our own encoder would not write
        content = msgspec.json.encode(raw)
    (bundle / MANIFEST).write_bytes(content)
