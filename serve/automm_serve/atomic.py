"""All or nothing on disk: a folder appears whole under its name, or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from automm_serve.errors import ConfigError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_LONGEST_NAME = 240  # of 255 bytes: the temporary sibling has a longer one


@contextmanager
def write_folder(path: str | Path, *, replace: bool = False, known_by: str = "") -> Iterator[Path]:
    """Give a temporary sibling to write into; it takes the name when the block ends well.

    When the block raises, the sibling is removed and whatever stood under the name is untouched.
    Everything is flushed to the disk before the rename, so that a power cut leaves the old or the
    new folder and never half of one.

    Args:
        path: Where the folder shall stand. Missing parents are made.
        replace: Take the place of a folder that is there. A process that dies between the two
            renames of the swap leaves the old folder beside, as ``.NAME.*.old``.
        known_by: With ``replace``, a file that the folder there must hold, lest a slip in the
            path costs somebody a folder that is none of ours.

    Yields:
        The folder to write into.

    Raises:
        ConfigError: Something is in the way, or the disk is full.
    """
    target = check_place(path)
    _check_free(target, replace, known_by)
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".new", dir=target.parent))
    try:
        scratch.chmod(0o777 & ~_umask())  # mkdtemp's 0700 would shut a server's own user out
        yield scratch
        _flush(scratch)
        _check_free(target, replace, known_by)  # the block may have taken minutes
        _put(scratch, target)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise ConfigError(
            where=f"folder {target}",
            what=f"it cannot be written: {error.strerror}",
            mend="Free some space there, or give a path on another disk; nothing was written",
        ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)  # gone already after a rename


def check_place(path: str | Path) -> Path:
    """Return the absolute path of a folder that can be made, whether it is there or not.

    Worth asking before hours of work whose result shall lie there.

    Raises:
        ConfigError: A file is in the way, the folder above cannot be written, or the name is none.
    """
    target = Path(os.path.abspath(path))  # noqa: PTH100  # resolve() would follow a link
    above = next(parent for parent in target.parents if os.path.lexists(parent))
    if not above.is_dir():
        what = f"{above} is not a folder"
    elif not os.access(above, os.W_OK | os.X_OK):
        what = f"{above} cannot be written"
    elif any(len(os.fsencode(part)) > _LONGEST_NAME for part in target.parts):
        what = "its name is too long"
    else:
        return target
    raise ConfigError(where=f"folder {target}", what=what, mend="Give the path of a new folder")


def _check_free(target: Path, replace: bool, known_by: str) -> None:
    where = f"folder {target}"
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise ConfigError(
            where=where, what="something else has this name", mend="Give the path of a new folder"
        )
    if not target.exists() or not any(target.iterdir()):
        return
    if not replace:
        raise ConfigError(
            where=where,
            what="it is there and not empty",
            mend="Give another path, or ask for it to be replaced",
        )
    if known_by and not (target / known_by).is_file():
        raise ConfigError(
            where=where,
            what=f"it holds no {known_by}, so it is not what would be replaced",
            mend="Give another path, or remove the folder yourself",
        )


def _put(scratch: Path, target: Path) -> None:
    """Rename, and swap where a folder is there; it comes back when the swap fails."""
    if not target.exists():
        scratch.rename(target)
    else:
        old = scratch.with_suffix(".old")
        target.rename(old)
        try:
            scratch.rename(target)
        except OSError:
            old.rename(target)
            raise
        shutil.rmtree(old, ignore_errors=True)
    sync(target.parent)


def _flush(folder: Path) -> None:
    for root, _, files in os.walk(folder):
        for name in files:
            sync(Path(root, name))
        sync(Path(root))


def sync(path: Path) -> None:
    """Flush a file, or a folder's list of names, to the disk."""
    if os.name == "nt":  # folders cannot be opened there
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    """Read the mask; the system has no call that reads without setting."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
