"""``TensorSpec`` -> ``config.pbtxt``, through Triton's own protobuf schema, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from automm_export.targets.gpu import add_gpu
from automm_export.targets.setting import Setting
from automm_serve.errors import ExportError
from automm_serve.manifest import GraphFiles
from automm_serve.schema import Column
from automm_serve.tensors import Axis, TensorSpec
from automm_serve.triton import (
    FACTS,
    GRAPHS,
    IMAGES,
    PRECISION,
    ROW,
    ROW_ERROR,
    TARGET,
    THREADS,
)
from automm_serve.wire import Facts

TYPES = {
    "float32": pb.TYPE_FP32,
    "int32": pb.TYPE_INT32,
    "int64": pb.TYPE_INT64,
    "uint8": pb.TYPE_UINT8,
}
"""NumPy's name of an element type -> Triton's."""


def public_config(
    facts: Facts, graphs: Mapping[str, GraphFiles], setting: Setting
) -> pb.ModelConfig:
    """Return the configuration of NAME: raw rows in, columns out.

    Args:
        facts: That a client reads; the most rows of a request are the setting's.
        graphs: That NAME runs or calls.
        setting: For which the configuration is.

    Raises:
        ExportError: A column cannot be an output of this name.
    """
    facts = msgspec.structs.replace(facts, max_batch=setting.max_batch(graphs))
    config = pb.ModelConfig(name=facts.name, backend="python", max_batch_size=facts.max_batch)
    config.input.add(name=ROW, data_type=pb.TYPE_STRING, dims=[1])
    if any(column.kind == "image" for column in facts.schema.columns):
        config.input.add(
            name=IMAGES,
            data_type=pb.TYPE_STRING,
            dims=[-1],
            optional=True,
            allow_ragged_batch=True,  # rows with other numbers of pictures meet in one batch
        )
    for column in _output_columns(facts):
        kind = pb.TYPE_FP32 if column.kind in ("number", "vector") else pb.TYPE_STRING
        config.output.add(name=column.name, data_type=kind, dims=[column.width or 1])
    config.output.add(name=ROW_ERROR, data_type=pb.TYPE_STRING, dims=[1])
    # Neither delay nor queue policy: batches form while the model is busy, and a policy brought
    # stalls of half a second.
    config.dynamic_batching.SetInParent()
    target = setting.target
    on_gpu = target.in_process and target.device == "gpu"  # one process for each GPU
    kind = pb.ModelInstanceGroup.KIND_GPU if on_gpu else pb.ModelInstanceGroup.KIND_CPU
    config.instance_group.add(kind=kind, count=target.instances)
    for key, value in (
        (FACTS, _json(facts)),
        (GRAPHS, _json({name: setting.facts(graph) for name, graph in graphs.items()})),
        (TARGET, target.name),
        (PRECISION, setting.precision),
        (THREADS, "0"),  # the budget of the machine that serves, not of this one
    ):
        config.parameters[key].string_value = value
    return config


def graph_config(graph: GraphFiles, setting: Setting) -> pb.ModelConfig:
    """Return the configuration of a graph on Triton. No batcher: NAME sends whole batches.

    Raises:
        ExportError: An engine does not take the shapes that NAME will send.
    """
    target = setting.target
    config = pb.ModelConfig(
        name=graph.model,
        platform=target.graph_platform,
        backend=target.graph_backend,
        max_batch_size=setting.max_batch({"": graph}),
        default_model_filename=setting.file(graph),
    )
    if target.device == "gpu":
        add_gpu(config, graph, setting)
    else:
        config.instance_group.add(kind=pb.ModelInstanceGroup.KIND_CPU, count=target.instances)
    for key, value in target.graph_parameters:
        config.parameters[key].string_value = value
    for specs, declared in ((graph.inputs, config.input), (graph.outputs, config.output)):
        for spec in specs:
            declared.add(name=spec.name, data_type=TYPES[spec.dtype], dims=_dims(spec, {}, -1))
    axes = _axes(setting.specs(graph.inputs))
    for step in range(max((len(axis.sizes) for axis in axes), default=1)):
        sizes = {a.name: a.sizes[min(step, len(a.sizes) - 1)] for a in axes}
        words = "".join(f"_{size}" for size in dict.fromkeys(sizes.values()))
        sample = config.model_warmup.add(name=f"zeros{words}", batch_size=1)
        for spec in graph.inputs:
            slot = sample.inputs[spec.name]
            slot.data_type, slot.zero_data = TYPES[spec.dtype], True
            slot.dims.extend(_dims(spec, sizes, 1))
    return config


def add_row_warmup(config: pb.ModelConfig, files: Sequence[str]) -> None:
    """Warm NAME up with rows that lie, in wire form, in its ``warmup`` folder."""
    for file in files:
        slot = config.model_warmup.add(name=file, batch_size=1).inputs[ROW]
        slot.data_type, slot.input_data_file = pb.TYPE_STRING, file
        slot.dims.append(1)


def write_config(config: pb.ModelConfig, path: Path) -> None:
    """Write a configuration, and read it back equal.

    Raises:
        ExportError: It does not come back as it was written, or names an engine of another kind.
    """
    named = [config.default_model_filename, *config.cc_model_filenames.values()]
    if config.platform == "tensorrt_plan" and not all(name.endswith(".plan") for name in named):
        raise ExportError(
            where=str(path),
            what=f"it names {', '.join(named)}, and Triton's TensorRT backend reads plans alone",
            mend="Report this; nothing was written",
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text_format.MessageToString(config), encoding="utf-8", newline="\n")
    if read_config(path) != config:
        raise ExportError(
            where=str(path),
            what="Triton's schema reads the configuration otherwise than it was written",
            mend="Report this with the names of the columns",
        )


def read_config(path: Path) -> pb.ModelConfig:
    """Read a configuration; an unknown field is an error with its line, as Triton gives none."""
    return text_format.Parse(path.read_text(encoding="utf-8"), pb.ModelConfig())


def _output_columns(facts: Facts) -> list[Column]:
    """The columns of all programs; two programs may share one of the same form."""
    found: dict[str, Column] = {}
    for program, answer in facts.answers.items():
        for column in answer.columns:
            if column.name in (ROW, IMAGES, ROW_ERROR):
                raise ExportError(
                    where=f"column {column.name!r} of program {program!r}",
                    what="the requests to Triton use this name themselves",
                    mend="Rename the label column and train again",
                )
            if found.setdefault(column.name, column) != column:
                raise ExportError(
                    where=f"column {column.name!r} of program {program!r}",
                    what="another program has a column of this name and another form",
                    mend="Rename the label column and train again",
                )
    return list(found.values())


def _axes(specs: Sequence[TensorSpec]) -> list[Axis]:
    axes = dict.fromkeys(a for spec in specs for a in spec.shape if isinstance(a, Axis))
    return [axis for axis in axes if axis.sizes]


def _dims(spec: TensorSpec, sizes: Mapping[str, int], varying: int) -> list[int]:
    """The shape without the batch, which Triton adds."""
    return [sizes.get(a.name, varying) if isinstance(a, Axis) else a for a in spec.shape[1:]]


def _json(value: object) -> str:
    return msgspec.json.encode(value, order="deterministic").decode()
