"""What is asked of engines, looked through before an export's work begins."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from automm_export.engines.choose import (
    Choice,
    builder_version,
    capabilities_of,
    check_release,
    choose_builder,
)
from automm_export.engines.options import EngineOptions
from automm_export.engines.profiles import make_profiles
from automm_serve.errors import ConfigError
from automm_serve.precisions import FP32, find_precision
from automm_serve.tensors import TensorSpec


def check_request(
    options: EngineOptions,
    graphs: Iterable[tuple[TensorSpec, ...]],
    precisions: Sequence[str],
    *,
    required: bool,
) -> Choice:
    """Refuse what could only fail after minutes, and return what this machine can build.

    Args:
        options: How engines are wanted.
        graphs: Inputs of each graph.
        precisions: That the bundle will have, fp32 aside.
        required: No engine at all is an error.

    Raises:
        ConfigError: A range, a capability, a builder or a precision is none; or an engine is
            required, and none can be built here.
    """
    for inputs in graphs:
        make_profiles(inputs, options)
    choice = choose_builder(options)
    wanted = [FP32, *precisions]
    for name in options.precisions:
        if find_precision(name) not in wanted:
            raise ConfigError(
                where=f"engine of {name}",
                what=f"the bundle will have {', '.join(wanted)}",
                mend=f"Pass --precision {name} as well",
            )
    if choice.builder is None:
        if required:
            raise ConfigError(
                where="--require-engine",
                what="no engine can be built here: " + "; ".join(choice.missing),
                mend="Leave the option out, or make one of these hold",
            )
        return choice
    capabilities_of(choice, options, options.precisions or wanted)
    check_release(options.target, choice.builder, builder_version(choice.builder))
    return choice
