"""A graph on ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import onnxruntime as ort

from automm_serve.errors import BundleError
from automm_serve.tensors import Tensors, TensorSpec
from automm_serve.threads import thread_budget


class OnnxRuntimeSession:
    """Runs an ONNX file on the CPU.

    Args:
        path: Of the ONNX file.
        inputs: What it is fed.
        outputs: What it gives.
        threads: That one run may use; the whole budget of the process where None.

    Raises:
        BundleError: ONNX Runtime does not take the file, or it has other inputs than said.
    """

    def __init__(
        self,
        path: Path,
        inputs: tuple[TensorSpec, ...],
        outputs: tuple[TensorSpec, ...],
        threads: int | None = None,
    ) -> None:
        self.inputs = inputs
        self.outputs = outputs
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads or thread_budget()
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # A waiting thread that spins takes the core that the decoders and tokenizers need.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._live: ort.InferenceSession | None = ort.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its errors share no other root
            raise BundleError(
                where=str(path),
                what=f"ONNX Runtime {ort.__version__} does not load the graph: {error}",
                mend="Export the bundle again, or install the version of onnxruntime it names",
            ) from error
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
