"""A bundle on NVIDIA Triton: the model class, the launcher of the real server, and the clients.

Next to nothing is imported here, so that the server's own interpreter, which has neither
tritonclient nor rich, loads `automm_serve.triton.model` alone.
"""

from __future__ import annotations

from automm_serve.engines import BuilderName

MODEL_PY = '''\
"""The same in every bundle: the class, out of lib/ where this Python has it nowhere else."""

import os
import pathlib
import sys

tag = f"cp{sys.version_info[0]}{sys.version_info[1]}-{os.uname().machine}"
lib = pathlib.Path(__file__).resolve().parents[3] / "lib" / tag
if lib.is_dir():
    sys.path.append(str(lib))

from automm_serve.triton.model import TritonPythonModel  # noqa: E402, F401
'''
"""The whole of `NAME/1/model.py`, in every bundle. What differs is a stranger's, and is not run."""

KNOWN_MODEL_PY = (
    MODEL_PY,
    "from automm_serve.triton.model import TritonPythonModel  # noqa: F401\n",
)
"""Texts of ours, the newest first; the second is that of bundles of format 1."""

FACTS, GRAPHS, TARGET, THREADS = "automm", "automm_graphs", "automm_target", "threads"
"""Parameters of NAME's configuration: `wire.Facts`, its graphs, the target it was written for, and
the threads of its sessions (0 or absent: the budget of the machine)."""

PRECISION = "automm_precision"
"""Another one: the precision that the graphs run in; a bundle of format 1 has fp32 alone."""

IN_PROCESS = frozenset({"cpu", "gpu_rtx"})
"""Targets whose sessions run in NAME's own process; the graphs of the others are Triton models."""

GPU = frozenset({"gpu_ort", "gpu_trt", "gpu_rtx"})
"""Targets that need a GPU."""

ENGINES: dict[str, BuilderName] = {"gpu_trt": "tensorrt", "gpu_rtx": "tensorrt_rtx"}
"""Targets that run engines, which were built beforehand -> by what."""

ENGINE_CACHE = "automm_engines"
"""Stands in a configuration for the folder where a server keeps the engines that it builds. No
machine's path is in a bundle: the launcher puts in one below `AUTOMM_CACHE`, and a server that
loads the folder as it is takes this one, in its working directory."""

ROW, IMAGES, ROW_ERROR, PROGRAM = "row", "images", "row_error", "program"
"""Names on the wire: two inputs, the output beside the answer's columns, the request parameter."""

BUNDLE, OTHER_BUNDLE = "bundle", "another bundle is served now"
"""Request parameter with the hash that a client believes to ask, and how a refusal begins where
another one is served: the client then reads the facts anew and asks again."""


def config_name(target: str, precision: str = "") -> str:
    """Return what `--model-config-name` chooses: a target, at its default precision or another."""
    return f"{target}.{precision}" if precision else target
