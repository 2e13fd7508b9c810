"""A graph that is a Triton model of its own, called from inside NAME's Python backend (BLS)."""

from __future__ import annotations

# The module exists only inside Triton's stub, which puts it beside our own package.
import triton_python_backend_utils as pb_utils

from automm_serve.errors import ServerError
from automm_serve.tensors import Tensors, TensorSpec


class BlsSession:
    """Calls a model of the same server.

    Args:
        model: Its name; it ends in a hash of the content, so that no other graph has it.
        inputs: What it is fed.
        outputs: What it gives.
    """

    def __init__(
        self, model: str, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]
    ) -> None:
        self.model = model
        self.inputs = inputs
        self.outputs = outputs

    def run(self, feed: Tensors) -> Tensors:
        """Run the model once; ``feed`` may hold more than it reads.

        Raises:
            ServerError: The server does not answer: the model is not loaded, or it failed.
        """
        request = pb_utils.InferenceRequest(
            model_name=self.model,
            requested_output_names=[spec.name for spec in self.outputs],
            inputs=[pb_utils.Tensor(spec.name, feed[spec.name]) for spec in self.inputs],
            # A graph on a GPU would leave its outputs there, and as_numpy() would fail.
            preferred_memory=pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU, 0),
        )
        response = request.exec()
        if response.has_error():
            raise ServerError(
                where=f"model {self.model!r}",
                what=response.error().message(),
                mend="Look into the server's log, and load the model if it is not READY",
            )
        found: Tensors = {}
        for spec in self.outputs:
            tensor = pb_utils.get_output_tensor_by_name(response, spec.name)
            # A copy: the array lies in shared memory, which goes with the response.
            found[spec.name] = tensor.as_numpy().copy()
        return found

    def close(self) -> None:
        """Do nothing: the model belongs to the server."""
