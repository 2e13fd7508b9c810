"""Where files that a machine makes for itself lie: never in a bundle, which may be served."""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "AUTOMM_CACHE"


def cache_folder(content_sha256: str) -> Path:
    """Return the folder for what is made from one bundle on this machine; it need not be there.

    ``AUTOMM_CACHE`` says where all of them lie, else they are in the user's cache folder.

    Args:
        content_sha256: The bundle's, so that other answers never meet these files.
    """
    given = os.environ.get(VARIABLE)
    if given:
        return Path(given).expanduser() / content_sha256
    cache = os.environ.get("XDG_CACHE_HOME")
    root = Path(cache) if cache else Path.home() / ".cache"
    return root / "automm" / "bundles" / content_sha256
