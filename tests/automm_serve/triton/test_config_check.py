"""Every configuration that was ever written passes; a line that none of them has does not."""

from pathlib import Path

import pytest

from automm_serve.errors import BundleError
from automm_serve.triton.config_check import check_config
from automm_serve.triton.repository import open_served
from tests.automm_serve import frozen

ROOT = Path(__file__).resolve().parents[3]
CONFIGS = sorted(
    path
    for folder in (ROOT / "triton_repo", ROOT / "tests" / "bundles")
    for path in folder.rglob("*.pbtxt")
)


def model_of(path: Path) -> str:
    return (path.parent.parent if path.parent.name == "configs" else path.parent).name


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_the_exporter_wrote_passes(path):
    model = model_of(path)
    of_graph = "__" in model
    check_config(str(path), path.read_bytes(), model, of_graph=of_graph)
    with pytest.raises(BundleError, match="no such line there"):
        check_config(str(path), path.read_bytes(), model, of_graph=not of_graph)


@pytest.mark.parametrize("bundle", [frozen.V1, frozen.V2], ids=["v1", "v2"])
@pytest.mark.parametrize("target", ["cpu", "cpu_ort"])
def test_the_frozen_bundles_are_taken(bundle, target):
    assert open_served(bundle, target).target == target


def test_names_of_columns_may_be_escaped():
    text = r"output {" "\n" r'  name: "gr\303\266\"\\e"' "\n}\n" 'name: "m"\nbackend: "python"\n'
    check_config("here", text.encode(), "m", of_graph=False)


@pytest.mark.parametrize(
    "text",
    [
        "",
        'name: "m"\n',
        'backend: "python"\ndynamic_batching {\n',
        'backend: "python"\n}\n',
        'backend: "python"\r\n',
        'backend: "python"  # why\n',
        "backend: 'python'\n",
        'backend: "pyth" "on"\n',
        'backend: "pyth\\157n"\n',
        'backend: "python" platform: "x"\n',
        'backend: "python"\nbackend: "other"\n',
        'backend: "python"\n[ext]: 1\n',
        'backend: "python"\ndynamic_batching {}\n',
        'backend: "python"\ndynamic_batching <\n>\n',
        'backend: "python"\n  max_batch_size: 1\n',
        'backend: "python"\nname: "other"\n',
        'backend: "python"\ndefault_model_filename: "x.py"\n',
        'backend: "python"\nparameters: 1\n',
        'backend: "python"\nparameters {\n  key: "automm\\137target"\n}\n',
        'backend: "python"\nmax_batch_size {\n}\n',
        'backend: "python"\n\n',
        'backend: "python"\nname: "m\n"\n',
    ],
)
def test_what_the_writer_does_not_print_is_refused(text):
    with pytest.raises(BundleError, match="here"):
        check_config("here", text.encode(), "m", of_graph=False)
    with pytest.raises(BundleError, match="here"):
        check_config("here", b"\xff\x00" + text.encode(), "m", of_graph=False)
