"""The linear part is the best linear model of the rows, and foretells each by the others."""

from __future__ import annotations

import shutil
import warnings
from typing import Any
from unittest.mock import patch

import msgspec
import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")

import torch
from safetensors.torch import load_file, save_file

from automm.config.schema import Config, FocalLossOptions, OptimConfig
from automm.data.rows import Rows, prepare_rows
from automm.models.encoders import ft_transformer
from automm.models.wide import FORETOLD, FORMS, Part, Wide, build_wide
from automm.predictor import MultiModalPredictor
from automm.training import wide as module
from automm.training.wide import fit_wide, settle_share
from automm_serve.answers import AnyAnswer, ClassesAnswer, ValuesAnswer
from automm_serve.errors import BundleError
from automm_serve.processors import TextProcessor
from automm_serve.schema import Column
from automm_serve.tensors import take_rows
from tests.tiny_tokenizers import write_tokenizer

COLUMNS = (Column("code", "category"), Column("weight", "number"))
CODES = [f"c{i}" for i in range(40)]
WORDS = [
    "red",
    "blue",
    "green",
    "small",
    "large",
    "cat",
    "dog",
    "house",
    "car",
    "good",
    "bad",
    "very",
    "old",
    "new",
]
WORTH = dict(zip([*CODES, *WORDS], np.random.default_rng(5).normal(size=54), strict=True))


def cells(rows: int, seed: int = 0) -> tuple[dict[str, list[object]], np.ndarray]:
    """Rows labelled by the worth of their code, words and half of their weight; there are gaps."""
    draw = np.random.default_rng(seed)
    codes = draw.choice(CODES, rows)
    weights = draw.normal(size=rows)
    words = [draw.choice(WORDS, draw.integers(1, 5)) for _ in range(rows)]
    said = [sum(WORTH[word] for word in row) / len(row) ** 0.5 for row in words]
    truth = np.array([WORTH[code] for code in codes]) + weights / 2 + np.array(said)
    table: dict[str, list[object]] = {
        "code": list(codes),
        "weight": list(weights),
        "words": [" ".join(row) for row in words],
    }
    table["code"][0] = table["weight"][1] = table["words"][2] = None
    return table, truth


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder, "wordpiece")
    return (folder / "tokenizer.json").read_text()


def untrained(
    table: dict[str, list[object]], answer: AnyAnswer, tokenizer: str | None = None
) -> tuple[Wide, Rows]:
    options = Config().model.ft_transformer
    processors: list[Any] = [ft_transformer.fit("ft_transformer", table, COLUMNS, options)]
    if tokenizer is not None:
        processors.append(TextProcessor.fit("hf_text", ["words"], tokenizer, 32))
    rows = prepare_rows("rows", table, processors, answer, 0)[0]
    wide = build_wide(processors, len(getattr(answer, "classes", "1")))
    assert wide is not None
    return wide, rows


def linear(wide: Wide, rows: Rows) -> np.ndarray:
    """What the linear model says of all rows, (rows, width)."""
    tensors = rows.batch(range(len(rows))).tensors
    tensors.pop(FORETOLD, None)
    return np.asarray(wide(tensors).numpy())


def wide_of(predictor: MultiModalPredictor) -> Any:
    graph: Any = predictor.exportable().graphs["predict"]
    return graph.model.wide


def brought(rows: Rows) -> np.ndarray:
    return np.asarray(rows.batch(range(len(rows))).tensors[FORETOLD].numpy())


def test_numbers_are_foretold_before_the_first_step(tokenizer):
    table, truth = cells(600)
    table["y"] = (1000 + 50 * truth).tolist()
    answer = ValuesAnswer.fit("y", table)
    wide, rows = untrained(table, answer, tokenizer)
    assert (linear(wide, rows) == 0).all()
    assert fit_wide(wide, rows, answer, OptimConfig(), seed=0)
    assert np.corrcoef(linear(wide, rows)[:, 0], truth)[0, 1] > 0.98
    for name, part in wide.parts.items():  # each has its say
        assert isinstance(part, Part)
        one = Wide({name: part}, 1)
        assert linear(one, rows).std() > 0.1
    without, rows = untrained(table, answer)
    assert fit_wide(without, rows, answer, OptimConfig(), seed=0)
    assert np.corrcoef(linear(without, rows)[:, 0], truth)[0, 1] < 0.9, "the control: no words"


@pytest.mark.parametrize("names", [("no", "yes"), ("low", "middle", "high")])
def test_classes_are_foretold_before_the_first_step(names, tokenizer):
    table, truth = cells(600)
    edges = np.quantile(truth, np.arange(1, len(names)) / len(names))
    wanted = np.searchsorted(edges, truth)
    table["y"] = np.array(names)[wanted].tolist()
    answer = ClassesAnswer("y", names)
    wide, rows = untrained(table, answer, tokenizer)
    assert fit_wide(wide, rows, answer, OptimConfig(), seed=0)
    assert (linear(wide, rows).argmax(axis=1) == wanted).mean() > 0.85


@pytest.mark.parametrize("shape", ["straight", "bent", "distance"])
def test_a_number_is_taken_in_the_form_that_foretells_best(shape):
    draw = np.random.default_rng(3)
    raw = draw.normal(size=500)
    if shape == "bent":
        truth, raw = raw, np.sinh(2 * raw)
    else:
        truth = np.abs(raw) if shape == "distance" else raw
    table: dict[str, list[object]] = {"code": ["a"] * 500, "weight": raw.tolist()}
    table["y"] = (truth + draw.normal(size=500) / 10).tolist()
    answer = ValuesAnswer.fit("y", table)
    wide, rows = untrained(table, answer)
    assert fit_wide(wide, rows, answer, OptimConfig(), seed=0)
    part = wide.parts["ft_transformer_numbers"]
    assert isinstance(part, Part)
    weights = np.abs(part.weight.numpy()).ravel()
    wanted = {"straight": "bounded", "bent": "bent", "distance": "distance"}[shape]
    assert FORMS[int(weights.argmax()) - 1].endswith(wanted)  # gaps come first
    assert np.corrcoef(linear(wide, rows)[:, 0], truth)[0, 1] > 0.9


def test_a_row_brings_what_the_others_say_of_it():
    table, _ = cells(200)
    draw = np.random.default_rng(1)
    # Of its row alone, so that the others know nothing of it.
    own = draw.normal(size=200)
    table["y"] = [
        WORTH.get(str(code), 0) + one for code, one in zip(table["code"], own, strict=True)
    ]
    answer = ValuesAnswer.fit("y", table)
    wide, rows = untrained(table, answer)
    assert fit_wide(wide, rows, answer, OptimConfig(), seed=0)
    learnt, foretold = linear(wide, rows)[:, 0], brought(rows)[:, 0]
    truth = rows.targets["targets"].ravel()
    assert np.corrcoef(truth - foretold, own)[0, 1] > 0.9
    assert np.corrcoef(foretold, own)[0, 1] < 0.1 < np.corrcoef(learnt, own)[0, 1]
    chosen = [3, 150, 7]
    tensors = rows.batch(chosen).tensors
    np.testing.assert_array_equal(wide(tensors).numpy()[:, 0], foretold[chosen])


def test_rows_beyond_those_that_are_read_are_foretold_by_them(monkeypatch):
    table, truth = cells(400)
    table["y"] = truth.tolist()
    answer = ValuesAnswer.fit("y", table)
    monkeypatch.setattr(module, "MOST_ROWS", 250)
    wide, rows = untrained(table, answer)
    assert fit_wide(wide, rows, answer, OptimConfig(), seed=0)
    same = np.isclose(linear(wide, rows), brought(rows), atol=1e-6).ravel()
    assert same.sum() == 150


def test_the_same_rows_and_seed_give_the_same(tokenizer):
    table, truth = cells(120)
    table["y"] = truth.tolist()
    answer = ValuesAnswer.fit("y", table)
    found = []
    for seed in (0, 0, 1):
        wide, rows = untrained(table, answer, tokenizer)
        assert fit_wide(wide, rows, answer, OptimConfig(), seed)
        found.append((linear(wide, rows), brought(rows)))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    np.testing.assert_array_equal(found[0][1], found[1][1])
    assert (found[0][1] != found[2][1]).any()


def test_a_text_counts_the_same_in_whatever_company_it_is_padded(tokenizer):
    table, truth = cells(100)
    table["y"] = truth.tolist()
    table["words"][5] = "red blue green small large cat dog house car good bad very old new a the"
    answer = ValuesAnswer.fit("y", table)
    wide, rows = untrained(table, answer, tokenizer)
    part = wide.parts["hf_text_ids"]
    assert isinstance(part, Part)
    part.weight.normal_()
    alone = part(rows.batch([9]).tensors)
    torch.testing.assert_close(alone[0], part(rows.batch([9, 5]).tensors)[0])
    assert float(alone) != 0


def test_a_class_that_the_rows_lack_is_the_least_likely():
    table, truth = cells(300)
    table["y"] = np.where(truth > -0.5, "b", "d").tolist()
    answer = ClassesAnswer("y", ("a", "b", "c", "d"))
    wide, rows = untrained(table, answer)
    assert fit_wide(wide, rows, answer, OptimConfig(), seed=0)
    powers = np.exp(linear(wide, rows))
    shares = powers / powers.sum(axis=1, keepdims=True)
    assert (shares[:, [0, 2]] < 0.02).all()


def test_the_weights_of_the_classes_count():
    table, truth = cells(600)
    noise = np.random.default_rng(3).normal(size=600)
    table["y"] = np.where(truth + 2 * noise > 3.5, "yes", "no").tolist()
    answer = ClassesAnswer("y", ("no", "yes"))
    shares = {}
    for name, optim in {
        "none": OptimConfig(),
        "class_weights": OptimConfig(class_weights=(1.0, 12.0)),
        "alpha": OptimConfig(
            loss_func="focal_loss", focal_loss=FocalLossOptions(alpha=(1.0, 12.0))
        ),
    }.items():
        wide, rows = untrained(table, answer)
        assert fit_wide(wide, rows, answer, optim, seed=0)
        shares[name] = linear(wide, rows).argmax(axis=1).mean()
    assert shares["none"] < 0.1 < shares["class_weights"] == shares["alpha"]


def test_pictures_are_not_read_for_it():
    table, truth = cells(40)
    table |= {"y": truth.tolist(), "photo": [b"no picture"] * 40}
    answer = ValuesAnswer.fit("y", table)
    wide, rows = untrained(table, answer)
    with patch.object(Rows, "batch", side_effect=AssertionError("all tensors are read")):
        assert fit_wide(wide, rows, answer, OptimConfig(), seed=0)


@pytest.mark.parametrize("rows", [2, 4, 300])
def test_what_foretells_nothing_is_left_out(rows):
    table: dict[str, list[object]] = {"code": ["a", "b"], "weight": [1.0, 2.0]}
    if rows > 2:
        table, _ = cells(rows)
    draw = np.random.default_rng(11)
    table["y"] = draw.normal(size=rows).tolist()
    answer = ValuesAnswer.fit("y", table)
    wide, prepared = untrained(table, answer)
    assert not fit_wide(wide, prepared, answer, OptimConfig(), seed=0)
    assert not linear(wide, prepared).any()
    assert FORETOLD not in prepared.batch([0]).tensors


def test_one_class_in_a_fold_is_no_error():
    table, _ = cells(60)
    table["y"] = ["rare" if row in (7, 8, 9) else "common" for row in range(60)]
    table["code"] = ["x" if row in (7, 8, 9) else "z" for row in range(60)]
    answer = ClassesAnswer("y", ("common", "rare"))
    wide, rows = untrained(table, answer)
    for seed in range(4):
        fit_wide(wide, rows, answer, OptimConfig(), seed)
        assert np.isfinite(linear(wide, rows)).all()


def test_numbers_that_never_change_are_no_error():
    table: dict[str, list[object]] = {"code": [None] * 50, "weight": [1.0] * 50}
    table["y"] = np.random.default_rng(0).normal(size=50).tolist()
    answer = ValuesAnswer.fit("y", table)
    options = Config().model.ft_transformer
    processor = ft_transformer.fit("ft_transformer", table, COLUMNS[1:], options)
    rows = prepare_rows("rows", table, [processor], answer, 0)[0]
    wide = build_wide([processor], 1)
    assert wide is not None
    assert not fit_wide(wide, rows, answer, OptimConfig(), seed=0)


def test_of_too_many_weights_those_of_the_commonest_are_fitted(monkeypatch, tokenizer):
    table, truth = cells(300)
    table["y"] = truth.tolist()
    answer = ValuesAnswer.fit("y", table)
    monkeypatch.setattr(module, "MOST_FITTED", 30)
    wide, rows = untrained(table, answer, tokenizer)
    assert fit_wide(wide, rows, answer, OptimConfig(), seed=0)
    fitted = sum(int((part.weight != 0).any(dim=1).sum()) for part in parts(wide))
    assert 10 < fitted <= 30
    assert np.corrcoef(linear(wide, rows)[:, 0], truth)[0, 1] > 0.5


def parts(wide: Wide) -> list[Part]:
    return [part for part in wide.parts.values() if isinstance(part, Part)]


def test_what_would_cost_too_much_is_left_out(monkeypatch, tokenizer):
    table, truth = cells(100)
    table["y"] = truth.tolist()
    answer = ValuesAnswer.fit("y", table)
    wide, rows = untrained(table, answer)
    monkeypatch.setattr(module, "MOST_WORK", 6)
    assert not fit_wide(wide, rows, answer, OptimConfig(), seed=0)
    monkeypatch.setattr("automm.models.wide.MOST_WEIGHTS", 60)
    assert set(untrained(table, answer, tokenizer)[0].parts) == {
        "ft_transformer_categories",
        "ft_transformer_numbers",
    }


@pytest.mark.parametrize("kind", ["numbers", "classes"])
def test_a_network_that_does_harm_is_weakened(kind):
    table, truth = cells(400)
    noise = np.random.default_rng(2).normal(size=(400, 2))
    if kind == "numbers":
        table["y"] = (7 + 3 * truth).tolist()
        answer: AnyAnswer = ValuesAnswer.fit("y", table)
    else:
        table["y"] = np.where(truth > 0, "yes", "no").tolist()
        answer = ClassesAnswer("y", ("no", "yes"))
    wide, rows = untrained(table, answer)
    assert fit_wide(wide, rows, answer, OptimConfig(), seed=0)
    valid = prepare_rows("rows", take_rows(table, range(100)), rows.processors, answer, 0)[0]
    alone = linear(wide, valid)

    def said(network: np.ndarray) -> dict[str, np.ndarray]:
        logits = torch.from_numpy(alone + network)
        if isinstance(answer, ValuesAnswer):
            return {"values": logits.numpy() * answer.deviation + answer.mean}
        return {"probabilities": logits.softmax(dim=1).numpy()}

    bad = 3 * noise[:100, : alone.shape[1]].astype(np.float32)
    found = settle_share(wide, valid, answer, said(bad))
    assert wide.share < 0.4
    for name, tensor in said(bad * float(wide.share)).items():
        np.testing.assert_allclose(found[name], tensor, rtol=1e-4, atol=1e-5)
    wide.share.fill_(1)
    nothing = said(np.zeros_like(bad))
    assert settle_share(wide, valid, answer, nothing) is nothing
    assert wide.share == 1
    few = prepare_rows("rows", take_rows(table, range(40)), rows.processors, answer, 0)[0]
    assert settle_share(wide, few, answer, said(bad)) is not None
    assert wide.share == 1, "of so few rows chance has a larger say"


SMALL = {
    "model.names": ["ft_transformer"],
    "model.ft_transformer.token_dim": 8,
    "model.ft_transformer.num_blocks": 1,
    "model.wide.use": True,
    "optim.max_epochs": 1,
    "optim.val_check_interval": 1.0,
    "env.batch_size": 64,
    "env.accelerator": "cpu",
}


def fitted(path: Any, table: Any, **named: Any) -> MultiModalPredictor:
    predictor = MultiModalPredictor(
        label="y", problem_type="regression", path=str(path), verbosity=0
    )
    with warnings.catch_warnings(action="ignore"):
        return predictor.fit(table, hyperparameters=SMALL, **named)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> MultiModalPredictor:
    table, truth = cells(400)
    del table["words"]
    return fitted(tmp_path_factory.mktemp("wide") / "p", table | {"y": truth.tolist()})


def test_it_is_not_trained_and_goes_on_into_the_next_fit(trained, tmp_path):
    wide = wide_of(trained)
    assert not list(wide.parameters())
    assert trained.fit_summary()["network_share"] == pytest.approx(float(wide.share))
    table, truth = cells(80, seed=4)
    del table["words"]
    more = MultiModalPredictor.load(trained.path)
    with warnings.catch_warnings(action="ignore"):
        more.fit(table | {"y": truth.tolist()}, save_path=tmp_path / "more")
    after = wide_of(more)
    for name, part in wide.parts.items():
        torch.testing.assert_close(after.parts[name].weight, part.weight, rtol=0, atol=0)


def test_a_predictor_that_has_no_use_for_it_has_none(tmp_path):
    table, _ = cells(120)
    del table["words"]
    draw = np.random.default_rng(3)
    found = fitted(tmp_path / "p", table | {"y": draw.normal(size=120).tolist()})
    assert wide_of(found) is None
    assert found.fit_summary()["network_share"] is None
    again = MultiModalPredictor.load(tmp_path / "p")
    np.testing.assert_array_equal(again.predict(table), found.predict(table))


def test_one_of_an_earlier_format_is_read(trained, tmp_path):
    old = shutil.copytree(trained.path, tmp_path / "old")
    weights = load_file(old / "model.safetensors")
    part = "wide.parts.ft_transformer_categories"
    kept = {name: one for name, one in weights.items() if not name.startswith("wide.")}
    kept["wide.ft_transformer.embedding.weight"] = weights[f"{part}.weight"]
    kept["wide.ft_transformer.offsets"] = weights[f"{part}.offsets"]
    save_file(kept, old / "model.safetensors")
    config = msgspec.json.decode((old / "config.json").read_bytes())
    config["model"]["wide"]["lr_mult"] = 2.0
    (old / "config.json").write_bytes(msgspec.json.encode(config))
    with pytest.raises(BundleError, match="lr_mult"):
        MultiModalPredictor.load(old)
    record = msgspec.json.decode((old / "predictor.json").read_bytes())
    (old / "predictor.json").write_bytes(msgspec.json.encode({**record, "format": 3}))
    sound = (old / "config.json").read_bytes()
    damages: list[Any] = [[], {"model": None}, {"model": {"wide": [1]}}]
    for damage in damages:
        (old / "config.json").write_bytes(msgspec.json.encode(damage))
        with pytest.raises(BundleError, match=r"config\.json"):
            MultiModalPredictor.load(old)
    (old / "config.json").write_bytes(sound)
    table, _ = cells(30, seed=8)
    del table["words"]
    found = MultiModalPredictor.load(old)
    wide = wide_of(found)
    assert float(wide.share) == 1
    assert not wide.parts["ft_transformer_numbers"].weight.any()
    assert wide.parts["ft_transformer_categories"].weight.any()
    answers = found.predict(table)
    found.save(tmp_path / "new")
    np.testing.assert_array_equal(
        MultiModalPredictor.load(tmp_path / "new").predict(table), answers
    )
