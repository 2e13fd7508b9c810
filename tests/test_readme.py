"""Every block of Python in the README runs as it stands there, in a folder with three tables.

The default preset gets tiny encoders, as what is under test are the calls and not the weights.
"""

import random
import re
import warnings

import pytest
from PIL import Image

from automm_serve.errors import ServerError
from tests.needs import ROOT, require_or_skip
from tests.tiny_models import make_image_model, make_text_model

BLOCKS = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """``train.csv``, ``test.csv`` and ``new.csv`` with flats: picture, text, area, kind, price."""
    folder = tmp_path_factory.mktemp("readme")
    chance = random.Random(0)
    for name, rows in (("train", 48), ("test", 12), ("new", 6)):
        lines = ["picture,text,area,kind" + ("" if name == "new" else ",price")]
        for row in range(rows):
            bright = chance.random() > 0.5
            Image.new("RGB", (16, 16), "white" if bright else "navy").save(
                folder / f"{name}{row}.png"
            )
            text = f"{'a sunny' if bright else 'a dark'} flat number {row} with {row % 5} rooms"
            area = chance.uniform(20, 120)
            cells = [f"{name}{row}.png", text, f"{area:.1f}", chance.choice(["old", "new"])]
            lines.append(",".join(cells + ([] if name == "new" else [f"{area * 10:.0f}"])))
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    """What the first block leaves behind: its names, and a bundle in the folder."""
    pytest.importorskip("torch")
    from automm.config import presets
    from automm.config.overrides import override

    checkpoints = tmp_path_factory.mktemp("checkpoints")
    image = make_image_model(checkpoints / "image")  # first: it makes transformers importable
    tiny = override(
        presets.find_preset("edge"),
        {
            "model.hf_text.checkpoint_name": str(make_text_model(checkpoints / "text")),
            "model.hf_text.max_text_len": 32,
            "model.hf_text.frozen_blocks": 0,
            "model.timm_image.checkpoint_name": str(image),
            "model.timm_image.image_size": 32,
            "model.timm_image.frozen_blocks": 0,
            "optim.max_epochs": 1,
        },
    )
    names: dict[str, object] = {}
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # 48 rows teach little, and fit says so
        patch.setitem(presets.PRESETS, "edge", tiny)
        patch.chdir(folder)
        exec(compile(BLOCKS[0], "README.md", "exec"), names)
    return names


def test_the_readme_has_the_two_blocks_that_these_tests_know():
    assert [("fit(" in block, "Client(" in block) for block in BLOCKS] == [
        (True, False),
        (False, True),
    ]


def test_the_first_block_trains_exports_and_answers_alike(folder, trained):
    import numpy as np

    offline = trained["offline"].predict(folder / "new.csv")
    assert offline.shape == (6,)
    np.testing.assert_allclose(offline, trained["predictor"].predict(folder / "new.csv"), rtol=1e-4)


@pytest.mark.triton
def test_the_second_block_asks_triton(folder, trained, monkeypatch, capsys):
    from automm_serve.triton.launch import TritonServer
    from automm_serve.triton.locate import locate

    try:
        locate()
    except ServerError as error:
        require_or_skip("triton", str(error))
    monkeypatch.chdir(folder)
    with TritonServer(folder / "bundle") as server:
        # The port is a free one; the README's may be taken here.
        block = BLOCKS[1].replace("grpc://127.0.0.1:8001/model", server.url())
        assert block != BLOCKS[1]
        exec(compile(block, "README.md", "exec"), {})
    assert capsys.readouterr().out.strip() == str(trained["offline"].predict("new.csv"))
