"""What a graph's configuration says of a GPU: shapes, plans by capability, CUDA graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from tritonclient.grpc import model_config_pb2 as pb

from automm_export.targets.setting import Setting
from automm_serve.engines import write_shapes
from automm_serve.manifest import GraphFiles
from automm_serve.sessions.providers import TUNED_BATCH
from automm_serve.tensors import BATCH, Axis

MOST_GRAPHS = 12
"""CUDA graphs of one graph: each holds its kernels' arguments, and costs a run at the start."""


def add_gpu(config: pb.ModelConfig, graph: GraphFiles, setting: Setting) -> None:
    """Add to a graph's configuration all that is said of the GPU."""
    sizes = setting.sizes(graph)
    group = config.instance_group.add(
        kind=pb.ModelInstanceGroup.KIND_GPU, count=setting.target.instances
    )
    batch = config.max_batch_size
    for accelerator in setting.target.accelerators:
        added = config.optimization.execution_accelerators.gpu_execution_accelerator.add(
            name=accelerator.name
        )
        for key, value in accelerator.parameters.items():
            added.parameters[key] = value
        if accelerator.profile:
            best = min(TUNED_BATCH, batch)
            for key, rows, at in (("min", 1, _least(sizes)), ("opt", best, sizes[0]),
                                  ("max", batch, _most(sizes))):  # fmt: skip
                added.parameters[f"trt_profile_{key}_shapes"] = write_shapes(
                    graph.inputs, {BATCH.name: rows, **at}
                )
    engines = setting.engines(graph)
    for engine in engines:
        for capability in engine.capabilities:
            config.cc_model_filenames[capability] = PurePosixPath(engine.path).name
    profiles = max((len(engine.profiles) for engine in engines), default=0)
    group.profile.extend(str(number) for number in range(profiles))
    if setting.target.cuda_graphs:
        tuned = [
            p.axes[BATCH.name].opt for e in engines for p in e.profiles if BATCH.name in p.axes
        ]
        batches = sorted({1, min(batch, min(tuned, default=TUNED_BATCH)), batch})
        _add_cuda_graphs(config, graph, batches, sizes)


def _add_cuda_graphs(
    config: pb.ModelConfig,
    graph: GraphFiles,
    batches: Sequence[int],
    sizes: Sequence[Mapping[str, int]],
) -> None:
    """One for each number of rows and each length; other numbers of rows run without."""
    cuda = config.optimization.cuda
    cuda.graphs, cuda.busy_wait_events = True, True
    pairs = [(rows, at) for at in sizes for rows in batches]
    for rows, at in pairs[:MOST_GRAPHS]:
        spec = cuda.graph_spec.add(batch_size=rows)
        for tensor in graph.inputs:
            spec.input[tensor.name].dim.extend(
                at[axis.name] if isinstance(axis, Axis) else axis for axis in tensor.shape[1:]
            )


def _least(sizes: Sequence[Mapping[str, int]]) -> dict[str, int]:
    return {name: min(each[name] for each in sizes) for name in sizes[0]}


def _most(sizes: Sequence[Mapping[str, int]]) -> dict[str, int]:
    return {name: max(each[name] for each in sizes) for name in sizes[0]}
