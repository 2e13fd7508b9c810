"""``automm.load``: whatever answers rows, by its folder or its URL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from automm_serve.errors import BundleError, ConfigError
from automm_serve.optional import require

if TYPE_CHECKING:
    from automm_serve.predicts import Predicts

SCHEMES = ("grpc", "grpcs", "http", "https")
"""Schemes of the URL of a served model."""


def load(source: str | Path, *, device: str = "auto", precision: str | None = None) -> Predicts:
    """Open a trained predictor, an exported bundle or a served model; all answer alike.

    Args:
        source: Folder of a predictor (``MultiModalPredictor.save``) or of a bundle
            (``automm export``), or URL of a served model, ``grpc://host:port/NAME``.
        device: Of a bundle: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"tensorrt"`` or
            ``"tensorrt_rtx"``.
        precision: Of a bundle; its default where None.

    Raises:
        BundleError: There is no such folder, or it is neither predictor nor bundle.
        ConfigError: A bundle has not this precision or does not run so on this device, or the
            source is no bundle and chooses these itself.
        DeviceError: The device that was asked for is not here, or does not work.
        MissingDependencyError: What it needs is not installed.
        ServerError: The server does not answer.
    """
    if is_url(source):
        _refuse_choice(source, device, precision, "a server runs what it was started with")
        client: Predicts = require("automm_serve.triton.client", purpose=str(source)).Client(
            str(source)
        )
        return client
    found: Predicts
    if holds(source) == "bundle":
        found = require("automm_serve.bundle", purpose=str(source)).load(
            source, device=device, precision=precision
        )
    else:
        _refuse_choice(source, device, precision, "a predictor runs on torch in fp32")
        module = require("automm.predictor", purpose=f"the predictor in {source}")
        found = module.MultiModalPredictor.load(source)
    return found


def _refuse_choice(source: str | Path, device: str, precision: str | None, what: str) -> None:
    """A choice that would have no effect is a mistake."""
    if device != "auto" or precision is not None:
        raise ConfigError(
            where=str(source),
            what=f"{what}, so it takes neither a device nor a precision",
            mend="Leave both out, or pass the folder of a bundle",
        )


def is_url(source: str | Path) -> bool:
    """Tell whether this names a served model."""
    scheme, mark, _ = str(source).partition("://")
    return isinstance(source, str) and bool(mark) and scheme.lower() in SCHEMES


def holds(folder: str | Path) -> str:
    """Return ``"bundle"`` or ``"predictor"``, whichever the folder is.

    Raises:
        BundleError: There is no such folder, or it is neither.
    """
    path = Path(folder)
    if (path / "bundle.json").is_file():
        return "bundle"
    if (path / "predictor.json").is_file():
        return "predictor"
    raise BundleError(
        where=str(folder),
        what="it is neither a predictor nor a bundle"
        if path.is_dir()
        else "it is a file"
        if path.exists()
        else "there is no such folder",
        mend="Pass the folder that `automm train` or `automm export` wrote, or a URL such as "
        "grpc://127.0.0.1:8001/NAME",
    )
