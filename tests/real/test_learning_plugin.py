"""An encoder of another distribution: found by its entry point, fused, exported, served.

Its package is written here as pip would lay it down, in a folder beside the project: in under a
hundred lines, and no file of ours is changed for it.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("torch")

from tests.real.learning import TABLE, Served, check_everywhere, emoji_rows, fit, losses, towers

pytestmark = [pytest.mark.real, pytest.mark.triton]

PACKAGE = '''
"""Numbers as waves: the sine and cosine of each at learnt frequencies, after Gorishniy, 2022."""

import torch
from torch import Tensor, nn

from automm.config.models import TabularOptions
from automm.models.encoders.base import Encoder
from automm.models.encoders.columns import Numbers, fit_columns


class WaveOptions(TabularOptions, frozen=True, kw_only=True):
    """``frequencies`` of each column, ``width`` of the features."""

    frequencies: int = 8
    width: int = 32


KINDS, OPTIONS = ("number",), WaveOptions


def fit(name, table, columns, options):
    return fit_columns(name, table, columns, options)


def build(processor, options):
    return Waves(processor, options)


class Scaled(Numbers):
    def forward(self, tensors: dict[str, Tensor]) -> Tensor:
        return torch.stack(self.scale(tensors), dim=2)


class Waves(Encoder):
    def __init__(self, processor, options):
        super().__init__()
        count = len(processor.numbers)
        self.numbers = Scaled(processor)
        self.rates = nn.Parameter(0.5 * torch.randn(count, options.frequencies))
        self.layer = nn.Linear(count * (2 * options.frequencies + 1), options.width)
        self.out_dim, self.blocks = options.width, (self.layer,)

    def forward(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        values, missing = self.numbers(tensors).split(1, dim=2)
        angles = values * self.rates
        waves = torch.cat([angles.sin(), angles.cos(), missing], dim=2)
        return {"features": self.layer(waves.flatten(1)).relu()}
'''


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path with the package and what pip notes of it."""
    site = tmp_path / "site"
    notes = site / "automm_waves-1.0.dist-info"
    notes.mkdir(parents=True)
    (site / "automm_waves.py").write_text(PACKAGE)
    (notes / "METADATA").write_text("Metadata-Version: 2.1\nName: automm-waves\nVersion: 1.0\n")
    (notes / "entry_points.txt").write_text("[automm.encoders]\nwaves = automm_waves\n")
    monkeypatch.syspath_prepend(str(site))
    yield site
    sys.modules.pop("automm_waves", None)


def test_a_stranger_s_encoder_fuses_exports_and_serves(installed: Path, tmp_path: Path) -> None:
    assert len(PACKAGE.splitlines()) <= 100
    train, test = emoji_rows(("keywords", *TABLE))
    own = {
        "model.names": ["waves", "categorical_mlp", "hf_text", "fusion_mlp"],
        "model.other.waves.frequencies": 4,
    }
    predictor = fit(tmp_path / "p", train, towers(tmp_path), own)
    assert losses(predictor)[-1] < losses(predictor)[0]
    encoder = predictor._fitted().trained.model.encoders["waves"]
    assert type(encoder).__module__ == "automm_waves"
    assert tuple(encoder.get_parameter("rates").shape)[1] == 4
    with Served() as served:
        check_everywhere(predictor, test, served, tmp_path / "b")
    # The bundle knows nothing of it: another process, without the package, answers by it.
    code = (
        "import sys; from automm_serve.bundle import load; from automm_serve.verify import verify\n"
        f"assert verify({str(tmp_path / 'b')!r}).ok; assert 'automm_waves' not in sys.modules\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


def test_it_keeps_the_contract(installed: Path) -> None:
    import importlib

    from automm.testing import check_encoder
    from automm_serve.schema import Column

    train, _ = emoji_rows(("unicode_version", "au_code"))
    columns = [Column(name, "number") for name in ("unicode_version", "au_code")]
    check_encoder(importlib.import_module("automm_waves"), train, columns)
