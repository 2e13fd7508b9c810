"""What is imported, seen in fresh interpreters: the runtime and the command line stay light."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
BUNDLE = TESTS / "bundles" / "v1"

HEAVY = (
    "torch", "torchvision", "lightning", "transformers", "timm", "pandas", "onnx", "onnxscript",
    "peft", "safetensors", "sklearn", "scipy", "huggingface_hub",
)  # fmt: skip


def modules_after(code: str) -> set[str]:
    """Run code in a fresh interpreter with every socket closed; return the packages it loaded."""
    guard = """
        import sys
        def refuse(event, args):
            if event.startswith("socket."):
                raise RuntimeError(event)
        sys.addaudithook(refuse)
    """
    tell = "print('MODULES', *sorted({name.partition('.')[0] for name in sys.modules}))"
    program = "\n".join([textwrap.dedent(guard), textwrap.dedent(code), tell])
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("MODULES ")[2].split())


def test_a_bundle_answers_and_is_scored_without_anything_heavy():
    pytest.importorskip("onnxruntime")
    loaded = modules_after(f"""
        from automm_serve.bundle import load
        from automm_serve.table import read_table

        table = read_table({str(BUNDLE / "golden" / "rows.jsonl")!r})
        predictor = load({str(BUNDLE)!r})
        answers = predictor.predict(table)
        assert len(answers) == 12
        assert predictor.predict_proba(table).shape == (12, 3)
        assert predictor.extract_embedding(table).shape[0] == 12
        scores = predictor.evaluate(table | {{"kind": list(answers)}})
        assert scores == {{"accuracy": 1.0}}
    """)
    assert "onnxruntime" in loaded
    assert not loaded & set(HEAVY)


def test_automm_loads_a_bundle_without_anything_heavy():
    pytest.importorskip("onnxruntime")
    loaded = modules_after(f"""
        import automm

        automm.load({str(BUNDLE)!r})
    """)
    assert not loaded & set(HEAVY)


def test_the_help_of_the_command_line_needs_next_to_nothing():
    loaded = modules_after("""
        from automm.cli.main import main

        main(["--help"], standalone_mode=False)
    """)
    assert not loaded & {*HEAVY, "numpy", "PIL", "tokenizers", "onnxruntime", "msgspec", "rich"}


@pytest.mark.parametrize("name", ["predict", "evaluate", "info", "doctor", "weights"])
def test_the_help_of_a_command_needs_nothing_heavy(name):
    loaded = modules_after(f"""
        from automm.cli.main import main

        main([{name!r}, "--help"], standalone_mode=False)
    """)
    assert not loaded & {*HEAVY, "numpy", "PIL", "tokenizers", "onnxruntime"}


def test_a_table_is_understood_without_anything_heavy(tmp_path):
    (tmp_path / "rows.csv").write_text("a,b\n" + "".join(f"{i}.5,{i % 2}\n" for i in range(60)))
    loaded = modules_after(f"""
        from automm.cli.main import main

        main(["info", {str(tmp_path / "rows.csv")!r}, "--label", "b"], standalone_mode=False)
    """)
    assert not loaded & set(HEAVY)


def test_the_list_of_heavy_packages_would_be_noticed():
    assert "json" in modules_after("import json")
