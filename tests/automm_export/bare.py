"""The model class in a Python that has numpy and nothing else, with all sockets closed.

Its graph is answered by the process that started it, as a server answers a call between models.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from automm_serve.bundle import Bundle
from automm_serve.manifest import REPOSITORY
from automm_serve.sessions.onnxruntime import OnnxRuntimeSession

BARE = r"""
import io, json, runpy, sys, types
sys.path.append(sys.argv[1])  # numpy, and nothing else

def refuse(event, args):
    if event.startswith("socket."):
        raise RuntimeError("a socket: " + event)

sys.addaudithook(refuse)
import numpy as np

pb = types.ModuleType("triton_python_backend_utils")

class Tensor:
    def __init__(self, name, array):
        self.name, self.array = name, array
    def as_numpy(self):
        return self.array

class InferenceResponse:
    def __init__(self, outputs=(), error=None):
        self.outputs, self.error_ = list(outputs), error
    def has_error(self):
        return self.error_ is not None
    def error(self):
        return self.error_

class InferenceRequest:
    # The graph is a model of the server's own: here the process that started this one.
    def __init__(self, model_name, requested_output_names, inputs, preferred_memory=None):
        self.inputs, self.wanted = inputs, requested_output_names
    def exec(self):
        np.savez(sys.argv[3] + "/feed.npz", **{t.name: t.array for t in self.inputs})
        print("ask", flush=True)
        assert sys.stdin.readline() == "done\n"
        with np.load(sys.argv[3] + "/found.npz") as found:
            return InferenceResponse([Tensor(n, found[n]) for n in self.wanted])

class Row:
    def __init__(self, row, program):
        self.row, self.program = row, program
    def parameters(self):
        return json.dumps({"program": self.program})

def get_input(request, name):
    return Tensor(name, np.array([[request.row]], object)) if name == "row" else None

def get_output(response, name):
    return next(t for t in response.outputs if t.name == name)

pb.Tensor, pb.InferenceResponse, pb.InferenceRequest = Tensor, InferenceResponse, InferenceRequest
pb.PreferredMemory, pb.TRITONSERVER_MEMORY_CPU = (lambda *a: None), 0
pb.TritonError = type("TritonError", (str,), {"INVALID_ARG": 1, "INTERNAL": 2,
                                              "__new__": lambda c, t, k: str.__new__(c, t)})
pb.get_input_tensor_by_name, pb.get_output_tensor_by_name = get_input, get_output
sys.modules["triton_python_backend_utils"] = pb

asked = json.loads(sys.stdin.readline())
version = sys.argv[2]
model = runpy.run_path(version + "/model.py")["TritonPythonModel"]()
model.initialize({"model_config": json.dumps(asked["config"]), "model_version": "1",
                  "model_repository": version.rpartition("/")[0]})
answers = {}
for program in asked["programs"]:
    columns = {}
    for row in asked["rows"]:
        (response,) = model.execute([Row(row.encode(), program)])
        assert not response.has_error(), response.error()
        for tensor in response.outputs:
            cells = [c.decode() if isinstance(c, bytes) else c for c in tensor.array[0].tolist()]
            columns.setdefault(tensor.name, []).append(cells)
    answers[program] = columns
model.finalize()
homes = {n: sys.modules[n].__file__ for n in ("automm_serve", "PIL", "tokenizers", "msgspec")}
print(json.dumps({"answers": answers, "homes": homes}), flush=True)
"""


def bare_python(tmp_path: Path, bundle: Path) -> subprocess.Popen[str]:
    """This interpreter without any package but numpy, and without a network."""
    packages = tmp_path / "numpy_alone"
    packages.mkdir()
    home = Path(np.__file__).parent
    for name in ("numpy", "numpy.libs"):
        if (home.parent / name).exists():
            (packages / name).symlink_to(home.parent / name)
    cut = ["unshare", "-r", "-n"]
    free = shutil.which("unshare") and not subprocess.call(
        [*cut, "true"], stderr=subprocess.DEVNULL
    )
    version = bundle / REPOSITORY / "tiny" / "1"
    command = [sys.executable, "-I", "-S", "-c", BARE, str(packages), str(version), str(tmp_path)]
    with (tmp_path / "stderr").open("w") as stderr:
        return subprocess.Popen(
            [*(cut if free else []), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
        )


def ask_bare(tmp_path: Path, bundle: Path) -> dict[str, Any]:
    """What the model class in a bare Python answers; its graph runs in this process."""
    opened = Bundle.open(bundle)
    (graph,) = opened.manifest.graphs.values()
    session = OnnxRuntimeSession(
        bundle / graph.files["fp32"], graph.inputs, graph.outputs, threads=1
    )
    programs = list(opened.pipeline.programs)
    asked = {
        "config": _config(bundle),
        "programs": programs,
        "rows": (bundle / "golden" / "rows.jsonl").read_text().splitlines(),
    }
    with bare_python(tmp_path, bundle) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(json.dumps(asked) + "\n")
        process.stdin.flush()
        for line in process.stdout:
            if line != "ask\n":
                found: dict[str, Any] = json.loads(line)
                continue
            with np.load(tmp_path / "feed.npz") as feed:
                found_tensors: dict[str, Any] = session.run(dict(feed))
                np.savez(tmp_path / "found.npz", **found_tensors)
            process.stdin.write("done\n")
            process.stdin.flush()
    assert process.returncode == 0, (tmp_path / "stderr").read_text()
    return found


def _config(bundle: Path) -> object:
    """The configuration for target ``cpu_ort``, as the server hands it to the class: JSON."""
    from google.protobuf import json_format, text_format
    from tritonclient.grpc import model_config_pb2

    text = (bundle / REPOSITORY / "tiny" / "configs" / "cpu_ort.pbtxt").read_text()
    message = text_format.Parse(text, model_config_pb2.ModelConfig())
    return json_format.MessageToDict(message, preserving_proto_field_name=True)
