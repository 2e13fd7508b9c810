import json
import shutil
import time
import warnings

import numpy as np
import pytest

pytest.importorskip("torch")

from click.testing import CliRunner
from safetensors.torch import load_file

from automm.cli.main import main
from automm.predictor import MultiModalPredictor
from automm.training.recorder import Recorder
from automm.training.resume import STATE
from automm_serve.errors import BundleError, ConfigError, DataError, SchemaError
from tests.automm.training.running import TYPES, output, settings, start, table, write_script

FIT = """
predictor = MultiModalPredictor(label="kind", path=given["path"], verbosity=0)
predictor.fit(given["data"], hyperparameters=given["settings"], column_types=given["types"])
"""

# Stands still behind the n-th validation, so that the kill comes when something was learnt.
HANGS = """
import time
from automm.training.recorder import Recorder
write, count = Recorder.write, []
def slow(*arguments, **named):
    write(*arguments, **named)
    count.append(1)
    if len(count) == given["after"]:
        print("ready", flush=True)
        time.sleep(600)
Recorder.write = slow
"""


@pytest.fixture
def data(tmp_path):
    cells = table()
    rows = [dict(zip(cells, row, strict=True)) for row in zip(*cells.values(), strict=True)]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def quietly(what, *arguments, **named):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return what(*arguments, **named)


def killed(folder, data, given, after):
    """Fit in another process, and kill it behind a validation."""
    script = write_script(
        folder,
        HANGS + FIT,
        path=str(folder / "p"),
        data=str(data),
        settings=given,
        types=TYPES,
        after=after,
    )
    process = start(script)
    assert process.stdout is not None
    try:
        line = ""
        while "ready" not in line:
            line = output(process).readline()
            assert line, "the fit ended before its kill"
    finally:
        process.kill()
        process.wait()
        output(process).close()
    return folder / "p"


def history(predictor):
    return predictor.fit_summary()["history"]


def result(path):
    return load_file(path / "model.safetensors")


# Adam with dropout behind blocks that are asked once; SGD with LoRA, the best of few states; class
# weights and gaps.
WAYS: dict[str, dict[str, object]] = {
    "adamw": {"model.hf_text.frozen_blocks": 2},
    "sgd_lora": {
        "optim.optim_type": "sgd",
        "optim.peft": "lora",
        "optim.top_k": 2,
        "optim.lr": 0.05,
        "optim.top_k_average_method": "best",
    },
    "adafactor": {
        "optim.optim_type": "adafactor",
        "optim.class_weights": "balanced",
        "data.modality_dropout": 0.3,
        "optim.top_k_average_method": "uniform_soup",
    },
}


@pytest.mark.parametrize(("way", "after"), [("adamw", 1), ("sgd_lora", 3), ("adafactor", 5)])
def test_after_a_kill_the_fit_goes_on_to_the_very_same_result(
    tmp_path, data, monkeypatch, way, after
):
    if way == "sgd_lora":
        pytest.importorskip("peft")
    monkeypatch.setenv("AUTOMM_THREADS", "1")
    given = settings(tmp_path, **{k.replace(".", "__"): v for k, v in WAYS[way].items()})
    whole = MultiModalPredictor(label="kind", path=tmp_path / "whole", verbosity=0)
    quietly(whole.fit, data, hyperparameters=given, column_types=TYPES)
    path = killed(tmp_path, data, given, after)
    assert not (path / "predictor.json").exists()
    assert len(json.loads((path / STATE).read_bytes())["progress"]["history"]) == after

    resumed = MultiModalPredictor.load(path, resume=True, verbosity=0)
    quietly(resumed.fit, data)  # settings, column types and seed are those it began with
    assert history(resumed) == history(whole)
    assert len(history(whole)) == 6
    wanted, found = result(tmp_path / "whole"), result(path)
    assert wanted.keys() == found.keys()
    for name, tensor in wanted.items():
        np.testing.assert_array_equal(found[name].numpy(), tensor.numpy(), err_msg=name)
    assert resumed.fit_summary()["souped"] == whole.fit_summary()["souped"]
    assert not (path / "resume").exists(), "what has ended leaves nothing to resume"
    assert not list(tmp_path.glob(".p.*"))


@pytest.fixture(scope="module")
def cut_off(tmp_path_factory):
    """A fit that was killed behind its third validation, and its table."""
    folder = tmp_path_factory.mktemp("cut")
    cells = table()
    rows = [dict(zip(cells, row, strict=True)) for row in zip(*cells.values(), strict=True)]
    data = folder / "rows.jsonl"
    data.write_text("\n".join(map(json.dumps, rows)))
    return killed(folder, data, settings(folder, optim__top_k=2), 3), data


@pytest.fixture
def folder(cut_off, tmp_path):
    return shutil.copytree(cut_off[0], tmp_path / "copy")


def test_the_command_line_goes_on_by_the_folder_alone(cut_off, folder):
    found = CliRunner().invoke(main, ["train", "--resume", str(folder), "--json"])
    assert found.exit_code == 0, found.output
    assert len(json.loads(found.stdout)["summary"]["history"]) == 6
    assert (folder / "predictor.json").is_file()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"table": 1}, "the training rows are not those"),
        ({"hyperparameters": {"optim.lr": 1e-5}}, r"optim\.lr was 0\.003, now it is 1e-05"),
        ({"seed": 3}, "the training rows are not those|seed was 0, now it is 3"),
        ({"holdout_frac": 0.4}, "the training rows are not those"),
    ],
)
def test_another_table_or_other_settings_are_refused(cut_off, folder, changes, says):
    before = sorted((f, f.stat().st_size) for f in folder.rglob("*"))
    given = table(seed=7) if changes.pop("table", 0) else cut_off[1]
    predictor = MultiModalPredictor.load(folder, resume=True, verbosity=0)
    with pytest.raises(ConfigError, match=says):
        predictor.fit(given, **changes)
    assert sorted((f, f.stat().st_size) for f in folder.rglob("*")) == before


def test_another_release_and_another_format_are_refused(cut_off, folder):
    state = json.loads((folder / STATE).read_bytes())
    state["request"]["made_by"] = "0.0.1"
    (folder / STATE).write_text(json.dumps(state))
    predictor = MultiModalPredictor.load(folder, resume=True, verbosity=0)
    with pytest.raises(ConfigError, match=r"release: 0\.0\.1 began"):
        predictor.fit(cut_off[1])
    (folder / STATE).write_text(json.dumps(state | {"format": 9}))
    with pytest.raises(BundleError, match="it has format 9"):
        MultiModalPredictor.load(folder, resume=True)


def test_a_damaged_folder_is_named(cut_off, folder):
    file = next((folder / "resume").glob("step-*"))
    file.write_bytes(file.read_bytes()[:200])
    predictor = MultiModalPredictor.load(folder, resume=True, verbosity=0)
    with pytest.raises(BundleError, match=r"step-\d+\.safetensors"):
        predictor.fit(cut_off[1])
    (folder / STATE).write_bytes(b'{"format": 1, "req')
    with pytest.raises(BundleError, match=r"state\.json"):
        MultiModalPredictor.load(folder, resume=True)


def test_where_nothing_was_cut_off_there_is_nothing_to_resume(tmp_path):
    with pytest.raises(ConfigError, match="no fit was cut off there"):
        MultiModalPredictor.load(tmp_path, resume=True)


def test_a_new_fit_does_not_write_over_one_that_was_cut_off(cut_off, folder):
    predictor = MultiModalPredictor(label="kind", path=folder, verbosity=0)
    with pytest.raises(ConfigError, match=r"a fit that was cut off is there(.|\n)*train --resume"):
        predictor.fit(cut_off[1])


def test_no_more_states_lie_on_the_disk_than_are_averaged_and_one(tmp_path, data, monkeypatch):
    write, seen = Recorder.write, []

    def watched(self, *arguments, **named):
        write(self, *arguments, **named)
        names = [file.name for file in self.folder.iterdir()]
        assert not [name for name in names if name.endswith(".new")]
        state = json.loads((self.folder / "state.json").read_bytes())["progress"]
        sizes = {f.name: f.stat().st_size for f in self.folder.glob("*.safetensors")}
        seen.append((len(sizes), {state["weights"], state["tensors"]} <= set(names)))

    monkeypatch.setattr(Recorder, "write", watched)
    given = settings(tmp_path, optim__top_k=2, optim__max_epochs=5, optim__lr=0.1)
    predictor = MultiModalPredictor(label="kind", path=tmp_path / "p", verbosity=0)
    quietly(predictor.fit, data, hyperparameters=given, column_types=TYPES)
    assert len(seen) == 10
    assert max(count for count, _ in seen) <= 3
    assert all(whole for _, whole in seen)


def test_large_states_lie_in_the_folder_once(tmp_path, data, monkeypatch):
    from automm.training import soup

    given = settings(tmp_path, optim__peft="bit_fit")
    small = MultiModalPredictor(label="kind", path=tmp_path / "small", verbosity=0)
    quietly(small.fit, data, hyperparameters=given, column_types=TYPES)
    monkeypatch.setattr(soup, "IN_MEMORY_BYTES", 0)
    large = MultiModalPredictor(label="kind", path=tmp_path / "large", verbosity=0)
    quietly(large.fit, data, hyperparameters=given, column_types=TYPES)
    assert history(large) == history(small)
    for name, tensor in result(tmp_path / "small").items():
        np.testing.assert_array_equal(result(tmp_path / "large")[name], tensor)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    predictor = MultiModalPredictor(label="kind", path=folder / "p", verbosity=0)
    given = settings(folder, optim__max_epochs=2)
    quietly(predictor.fit, table(), hyperparameters=given, column_types=TYPES)
    return predictor, folder


def test_a_trained_predictor_goes_on_learning(trained, tmp_path):
    first, folder = trained
    loaded = MultiModalPredictor.load(folder / "p", verbosity=0)
    more = table(rows=90, seed=4)
    no_steps = {"optim.lr": 1e-12, "optim.max_epochs": 1}
    quietly(loaded.fit, more, save_path=tmp_path / "same", hyperparameters=no_steps)
    rows = {name: cells for name, cells in table(12, seed=9).items() if name != "kind"}
    answers = first.predict_proba(rows)
    np.testing.assert_allclose(loaded.predict_proba(rows), answers, atol=1e-5)
    assert loaded.class_labels == first.class_labels

    quietly(loaded.fit, more, save_path=tmp_path / "more", hyperparameters={"optim.lr": 3e-3})
    assert loaded.path == tmp_path / "more"
    assert np.abs(loaded.predict_proba(rows) - answers).max() > 1e-3
    again = MultiModalPredictor.load(tmp_path / "more", verbosity=0)
    np.testing.assert_array_equal(again.predict_proba(rows), loaded.predict_proba(rows))
    # What was trained on is as it was.
    np.testing.assert_array_equal(first.predict_proba(rows), answers)


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (lambda t: t | {"kind": ["fish", *t["kind"][1:]]}, DataError, "'fish' is none of the cl"),
        (lambda t: {k: v for k, v in t.items() if k != "age"}, SchemaError, "'age' is absent"),
        (lambda t: {k: v for k, v in t.items() if k != "kind"}, SchemaError, "no label column"),
    ],
)
def test_new_data_must_have_the_columns_and_classes_of_the_old(
    trained, tmp_path, change, error, says
):
    loaded = MultiModalPredictor.load(trained[1] / "p", verbosity=0)
    with pytest.raises(error, match=says):
        loaded.fit(change(table(seed=4)), save_path=tmp_path / "p")
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize(
    ("named", "says"),
    [
        ({"hyperparameters": {"model.hf_text.max_text_len": 9}}, "another model than the one"),
        ({"presets": "high_quality"}, "would choose other models"),
    ],
)
def test_another_model_is_not_gone_on_with(trained, tmp_path, named, says):
    loaded = MultiModalPredictor.load(trained[1] / "p", verbosity=0)
    with pytest.raises(ConfigError, match=says):
        loaded.fit(table(), save_path=tmp_path / "p", **named)


def test_a_kill_while_it_goes_on_learning_loses_nothing(trained, tmp_path, data, monkeypatch):
    monkeypatch.setenv("AUTOMM_THREADS", "1")
    more = {"optim.max_epochs": 3}
    whole = MultiModalPredictor.load(trained[1] / "p", verbosity=0)
    quietly(whole.fit, data, save_path=tmp_path / "whole", hyperparameters=more)
    body = HANGS + (
        'predictor = MultiModalPredictor.load(given["old"], verbosity=0)\n'
        'predictor.fit(given["data"], save_path=given["path"], hyperparameters=given["more"])'
    )
    path = tmp_path / "p"
    old = str(trained[1] / "p")
    script = write_script(
        tmp_path, body, old=old, data=str(data), path=str(path), more=more, after=2
    )
    process = start(script)
    assert process.stdout is not None
    began = time.monotonic()
    while "ready" not in output(process).readline():
        assert time.monotonic() - began < 120
    process.kill()
    process.wait()
    output(process).close()
    resumed = MultiModalPredictor.load(path, resume=True, verbosity=0)
    quietly(resumed.fit, data)
    for name, tensor in result(tmp_path / "whole").items():
        np.testing.assert_array_equal(result(path)[name].numpy(), tensor.numpy(), err_msg=name)
