"""A builder that builds nothing and remembers what it is asked.

TensorRT proper needs a GPU and a package that is not on the package index, so it has not been run
by these tests: what they see is which of its calls our builder makes. The names are those of its
documentation.
"""

from __future__ import annotations

from enum import IntEnum
from types import SimpleNamespace
from typing import Any


class Severity(IntEnum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2


class LayerType(IntEnum):
    MATRIX_MULTIPLY = 0
    ATTENTION_INPUT = 1


class Layer:
    def __init__(self, name: str, kind: LayerType) -> None:
        self.name, self.type = name, kind
        self.attention = SimpleNamespace(decomposable=False)


def _enum(name: str, members: dict[str, int]) -> Any:
    """An enumeration whose members depend on the version."""
    return IntEnum(name, members)


class FakeTrt:
    """Stands for a module.

    Args:
        rtx: It has compute capabilities, as TensorRT for RTX.
        old: It has the builder flag of fp16 and no strongly typed networks.
        plan: What is built; None fails.
        error: That is logged then.
        layers: Of the network.
    """

    def __init__(
        self,
        *,
        rtx: bool = False,
        old: bool = False,
        plan: bytes | None = b"plan",
        error: str = "",
        layers: tuple[Layer, ...] = (),
    ) -> None:
        self.__version__ = "10.13.3.9"
        self.calls: list[tuple[Any, ...]] = []
        self.layers = layers
        flags = {"EXPLICIT_BATCH": 0} if old else {"STRONGLY_TYPED": 1}
        self.NetworkDefinitionCreationFlag = _enum("Flag", flags)
        self.BuilderFlag = _enum("BuilderFlag", {"FP16": 0, "TF32": 1} if old else {"TF32": 1})
        self.MemoryPoolType = _enum("MemoryPoolType", {"WORKSPACE": 0})
        self.LayerType = LayerType
        self.IAttentionInputLayer = type("IAttentionInputLayer", (Layer,), {})
        self.IProgressMonitor = type("IProgressMonitor", (), {"__init__": lambda self: None})
        self.ILogger = type("ILogger", (), {"__init__": lambda self: None, "Severity": Severity})
        if rtx:
            self.ComputeCapability = _enum("ComputeCapability", {"SM86": 86, "SM120": 120})
        self.rtx, self.plan, self.error = rtx, plan, error
        self.config: Any = None

    def Builder(self, logger: Any) -> Any:  # noqa: N802  # the library's name
        self.logger = logger
        return SimpleNamespace(
            create_network=self._network,
            create_builder_config=self._config,
            create_optimization_profile=self._profile,
            build_serialized_network=self._build,
        )

    def OnnxParser(self, network: Any, logger: Any) -> Any:  # noqa: N802  # as above
        return SimpleNamespace(parse_from_file=lambda path: self._say(True, "parse", path))

    def names(self) -> list[str]:
        return [call[0] for call in self.calls]

    def _say(self, answer: Any, *call: Any) -> Any:
        self.calls.append(call)
        return answer

    def _network(self, flags: int) -> Any:
        self._say(None, "network", flags)
        return SimpleNamespace(
            num_layers=len(self.layers), get_layer=lambda number: self.layers[number]
        )

    def _config(self) -> Any:
        config = SimpleNamespace(
            progress_monitor=None,
            set_flag=lambda flag: self._say(None, "set_flag", flag.name),
            clear_flag=lambda flag: self._say(None, "clear_flag", flag.name),
            set_memory_pool_limit=lambda pool, size: self._say(None, "memory", pool.name, size),
            add_optimization_profile=lambda profile: self._say(
                None, "profile", dict(profile.shapes)
            ),
            create_timing_cache=lambda kept: self._say(kept, "timings", kept),
            set_timing_cache=lambda cache, ignore_mismatch: cache != b"of another GPU",
            get_timing_cache=lambda: SimpleNamespace(serialize=lambda: b"timings"),
        )
        if self.rtx:
            config.num_compute_capabilities = 0
            config.set_compute_capability = lambda c, number: self._say(None, "cc", c.name, number)
        self.config = config
        return config

    def _profile(self) -> Any:
        profile = SimpleNamespace(shapes={})
        profile.set_shape = lambda name, *shapes: profile.shapes.update({name: shapes})
        return profile

    def _build(self, network: Any, config: Any) -> bytes | None:
        monitor = config.progress_monitor
        monitor.phase_start("Building", None, 2)
        for step in range(2):
            if not monitor.step_complete("Building", step):
                self.logger.log(Severity.ERROR, "Error Code 7: BuildCanceled (by user)")
                return None
        monitor.phase_finish("Building")
        if self.error:
            self.logger.log(Severity.ERROR, self.error)
        return self.plan
