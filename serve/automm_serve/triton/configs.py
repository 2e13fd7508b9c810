"""Which configuration of a bundle a server is told to load, and the launcher's copy of it."""

from __future__ import annotations

import re
from pathlib import Path

from automm_serve.cache import cache_folder
from automm_serve.errors import ConfigError, near_name
from automm_serve.manifest import REPOSITORY, Manifest
from automm_serve.precisions import FP32, PRECISIONS, find_precision
from automm_serve.triton import ENGINE_CACHE, PRECISION, config_name


def choose_config(path: Path, manifest: Manifest, target: str, precision: str) -> tuple[str, str]:
    """Return the name of the configuration, and the precision that it is for.

    Args:
        path: Of the bundle.
        manifest: Of it.
        target: Where it shall be served.
        precision: In which; what the target runs by itself where empty.

    Raises:
        ConfigError: The bundle was not exported for the target, or it does not run the precision,
            or its configuration names one that there is not.
    """
    folder = f"{REPOSITORY}/{manifest.name}/configs"
    plain = f"{folder}/{target}.pbtxt"
    if target not in manifest.targets or plain not in manifest.files:
        # The server would start on config.pbtxt, another target, without a word.
        near = near_name(target, manifest.targets)
        raise ConfigError(
            where=f"bundle {path}",
            what=f"it was not exported for the target {target!r}"
            + (f", but for {near!r}" if near else ""),
            mend=f"Choose one of {', '.join(manifest.targets)}",
        )
    found = _precision_in(path / plain)
    if precision in ("", found):
        return config_name(target), found
    others = [p for p in PRECISIONS if f"{folder}/{target}.{p}.pbtxt" in manifest.files]
    if precision in others:
        return config_name(target, precision), precision
    raise ConfigError(
        where=f"precision {precision!r}",
        what=f"the target {target!r} does not run it",
        mend=f"Choose one of {', '.join([found, *sorted(others)])}, or another target",
    )


def _precision_in(config: Path) -> str:
    """Read one parameter of our own writing; the launcher goes without Triton's schema."""
    pattern = rf'key: "{PRECISION}"\s+value \{{\s+string_value: "(\w+)"'
    found = re.search(pattern, config.read_text(encoding="utf-8"))
    return find_precision(found[1]) if found else FP32  # bundles of format 1 do not say it


def place_config(configs: Path, chosen: str, name: str, content_sha256: str) -> None:
    """Lay the chosen configuration under the name that the server was told, with its cache.

    Args:
        configs: Folder of the launcher's own with links to the configurations of one model.
        chosen: Name of the one to load.
        name: That the server was told.
        content_sha256: Of the bundle, under which the cache lies.
    """
    source = configs / f"{chosen}.pbtxt"
    if not source.is_file():
        return
    text = source.read_text(encoding="utf-8")
    if f'"{ENGINE_CACHE}"' in text:
        folder = cache_folder(content_sha256) / "triton"
        folder.mkdir(parents=True, exist_ok=True)
        text = text.replace(f'"{ENGINE_CACHE}"', _quoted(folder))
    elif chosen == name:
        return
    placed = configs / f"{name}.pbtxt"
    placed.unlink(missing_ok=True)  # it is a link: the bundle's own file must not change
    placed.write_text(text, encoding="utf-8")


def _quoted(folder: Path) -> str:
    escaped = str(folder).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
