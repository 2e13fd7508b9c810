"""AutoGluon's calls, and the page and logs that a fit leaves."""

import runpy
import sys
import types
import warnings

import numpy as np
import pytest

pytest.importorskip("torch")

from click.testing import CliRunner

from automm import utils
from automm.cli.main import main
from automm.models.encoders import hf_text, timm_image
from automm.predictor import MultiModalPredictor
from automm_serve.errors import ConfigError, SchemaError
from automm_serve.metrics import METRICS
from tests.pets import pets
from tests.tiny_models import make_image_model, make_text_model

TYPES = {"title": "text", "city": "categorical"}


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    return {
        "model.hf_text.checkpoint_name": str(make_text_model(folder / "text", mean_pooling=True)),
        "model.hf_text.max_text_len": 16,
        "model.hf_text.frozen_blocks": 0,
        "model.timm_image.checkpoint_name": str(make_image_model(folder / "image")),
        "model.timm_image.image_size": 32,
        "model.ft_transformer.token_dim": 16,
        "model.ft_transformer.num_blocks": 1,
        "model.fusion_mlp.adapt_in_features": 16,
        "optim.lr": 1e-3,
        "optim.max_epochs": 1,
        "env.batch_size": 16,
        "env.per_gpu_batch_size": 16,
    }


def table(rows=60, seed=0):
    return {name: pets(rows, seed)[name] for name in ("photo", "title", "weight", "city", "kind")}


def hits(truth, prediction, *_):
    return float((truth == prediction).sum())


@pytest.fixture(scope="module")
def predictor(tmp_path_factory, settings):
    path = tmp_path_factory.mktemp("dropin") / "predictor"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return MultiModalPredictor(
            label="kind", path=path, verbosity=0, eval_metric=hits, warn_if_exist=False
        ).fit(table(), hyperparameters=settings, column_types=TYPES, clean_ckpts=False)


def test_a_function_of_one_s_own_chooses_the_state_and_evaluates(predictor):
    assert predictor.eval_metric == predictor.validation_metric == "hits"
    rows = table(12, seed=3)
    right = (predictor.predict(rows) == np.array(rows["kind"], object)).sum()
    assert predictor.evaluate(rows) == {"hits": right}
    assert predictor.evaluate(rows, metrics=[hits, "accuracy"])["accuracy"] == right / 12


def test_a_loaded_predictor_has_the_name_of_the_function_and_takes_it_again(predictor):
    loaded = MultiModalPredictor.load(predictor.path)
    rows = table(12, seed=3)
    with pytest.raises(ConfigError, match="'hits' is unknown"):
        loaded.evaluate(rows)
    assert loaded.evaluate(rows, metrics=hits) == predictor.evaluate(rows)


def test_every_metric_of_the_problem_is_evaluated(predictor):
    pytest.importorskip("sklearn")
    names = [name for name, one in METRICS.items() if "multiclass" in one.problem_types]
    found = predictor.evaluate(table(30, seed=3), metrics=names)
    assert list(found) == names
    assert np.isfinite(list(found.values())).all()


def test_the_summary_says_the_rivals_first_and_has_autogluon_s_keys(predictor, capsys):
    summary = predictor.fit_summary(verbosity=1)
    assert list(summary)[:4] == ["metric", "trivial", "linear", "score"]
    assert summary["val_hits"] == summary["score"]
    assert summary["training_time"] == summary["seconds"]["all"]
    said = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in said] == ["hits trivial", "hits linear", "hits score"]


def test_a_column_of_the_truth_may_have_another_name(predictor):
    rows = table(12, seed=3)
    renamed = {"truth" if name == "kind" else name: cells for name, cells in rows.items()}
    assert predictor.evaluate(renamed, label="truth") == predictor.evaluate(rows)
    with pytest.raises(SchemaError, match="no column 'trutth', but there is 'truth'"):
        predictor.evaluate(renamed, label="trutth")


def test_answers_come_as_autogluon_gives_them(predictor, tmp_path):
    import pandas
    import torch

    frame = pandas.DataFrame(table(6, seed=3), index=list("abcdef")).drop(columns="kind")
    answers = predictor.predict(frame)
    assert (answers.name, list(answers.index)) == ("kind", list("abcdef"))
    proba = predictor.predict_proba(frame, realtime=True, candidate_data=None)
    assert list(proba.columns) == predictor.class_labels
    assert predictor.predict(frame, as_pandas=False).shape == (6,)
    features = predictor.extract_embedding(frame, as_tensor=True)
    assert isinstance(features, torch.Tensor)
    np.testing.assert_array_equal(features, predictor.extract_embedding(frame, return_masks=False))
    with pytest.raises(ConfigError, match="matching"):
        predictor.predict(frame, id_mappings={"a": {}})


def test_answers_can_be_written_beside_the_predictor(predictor, tmp_path):
    copy = MultiModalPredictor.load(predictor.path)
    copy.save(tmp_path / "copy", standalone=True)
    answers = copy.predict(table(4, seed=3), save_results=True)
    lines = (tmp_path / "copy" / "predictions.csv").read_text().splitlines()
    assert lines == ["kind", *answers]


def test_devices_and_verbosity_are_set_by_their_calls(tmp_path):
    fresh = MultiModalPredictor(label="kind")
    assert fresh.get_num_gpus() is None
    fresh.set_num_gpus(0)
    fresh.set_verbosity(1)
    assert (fresh.get_num_gpus(), fresh.verbosity, fresh._shows_progress) == (0, 1, False)
    assert fresh._configure(None, None, None, None).env.num_gpus == 0
    without = MultiModalPredictor(label="kind", pretrained=False)._configure(None, None, None, None)
    assert not without.model.hf_text.pretrained
    assert not without.model.timm_image.pretrained


def test_what_is_known_of_the_problem_is_its_task(predictor):
    assert predictor.problem_property.metrics == ("accuracy", "log_loss")
    assert predictor.get_num_gpus() == -1
    assert "resnet18" in predictor.list_supported_models(pretrained=False)


def test_dumped_encoders_are_checkpoints_for_another_fit(predictor, tmp_path):
    folder = predictor.dump_model(str(tmp_path / "dump"))
    assert folder == str(tmp_path / "dump")
    trained = predictor._fitted().trained
    for processor, module in ((p, {"hf_text": hf_text, "timm_image": timm_image}.get(p.name))
                              for p in trained.pipeline.processors):  # fmt: skip
        if module is None:
            assert not (tmp_path / "dump" / processor.name).exists()
            continue
        place = str(tmp_path / "dump" / processor.name)
        options = module.OPTIONS(checkpoint_name=place)
        again = module.build(processor, options).eval()
        ours = trained.model.encoders[processor.name].eval()
        tensors, _ = processor.transform(table(5, seed=3))
        import torch

        feed = {name: torch.from_numpy(array) for name, array in tensors.items()}
        with torch.no_grad():
            torch.testing.assert_close(again(feed)["features"], ours(feed)["features"])


def test_the_graph_alone_and_the_answers_by_it(predictor, tmp_path):
    pytest.importorskip("onnxruntime")
    import onnx

    path = predictor.export_onnx(table(4), path=str(tmp_path / "onnx"))
    assert path.endswith("model.onnx")
    model = onnx.load(path)
    assert "probabilities" in {output.name for output in model.graph.output}
    assert predictor.export_onnx() == (tmp_path / "onnx" / "model.onnx").read_bytes()
    with pytest.raises(ConfigError, match="opset_version=11"):
        predictor.export_onnx(opset_version=11)

    copy = MultiModalPredictor.load(predictor.path)
    rows = table(8, seed=3)
    before = copy.predict_proba(rows)
    used = copy.optimize_for_inference(providers=["CPUExecutionProvider"])
    assert copy._local is used
    np.testing.assert_allclose(copy.predict_proba(rows), before, atol=1e-5)
    copy.save(tmp_path / "saved")  # AutoGluon cannot, after that
    with pytest.raises(ConfigError, match="automm export PREDICTOR"):
        copy.optimize_for_inference(providers=["TensorrtExecutionProvider"])


def test_a_fit_leaves_a_page_and_its_course(predictor, tmp_path):
    page = (predictor.path / "report.html").read_text()
    assert "Is it worth its cost?" in page
    assert "this predictor" in page
    lines = (predictor.path / "logs" / "metrics.csv").read_text().splitlines()
    assert lines[0].startswith("epoch,")
    assert lines[0].endswith("hits")
    assert len(lines) == 1 + len(predictor.fit_summary()["history"])
    MultiModalPredictor.load(predictor.path).save(tmp_path / "copy")
    assert (tmp_path / "copy" / "report.html").read_text() == page


def test_the_command_says_where_the_page_is_or_writes_one_of_other_rows(predictor, tmp_path):
    def asked(*args):
        return CliRunner().invoke(main, ["report", *args], catch_exceptions=False)

    assert asked(str(predictor.path)).output.strip() == str(predictor.path / "report.html")
    import pandas

    frame = pandas.DataFrame(table(12, seed=3)).drop(columns="photo")
    frame.to_csv(tmp_path / "rows.csv", index=False)
    out = tmp_path / "other.html"
    data = str(tmp_path / "rows.csv")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert asked(str(predictor.path), data, "--out", str(out)).output.strip() == str(out)
    assert "12 rows given" in out.read_text()
    assert "neither a predictor nor a bundle" in asked(str(tmp_path)).output
    assert asked(str(predictor.path), data).exit_code == 2
    (tmp_path / "unlabelled.csv").write_text("title\nx\n")
    found = asked(str(predictor.path), str(tmp_path / "unlabelled.csv"), "--out", "x.html")
    assert "label column 'kind' is absent" in found.output


def test_without_a_page_the_command_says_how_to_make_one(predictor, tmp_path):
    predictor_2 = MultiModalPredictor.load(predictor.path)
    path = predictor_2.save(tmp_path / "copy")
    (path / "report.html").unlink()
    found = CliRunner().invoke(main, ["report", str(path)])
    assert f"automm report {path} DATA --out report.html" in found.output


@pytest.mark.parametrize("preset", ["medium_quality", "multilingual"])
def test_a_preset_whose_weights_are_not_to_be_had_says_where_it_looked(
    preset, tmp_path, monkeypatch
):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    fresh = MultiModalPredictor(label="kind", path=tmp_path / "p", verbosity=0)
    rows = {name: table()[name] for name in ("title", "kind")}
    with pytest.raises(ConfigError) as caught:
        fresh.fit(rows, presets=preset, column_types={"title": "text"})
    error = caught.value
    assert "no local folder" in error.what
    assert "installed package" in error.what
    assert "cache" in error.what
    assert error.command.startswith("hf download ")
    assert error.command.split()[-1] in error.where


def test_the_utilities_read_files_below_a_folder(tmp_path):
    (tmp_path / "a.png").write_bytes(b"AB")
    found = utils.path_expander("a.png;b.png", str(tmp_path))
    assert found == f"{tmp_path}/a.png;{tmp_path}/b.png"
    assert utils.path_to_bytearray_expander("a.png", tmp_path) == [bytearray(b"AB")]
    assert utils.path_to_base64str_expander("a.png", tmp_path) == ["QUI="]
    with pytest.raises(ConfigError, match="for matching"):
        _ = utils.semantic_search


SCRIPT = """
import pandas as pd
from autogluon.multimodal import MultiModalPredictor

train_data = pd.read_parquet("train.pq")
test_data = pd.read_parquet("test.pq")
predictor = MultiModalPredictor(
    label="kind", problem_type="multiclass", eval_metric="acc", path="model", verbosity=0,
)
predictor.fit(
    train_data=train_data,
    time_limit=300,
    hyperparameters=hyperparameters,
    column_types={"title": "text", "city": "categorical"},
    standalone=True,
    seed=1,
)
scores = predictor.evaluate(test_data, metrics=["acc", "log_loss", "roc_auc_ovr"])
predictions = predictor.predict(test_data.drop(columns="kind"))
probs = predictor.predict_proba(test_data.drop(columns="kind"), as_pandas=False)
embeddings = predictor.extract_embedding(test_data.drop(columns="kind"))
predictor.save("saved", standalone=True)
loaded_predictor = MultiModalPredictor.load("saved")
again = loaded_predictor.evaluate(test_data, metrics=["acc", "log_loss", "roc_auc_ovr"])
summary = loaded_predictor.fit_summary()
"""


@pytest.mark.filterwarnings("ignore")
def test_a_script_of_autogluon_runs_with_one_import_changed(tmp_path, monkeypatch, settings):
    pytest.importorskip("pyarrow")
    import pandas

    for name, rows, seed in (("train", 60, 0), ("test", 18, 5)):
        pandas.DataFrame(table(rows, seed)).to_parquet(tmp_path / f"{name}.pq")
    old, new = "from autogluon.multimodal import", "from automm import"
    assert SCRIPT.count(old) == 1
    (tmp_path / "script.py").write_text(SCRIPT.replace(old, new))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "autogluon", types.ModuleType("autogluon"))
    ran = runpy.run_path("script.py", {"hyperparameters": {**settings, "env.num_workers": 2}})
    assert set(ran["scores"]) == {"acc", "log_loss", "roc_auc_ovr"}
    assert ran["scores"] == ran["again"]
    assert ran["predictions"].name == "kind"
    assert ran["probs"].shape == (18, 3)
    assert ran["embeddings"].dtype == np.float32
    assert "val_acc" in ran["summary"]
