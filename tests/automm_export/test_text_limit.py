"""A shorter limit of texts is every session's limit, not the engines' alone."""

import numpy as np
import pytest

from automm_export.engines.options import EngineOptions
from automm_export.export import ExportOptions, export
from automm_export.text_limit import shorten_texts
from automm_serve.bundle import Bundle, load
from automm_serve.errors import ConfigError
from automm_serve.tensors import Axis, Table
from automm_serve.verify import verify
from tests.automm_export.tiny import exportable, rows

LONG: Table = {**rows(2), "title": ["a red cat sat on the mat " * 20] * 2}


def limit_of(model: object) -> int:
    return int(model.pipeline.processors[1].limit)  # type: ignore[attr-defined]  # Exportable


def test_texts_are_cut_and_graphs_end_there_and_the_model_stays_as_it_is():
    model = exportable()
    cut = shorten_texts(model, 20)
    assert (limit_of(model), limit_of(cut)) == (48, 20)
    axes = {a for s in cut.graphs["predict"].inputs for a in s.shape if isinstance(a, Axis)}
    assert Axis("text_length", (16, 20)) in axes
    assert model.graphs["predict"].inputs != cut.graphs["predict"].inputs
    weights = zip(
        model.graphs["predict"].parameters(), cut.graphs["predict"].parameters(), strict=True
    )
    assert all(old is new for old, new in weights)


def test_the_bundle_cuts_in_every_session_and_answers_as_torch_does(tmp_path):
    options = ExportOptions(trt=True, engines=EngineOptions(max_length=20), check=LONG)
    report = export(exportable(), tmp_path / "b", options)
    assert all(column.holds for column in report.parity.columns)
    bundle = Bundle.open(tmp_path / "b")
    ids = bundle.manifest.graphs["predict"].inputs[2]
    assert ids.shape[1] == Axis("text_length", (16, 20))
    assert verify(tmp_path / "b").ok
    for engine in bundle.manifest.graphs["predict"].engines:
        assert engine.profiles[-1].axes["text_length"].max == 20
    export(exportable(), tmp_path / "whole")  # the control: a longer text is another answer there
    cut, whole = (
        load(tmp_path / name).run(LONG).columns["probabilities"] for name in ("b", "whole")
    )
    assert np.abs(np.array(cut[0]) - np.array(whole[0])).max() > 1e-6


@pytest.mark.parametrize(("most", "what"), [(3, "leaves no room"), (49, "have 48 tokens at most")])
def test_a_limit_that_cannot_be_is_refused(most, what):
    with pytest.raises(ConfigError, match=what):
        shorten_texts(exportable(), most)


def test_a_model_without_texts_has_no_such_limit():
    with pytest.raises(ConfigError, match="reads no text"):
        shorten_texts(exportable(parts=("tabular",)), 16)
