import gc
import shutil
import warnings

import numpy as np
import pytest

pytest.importorskip("torch")

from automm.data.rows import Rows
from automm.data.samples import golden_rows
from automm.predictor import MultiModalPredictor
from automm.saved import FORMAT
from automm.training.fit import FitWarning
from automm_serve.errors import BundleError, ConfigError, DataError, SchemaError
from automm_serve.predictor import LocalPredictor
from automm_serve.schema import Column, Schema
from automm_serve.tensors import take_rows
from tests.pets import pets, picture
from tests.tiny_models import make_image_model, make_text_model

COLUMN_TYPES = {"title": "text", "story": "text", "city": "categorical"}


@pytest.fixture(scope="session")
def settings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    return {
        "model.hf_text.checkpoint_name": str(make_text_model(folder / "text", mean_pooling=True)),
        "model.hf_text.max_text_len": 32,
        "model.hf_text.frozen_blocks": 0,
        "model.timm_image.checkpoint_name": str(make_image_model(folder / "image")),
        "model.timm_image.image_size": 32,
        "model.ft_transformer.token_dim": 16,
        "model.fusion_mlp.adapt_in_features": 16,
        "optim.lr": 1e-3,
        "optim.max_epochs": 4,
        "env.batch_size": 16,
        "env.per_gpu_batch_size": 16,
    }


def columns(label):
    other = {"kind": "price", "price": "kind"}[label]
    return {name: cells for name, cells in pets().items() if name != other}


def train(label, path, settings, **changes):
    predictor = MultiModalPredictor(label=label, path=path, verbosity=0)
    return predictor.fit(
        columns(label), hyperparameters=settings, column_types=COLUMN_TYPES, **changes
    )


@pytest.fixture(scope="session")
def fused(tmp_path_factory, settings):
    return train("kind", tmp_path_factory.mktemp("fused") / "predictor", settings)


def test_a_table_of_every_kind_is_learned(fused):
    summary = fused.fit_summary()
    assert summary["beats_trivial"]
    assert summary["scores"]["accuracy"] > 0.8
    assert fused.column_types["photo"] == "image"
    assert fused.class_labels == ["bird", "cat", "dog"]
    assert fused.problem_type == "multiclass"
    assert {p.name for p in fused.exportable().pipeline.processors} == {
        "timm_image", "hf_text", "ft_transformer",
    }  # fmt: skip


def test_no_rows_of_a_fit_stay_in_memory(tmp_path):
    def alive():
        return sum(type(one) is Rows for one in gc.get_objects())

    before = alive()
    for number in range(2):
        predictor = MultiModalPredictor(label="kind", path=tmp_path / str(number), verbosity=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            predictor.fit(
                {name: pets(40)[name] for name in ("weight", "age", "kind")},
                hyperparameters={"model.ft_transformer.token_dim": 8, "optim.max_epochs": 2},
            )
        assert alive() <= before


def test_what_is_loaded_answers_as_what_was_saved(fused, tmp_path, settings):
    moved = shutil.copytree(fused.path, tmp_path / "moved")
    # Neither the folder of training nor the checkpoints need be there any more.
    config = moved / "config.json"
    config.write_text(
        config.read_text().replace(str(settings["model.hf_text.checkpoint_name"]), "/gone")
    )
    loaded = MultiModalPredictor.load(moved)
    table = pets(20, seed=7)
    np.testing.assert_array_equal(loaded.predict_proba(table), fused.predict_proba(table))
    np.testing.assert_array_equal(loaded.extract_embedding(table), fused.extract_embedding(table))
    assert loaded.fit_summary() == fused.fit_summary()
    assert loaded.column_types == fused.column_types
    assert not [
        f
        for f in moved.rglob("*")
        if f.suffix not in ("", ".json", ".jsonl", ".safetensors", ".html", ".csv")
    ]


def test_one_row_gets_the_answer_that_it_gets_among_others(fused):
    table = pets(9, seed=3)
    together = fused.predict_proba(table)
    alone = [fused.predict_proba(take_rows(table, [row])) for row in range(9)]
    np.testing.assert_allclose(np.concatenate(alone), together, atol=1e-5)


def test_a_row_that_cannot_be_read_has_no_answer_and_its_neighbours_have(fused):
    table = pets(6, seed=3)
    whole = fused.predict_proba(table)
    table["photo"][2] = b"no picture"
    answers, errors = fused.predict_proba(table, return_errors=True)
    assert [(e.row, e.column) for e in errors] == [(2, "photo")]
    assert np.isnan(answers[2]).all()
    rest = [0, 1, 3, 4, 5]
    np.testing.assert_allclose(answers[rest], whole[rest], atol=1e-5)


def test_absent_pictures_are_masked_exactly(fused):
    # A model trained on noise would still pass everything else if black pixels leaked in.
    import torch

    graph = fused.exportable().graphs["predict"].eval()
    processors = fused.exportable().pipeline.processors
    found = [processor.transform(take_rows(pets(4), range(4)))[0] for processor in processors]
    feed = {name: torch.from_numpy(array) for part in found for name, array in part.items()}
    feed["timm_image_valid"] = torch.zeros_like(feed["timm_image_valid"])
    with torch.no_grad():
        dark = graph(feed)["features"]
        feed["timm_image_pixels"] = torch.full_like(feed["timm_image_pixels"], 200)
        bright = graph(feed)["features"]
    assert torch.equal(dark, bright)


def test_regression_answers_in_the_unit_of_the_label(tmp_path, settings):
    predictor = train("price", tmp_path / "p", settings | {"optim.max_epochs": 6})
    assert predictor.problem_type == "regression"
    summary = predictor.fit_summary()
    assert summary["beats_trivial"], summary
    answers = predictor.predict(pets(30, seed=5))
    assert 0 < np.mean(answers) < 2500
    with pytest.raises(DataError, match="predicts numbers"):
        predictor.predict_proba(pets(3))


def test_golden_rows_have_gaps_and_whole_cells(fused):
    golden = fused.exportable().golden
    assert len(golden["photo"]) == 16
    for column in ("photo", "side", "title", "weight", "city"):
        gaps = [cell is None for cell in golden[column]]
        assert any(gaps), column
        assert not all(gaps), column


def test_the_same_seed_gives_the_same_model(tmp_path, settings, fused):
    again = train("kind", tmp_path / "again", settings)
    np.testing.assert_array_equal(again.predict_proba(pets(9)), fused.predict_proba(pets(9)))


def test_a_used_path_is_refused_before_training_and_left_as_it_is(fused, settings):
    before = sorted(fused.path.rglob("*"))
    with pytest.raises(ConfigError, match="a predictor is there"):
        train("kind", fused.path, settings)
    assert sorted(fused.path.rglob("*")) == before


def test_no_time_gives_a_model_all_the_same(tmp_path, settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)
        predictor = train("kind", tmp_path / "p", settings, time_limit=0.0)
    assert predictor.fit_summary()["stopped"] == "time_limit"
    assert len(predictor.predict(pets(3))) == 3


def test_a_model_no_better_than_the_trivial_one_says_so(tmp_path, settings):
    table = {"age": pets()["age"], "kind": pets()["kind"]}  # the age says nothing of the kind
    predictor = MultiModalPredictor(label="kind", path=tmp_path / "p", verbosity=0)
    with pytest.warns(FitWarning, match="LEARNED NOTHING"):
        predictor.fit(table, hyperparameters=settings | {"optim.lr": 1e-9}, seed=1)


def test_bad_rows_are_left_out_with_a_warning(tmp_path, settings):
    table = columns("kind")
    table["weight"] = ["heavy", *table["weight"][1:]]
    predictor = MultiModalPredictor(label="kind", path=tmp_path / "p", verbosity=0)
    types = COLUMN_TYPES | {"weight": "numerical"}
    few = settings | {"optim.max_epochs": 1}
    with pytest.warns(FitWarning, match="left out"):
        predictor.fit(table, hyperparameters=few, column_types=types)
    left_out = predictor.fit_summary()["left_out"]
    assert [cell["column"] for cells in left_out.values() for cell in cells] == ["weight"]


@pytest.mark.parametrize(
    ("table", "error", "says"),
    [
        ({"a": [1, 2, 3, 4]}, SchemaError, "no label column 'kind'"),
        ({"kind": ["x"] * 4, "a": [1, 2, 3, 4]}, DataError, "nothing to learn"),
        ({"kind": [None] * 4, "a": [1, 2, 3, 4]}, DataError, "every cell is missing"),
        ("no.csv", DataError, "no such file"),
    ],
)
def test_a_table_without_anything_to_learn_is_refused(tmp_path, table, error, says):
    with pytest.raises(error, match=says):
        MultiModalPredictor(label="kind", path=tmp_path / "p", verbosity=0).fit(table)
    assert not (tmp_path / "p").exists()


def test_a_folder_of_a_later_release_is_said_whatever_else_is_in_it(fused, tmp_path):
    later = shutil.copytree(fused.path, tmp_path / "later")
    (later / "predictor.json").write_text(f'{{"format": {FORMAT + 1}}}')
    says = f"has format {FORMAT + 1}, this release reads up to {FORMAT}"
    with pytest.raises(BundleError, match=says):
        MultiModalPredictor.load(later)


def test_a_damaged_architecture_is_named(fused, tmp_path):
    damaged = shutil.copytree(fused.path, tmp_path / "damaged")
    (damaged / "backbones" / "timm_image" / "config.json").write_text('{"architecture": "te')
    with pytest.raises(ConfigError, match=r"its config\.json is damaged"):
        MultiModalPredictor.load(damaged)


def test_a_damaged_folder_is_named(fused, tmp_path):
    copy = shutil.copytree(fused.path, tmp_path / "copy")
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(BundleError, match=r"model\.safetensors"):
        MultiModalPredictor.load(copy)
    with pytest.raises(BundleError, match="no such file"):
        MultiModalPredictor.load(tmp_path / "nowhere")


def test_no_answer_builds_a_trainer(fused, monkeypatch):
    from automm.training import lightning

    monkeypatch.setattr(lightning.Trainer, "__init__", None)
    fused.predict(pets(3))
    assert isinstance(fused._answering(), LocalPredictor)


def test_what_is_not_trained_says_so():
    with pytest.raises(ConfigError, match="not trained"):
        MultiModalPredictor(label="kind").predict(pets(3))


def test_arguments_of_autogluon_are_taken_at_their_default_and_refused_otherwise(fused):
    assert MultiModalPredictor(label="kind", warn_if_exist=True, use_ensemble=False)
    assert len(fused.predict(take_rows(pets(4), [0, 1]), realtime=True)) == 2
    with pytest.raises(ConfigError, match="use_ensemble=True asks for something"):
        MultiModalPredictor(label="kind", use_ensemble=True)
    with pytest.raises(ConfigError, match=r"no argument 'techer_predictor'.* 'teacher_pre"):
        MultiModalPredictor(label="kind").fit(pets(), techer_predictor="x")


def test_a_predictor_without_its_backbones_does_not_ask_for_the_checkpoint(fused, tmp_path):
    folder = shutil.copytree(fused.path, tmp_path / "copy")
    shutil.rmtree(folder / "backbones" / "hf_text")
    with pytest.raises(BundleError, match=r"hf_text/config\.json.*no such file"):
        MultiModalPredictor.load(folder)


def test_what_is_kept_for_the_export_outlives_the_files_of_the_pictures(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(picture((1, 2, 3)))
    schema = Schema((Column("photo", "image"),))
    kept = golden_rows({"photo": [str(path), None]}, schema)
    assert kept["photo"] == [[path.read_bytes()], None]


def test_every_fit_is_compared_with_a_linear_model(tmp_path, settings):
    draw = np.random.default_rng(0)
    number = draw.normal(size=120)
    cells = {"n": number.tolist(), "m": draw.normal(size=120).tolist()}
    cells["y"] = (3 * number + 1).tolist()
    few = {**settings, "optim.max_epochs": 1}
    predictor = MultiModalPredictor(label="y", path=tmp_path / "p", verbosity=0)
    with pytest.warns(UserWarning, match="A LINEAR MODEL IS AS GOOD: its rmse"):
        predictor.fit(cells, hyperparameters=few)
    summary = predictor.fit_summary()
    assert summary["linear"] < 0.1 * summary["trivial"]
    assert summary["beats_linear"] is False
    assert summary["linear_rows"] == summary["rows"]["train"]
