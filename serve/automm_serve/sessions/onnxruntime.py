"""A graph on ONNX Runtime, on the CPU or by a provider of a GPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import onnxruntime as ort

from automm_serve.errors import BundleError, DeviceError
from automm_serve.tensors import Tensors, TensorSpec
from automm_serve.threads import thread_budget

Provider: TypeAlias = tuple[str, Mapping[str, str]]
"""Name, as ONNX Runtime has it, and its options."""

CPU, CUDA, TENSORRT = (
    "CPUExecutionProvider",
    "CUDAExecutionProvider",
    "TensorrtExecutionProvider",
)


class OnnxRuntimeSession:
    """Runs an ONNX file.

    Args:
        path: Of the ONNX file.
        inputs: What it is fed.
        outputs: What it gives.
        threads: That one run may use; the whole budget of the process where None.
        providers: The first one must run; those that follow take what it cannot.

    Raises:
        BundleError: ONNX Runtime does not take the file, or it has other inputs than said.
        DeviceError: The first provider is not here, or does not work.
    """

    def __init__(
        self,
        path: Path,
        inputs: tuple[TensorSpec, ...],
        outputs: tuple[TensorSpec, ...],
        threads: int | None = None,
        providers: Sequence[Provider] = ((CPU, {}),),
    ) -> None:
        self.inputs = inputs
        self.outputs = outputs
        wanted = providers[0][0]
        if wanted not in ort.get_available_providers():
            raise _absent(wanted, f"onnxruntime {ort.__version__} as it is installed has it not")
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads or thread_budget()
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # A waiting thread that spins takes the core that the decoders and tokenizers need.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        given = [(name, dict(values)) for name, values in providers]
        try:
            self._live: ort.InferenceSession | None = ort.InferenceSession(
                str(path), options, providers=given, enable_fallback=0
            )
        except Exception as error:  # its errors share no other root
            raise BundleError(
                where=str(path),
                what=f"ONNX Runtime {ort.__version__} does not load the graph: {error}",
                mend="Export the bundle again, or install the version of onnxruntime it names",
            ) from error
        # A provider whose libraries are absent gives way to the CPU, with a line in a log alone.
        got = self.live.get_providers()[0]
        if got != wanted:
            raise _absent(wanted, f"ONNX Runtime took {got} instead: libraries of it are missing")
        known = {value.name for value in self._live.get_inputs()}
        if known != {spec.name for spec in inputs}:
            raise BundleError(
                where=str(path),
                what=f"the graph reads {sorted(known)}, "
                f"the bundle says {sorted(spec.name for spec in inputs)}",
                mend="Export the bundle again",
            )

    @property
    def live(self) -> ort.InferenceSession:
        """The session of ONNX Runtime itself."""
        if self._live is None:
            raise RuntimeError("the session is closed")
        return self._live

    def run(self, feed: Tensors) -> Tensors:
        """Run the graph; ``feed`` may hold more than it reads."""
        names = [spec.name for spec in self.outputs]
        found = self.live.run(names, {spec.name: feed[spec.name] for spec in self.inputs})
        return dict(zip(names, found, strict=True))

    def close(self) -> None:
        """Give the graph's memory back."""
        self._live = None


def _absent(provider: str, what: str) -> DeviceError:
    return DeviceError(
        where=f"ONNX Runtime, {provider}",
        what=what,
        mend="Remove onnxruntime, and install the one for GPUs with its CUDA libraries (automm "
        "doctor shows what is there)",
        command="pip install 'automm-edge[gpu]'",
    )
