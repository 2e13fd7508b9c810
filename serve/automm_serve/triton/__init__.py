"""A bundle on NVIDIA Triton: the model class, the launcher of the real server, and the clients.

Nothing is imported here, so that the server's own interpreter, which has neither tritonclient nor
rich, loads `automm_serve.triton.model` alone.
"""

MODEL_PY = "from automm_serve.triton.model import TritonPythonModel  # noqa: F401\n"
"""The whole of `NAME/1/model.py`, in every bundle. What differs is a stranger's, and is not run."""

FACTS, GRAPHS, TARGET, THREADS = "automm", "automm_graphs", "automm_target", "threads"
"""Parameters of NAME's configuration: `wire.Facts`, its graphs, the target it was written for, and
the threads of its sessions (0 or absent: the budget of the machine)."""

IN_PROCESS = frozenset({"cpu", "gpu_rtx"})
"""Targets whose sessions run in NAME's own process; the graphs of the others are Triton models."""

ROW, IMAGES, ROW_ERROR, PROGRAM = "row", "images", "row_error", "program"
"""Names on the wire: two inputs, the output beside the answer's columns, the request parameter."""

BUNDLE, OTHER_BUNDLE = "bundle", "another bundle is served now"
"""Request parameter with the hash that a client believes to ask, and how a refusal begins where
another one is served: the client then reads the facts anew and asks again."""
