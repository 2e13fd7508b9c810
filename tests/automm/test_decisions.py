"""A predictor's threshold, from ``fit`` to the bundle: the same labels everywhere."""

from __future__ import annotations

import shutil
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest

pytest.importorskip("torch")

from safetensors.numpy import load_file, save_file

from automm.predictor import MultiModalPredictor
from automm_export.export import ExportOptions
from automm_serve.bundle import Bundle, load
from automm_serve.errors import BundleError, ConfigError
from automm_serve.verify import verify
from tests.automm.cli.answering import run

# They learn next to nothing in their seconds.
pytestmark = pytest.mark.filterwarnings("ignore::automm.training.outcome.FitWarning")

SETTINGS: dict[str, object] = {
    "model.names": ["ft_transformer"],
    "model.ft_transformer.token_dim": 16,
    "model.ft_transformer.num_blocks": 1,
    "optim.lr": 3e-3,
    "optim.max_epochs": 2,
    "env.accelerator": "cpu",
    "env.batch_size": 32,
    "env.per_gpu_batch_size": 32,
}


def rare(rows: int, seed: int) -> dict[str, list[object]]:
    """A seventh of the rows is "yes", more of them where the two numbers are large."""
    random = np.random.default_rng(seed)
    x, y = random.normal(size=(2, rows))
    yes = random.random(rows) < 1 / (1 + np.exp(2.8 - 1.5 * x - y))
    return {
        "x": x.tolist(),
        "y": y.tolist(),
        "sold": ["yes" if one else "no" for one in yes],
    }


VALID, TEST = rare(300, 1), rare(500, 2)


def train(path: Any, **changes: Any) -> MultiModalPredictor:
    given = {"eval_metric": "f1", **changes}
    predictor = MultiModalPredictor(
        label="sold", path=path, verbosity=0, eval_metric=given.pop("eval_metric")
    )
    return predictor.fit(rare(400, 0), tuning_data=VALID, hyperparameters=SETTINGS, **given)


@pytest.fixture(scope="module")
def f1(tmp_path_factory):
    return train(tmp_path_factory.mktemp("f1") / "predictor")


@pytest.fixture
def own(f1, tmp_path):
    """A copy that a test may change."""
    return MultiModalPredictor.load(shutil.copytree(f1.path, tmp_path / "own"))


def test_f1_gets_a_threshold_that_raises_it_on_rows_that_nobody_saw(f1):
    told = f1.fit_summary()["decision"]
    assert told["metric"] == "f1"
    assert told["threshold"] == f1.decision_threshold != 0.5
    assert told["after"] > told["before"]
    assert f1.evaluate(VALID)["f1"] == pytest.approx(told["after"])
    assert f1.evaluate(VALID, decision_threshold=0.5)["f1"] == pytest.approx(told["before"])
    assert f1.fit_summary()["score"] == pytest.approx(told["after"])
    assert f1.evaluate(TEST)["f1"] > f1.evaluate(TEST, decision_threshold=0.5)["f1"]
    assert f1.fit_summary()["scores"]["accuracy"] == pytest.approx(
        f1.evaluate(VALID, "accuracy")["accuracy"]
    )


def test_to_answer_the_rarer_class_everywhere_is_to_have_learned_nothing(f1):
    everywhere = f1.evaluate(VALID, decision_threshold=0.0)["f1"]
    assert f1.fit_summary()["trivial"] == pytest.approx(everywhere) != 0


def test_its_labels_are_those_of_its_probabilities(f1):
    positive = f1.predict_proba(TEST, as_multiclass=False)
    expected = np.where(positive >= np.float32(f1.decision_threshold), "yes", "no")
    np.testing.assert_array_equal(f1.predict(TEST), expected)
    assert f1.predict_from_proba(f1.predict_proba(TEST)).tolist() == expected.tolist()
    assert set(f1.predict(TEST, decision_threshold=0.0)) == {"yes"}


def test_a_bundle_answers_at_the_threshold_and_an_older_runtime_refuses_it(f1, tmp_path):
    f1.export(tmp_path / "bundle", ExportOptions(name="sales"))
    assert verify(tmp_path / "bundle").ok
    bundle = Bundle.open(tmp_path / "bundle")
    assert bundle.manifest.format == 3
    with bundle_predictor(tmp_path / "bundle") as found:
        assert found.decision_threshold == f1.decision_threshold
        np.testing.assert_array_equal(found.predict(TEST), f1.predict(TEST))
        np.testing.assert_allclose(found.predict_proba(TEST), f1.predict_proba(TEST), atol=1e-5)
        assert found.evaluate(TEST, "f1") == f1.evaluate(TEST)
    assert "threshold: 0." in run("info", tmp_path / "bundle").stdout


class bundle_predictor:  # noqa: N801  # a context, used as a function
    """A bundle that is open in a block."""

    def __init__(self, path: Any) -> None:
        self.predictor: Any = load(path)

    def __enter__(self) -> Any:
        return self.predictor

    def __exit__(self, *_: object) -> None:
        self.predictor.close()


def test_it_is_found_again_set_kept_and_exported(own, f1, tmp_path):
    assert own.decision_threshold == f1.decision_threshold
    # The folder keeps all 300 rows that it was fitted on.
    assert own.calibrate_decision_threshold() == pytest.approx(f1.decision_threshold)
    assert own.calibrate_decision_threshold(TEST, "balanced_accuracy") < 0.5
    own.predict(TEST)
    own.set_decision_threshold(0.25)
    expected = np.where(own.predict_proba(TEST)[:, 1] >= np.float32(0.25), "yes", "no")
    np.testing.assert_array_equal(own.predict(TEST), expected)
    assert MultiModalPredictor.load(own.path).decision_threshold == f1.decision_threshold
    own.save(own.path, replace=True)
    again = MultiModalPredictor.load(own.path)
    assert again.decision_threshold == 0.25
    np.testing.assert_array_equal(again.predict(TEST), expected)
    again.optimize_for_inference()
    np.testing.assert_array_equal(again.predict(TEST), expected)
    again.set_decision_threshold(0.5)
    np.testing.assert_array_equal(again.predict(TEST), again.predict(TEST, decision_threshold=0.5))


def test_the_command_line_finds_and_sets_it(own, f1):
    result = run("calibrate", own.path, "--metric", "mcc", "--json")
    assert result.exit_code == 0, result.output
    found = msgspec.json.decode(result.stdout)
    assert found["before"] == f1.decision_threshold
    assert MultiModalPredictor.load(own.path).decision_threshold == found["threshold"]
    assert "-> 0.3, saved to" in run("calibrate", own.path, "--threshold", "0.3").stdout
    told = run("info", own.path).stdout
    assert "threshold: 0.3" in told
    assert "temperature: " in told
    refused = run("calibrate", own.path, "--threshold", "1.3")
    assert refused.exit_code == 1
    assert "1.3 is no probability" in refused.stderr
    assert run("calibrate", own.path, "--threshold", "0.3", "--metric", "f1").exit_code == 2
    assert MultiModalPredictor.load(own.path).decision_threshold == 0.3


def test_a_threshold_is_fitted_from_the_command_line(tmp_path):
    rows = {name: list(map(str, cells)) for name, cells in rare(400, 0).items()}
    lines = [",".join(rows), *map(",".join, zip(*rows.values(), strict=True))]
    (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n")
    settings = [word for key in SETTINGS for word in ("--set", f"{key}={SETTINGS[key]}")]
    settings[1] = "model.names=ft_transformer"
    settings += ["--out", str(tmp_path / "out"), "--calibrate-threshold"]
    result = run("train", tmp_path / "rows.csv", "--label", "sold", *settings)
    assert result.exit_code == 0, result.output
    found = MultiModalPredictor.load(tmp_path / "out")
    told = found.fit_summary()["decision"]
    assert told["threshold"] == found.decision_threshold
    assert f"threshold {told['threshold']:.3g}: f1 {told['before']:.4g} -> " in result.stdout
    assert "temperature " in result.stdout


@pytest.mark.parametrize(
    ("changes", "metric"),
    [
        ({"eval_metric": "roc_auc"}, None),
        ({"eval_metric": "accuracy"}, None),
        ({"eval_metric": "f1", "calibrate_decision_threshold": False}, None),
        ({"eval_metric": "roc_auc", "calibrate_decision_threshold": True}, "f1"),
        ({"eval_metric": "balanced_accuracy"}, "balanced_accuracy"),
    ],
)
def test_it_is_fitted_where_it_pays_or_is_asked_for(tmp_path, changes, metric):
    predictor = train(tmp_path / "predictor", **changes)
    decision = predictor.fit_summary()["decision"]
    assert (decision and decision["metric"]) == metric
    assert (predictor.decision_threshold == 0.5) == (metric is None)


def test_a_fit_that_goes_on_forgets_the_threshold_of_other_weights(own, tmp_path):
    own.fit(rare(100, 4), tuning_data=VALID, save_path=tmp_path / "more",
            calibrate_decision_threshold=False)  # fmt: skip
    assert own.decision_threshold == 0.5


def test_a_predictor_of_an_earlier_release_answers_at_one_half_and_temperature_1(f1, tmp_path):
    old = shutil.copytree(f1.path, tmp_path / "old")
    record = msgspec.json.decode((old / "predictor.json").read_bytes())
    for name in ("temperature", "decision"):
        del record["summary"][name]
    weights = load_file(old / "model.safetensors")
    temperature = weights.pop("temperature")
    assert float(temperature) == f1.fit_summary()["temperature"]["value"] != 1
    save_file(weights, old / "model.safetensors")
    with pytest.raises(BundleError, match="weights are missing or unknown: temperature"):
        MultiModalPredictor.load(old)
    (old / "predictor.json").write_bytes(msgspec.json.encode({**record, "format": 2}))
    pipeline = msgspec.json.decode((old / "pipeline.json").read_bytes())
    del pipeline["programs"]["predict"]["answer"]["threshold"]
    (old / "pipeline.json").write_bytes(msgspec.json.encode(pipeline))
    found = MultiModalPredictor.load(old)
    assert found.decision_threshold == 0.5
    graph: Any = found.exportable().graphs["predict"]
    assert float(graph.model.temperature) == 1
    np.testing.assert_array_equal(found.predict(TEST), found.predict(TEST, decision_threshold=0.5))
    found.save(tmp_path / "new")
    assert MultiModalPredictor.load(tmp_path / "new").fit_summary()["temperature"] is None
    # An earlier release refuses it by its number.
    assert msgspec.json.decode((tmp_path / "new" / "predictor.json").read_bytes())["format"] == 4


def test_in_16_bits_the_division_and_the_softmax_stay_in_32(f1, tmp_path):
    options = ExportOptions(name="sales", precisions=("fp16",), max_drop=100)
    f1.export(tmp_path / "bundle", options)
    bundle = Bundle.open(tmp_path / "bundle")
    file = bundle.path / bundle.manifest.graphs["predict"].files["fp16"]
    model = onnx.shape_inference.infer_shapes(onnx.load(str(file)))
    types = {value.name: value.type.tensor_type.elem_type for value in model.graph.value_info}
    types |= {value.name: value.data_type for value in model.graph.initializer}
    temperature = f1.fit_summary()["temperature"]["value"]
    constants = {one.name: onnx.numpy_helper.to_array(one) for one in model.graph.initializer}
    divides = [
        node
        for node in model.graph.node
        if node.op_type in ("Div", "Mul")
        and any(np.isclose(constants.get(name, np.nan), temperature).all() for name in node.input)
    ]
    assert len(divides) == 1
    assert all(types[name] == onnx.TensorProto.FLOAT for name in divides[0].input)
    assert any(kind == onnx.TensorProto.FLOAT16 for kind in types.values())


def test_no_threshold_without_two_classes(tmp_path):
    rows = rare(120, 0)
    rows["sold"] = [("no", "yes", "soon")[row % 3] for row in range(120)]
    predictor = MultiModalPredictor(label="sold", path=tmp_path / "p", verbosity=0).fit(
        rows, hyperparameters=SETTINGS, calibrate_decision_threshold=True
    )
    assert predictor.decision_threshold is None
    assert predictor.fit_summary()["decision"] is None
    with pytest.raises(ConfigError, match="'sold' is not one of two classes"):
        predictor.set_decision_threshold(0.3)
    with pytest.raises(ConfigError, match="'sold' is not one of two classes"):
        predictor.calibrate_decision_threshold()
