"""A graph on torch: the session of the trained predictor, and the reference of every check."""

from __future__ import annotations

import torch

from automm_export.graph import Graph
from automm_serve.tensors import Tensors, TensorSpec
from automm_serve.threads import thread_budget


class TorchSession:
    """Runs the module itself, on the device where its weights lie.

    The module is put into evaluation mode, and stays there; each run happens without gradients.

    Args:
        graph: To run.
        threads: That one run may use; the whole budget of the process where None. Torch has one
            number for the whole process, so it is set before each run.
    """

    def __init__(self, graph: Graph, threads: int | None = None) -> None:
        self._graph: Graph | None = graph.eval()
        self._threads = threads or thread_budget()
        self.inputs: tuple[TensorSpec, ...] = graph.inputs
        self.outputs: tuple[TensorSpec, ...] = graph.outputs

    def run(self, feed: Tensors) -> Tensors:
        """Run the graph; ``feed`` may hold more than it reads."""
        if self._graph is None:
            raise RuntimeError("the session is closed")
        if torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)
        device = next((p.device for p in self._graph.parameters()), torch.device("cpu"))
        self._graph.eval()  # training may have gone on since
        with torch.inference_mode():
            found = self._graph(
                {s.name: torch.as_tensor(feed[s.name], device=device) for s in self.inputs}
            )
        return {spec.name: found[spec.name].float().cpu().numpy() for spec in self.outputs}

    def close(self) -> None:
        """Let the module go; its owner keeps it."""
        self._graph = None
