"""Lines of real logs of Triton 2.51."""

import pytest

from automm_serve.triton.log import explain

NO_GPU = (
    "2026-01-01T00:00:00Z E 1 cuda_memory_manager.cc:40] "
    '"CudaDriverHelper has not been initialized."\n'
)
END = "error: creating server: Internal - failed to load all models\n"


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (
            "2026-01-01T00:00:00Z E 1 model_lifecycle.cc:642] \"failed to load 'tiny' version 1: "
            "Internal: ModuleNotFoundError: No module named 'PIL'\\n\\nAt:\\n  model.py(1)\\n\"\n",
            "model 'tiny': Internal: ModuleNotFoundError: No module named 'PIL'",
        ),
        (
            '2026-01-01T00:00:00Z E 1 model_repository_manager.cc:1460] "Poll failed for model '
            "directory 'tiny': failed to read text proto from tiny/config.pbtxt\"\n",
            "model 'tiny': failed to read text proto from tiny/config.pbtxt",
        ),
        (
            '2026-01-01T00:00:00Z E 1 http_server.cc:4] "failed to start HTTP service: '
            "Unavailable - Socket '127.0.0.1:8000' already in use\"\n",
            "failed to start HTTP service: Unavailable - Socket '127.0.0.1:8000' already in use",
        ),
        (
            "tritonserver: unrecognized option '--nonsense'\nUsage: tritonserver [options]\n",
            "tritonserver: unrecognized option '--nonsense'",
        ),
        ("", "its log is empty"),
    ],
)
def test_the_cause_stands_in_one_line(tmp_path, log, said):
    path = tmp_path / "log"
    path.write_text(NO_GPU + log + END if "Z E" in log else log)
    assert explain(path) == said


def test_a_long_log_is_read_from_its_end(tmp_path):
    path = tmp_path / "log"
    path.write_text("error: the first\n" + "noise\n" * 100_000 + "error: the last\n")
    assert explain(path) == "error: the last"


def test_a_log_that_is_gone_is_said(tmp_path):
    assert explain(tmp_path / "none").endswith("cannot be read: No such file or directory")
