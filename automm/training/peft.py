"""Parameter-efficient fine-tuning: adapters by the ``peft`` library, or a choice of parameters.

LoRA (Hu et al., 2021, arXiv:2106.09685), IA3 (Liu et al., 2022, arXiv:2205.05638), BitFit (Zaken
et al., 2021, arXiv:2106.10199). Adapters live while a model trains: afterwards each state is
merged into plain weights, so that a soup averages networks (the average of products ``B A`` is not
the product of averages), and neither a saved predictor nor an export knows of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from automm.config.schema import OptimConfig
from automm.models.encoders.base import Encoder
from automm.models.encoders.torchvision_stub import declare_missing_operators
from automm.models.fused import FusedModel
from automm.training.soup import BestStates, State, put_state
from automm_serve.errors import ConfigError
from automm_serve.optional import require

declare_missing_operators()  # peft imports transformers, which fails without them

_ADAPTERS = ("lora_", "ia3_")
_BASE = ".base_layer"


class Method(NamedTuple):
    """What a value of ``optim.peft`` trains of a pretrained encoder.

    Attributes:
        lora: Products of two thin matrices beside linear layers.
        ia3: A scale for each output of linear layers.
        biases: Every bias.
        norms: Weights of norms.
    """

    lora: bool = False
    ia3: bool = False
    biases: bool = False
    norms: bool = False


METHODS: dict[str, Method] = {
    "lora": Method(lora=True),
    "ia3": Method(ia3=True),
    "ia3_lora": Method(lora=True, ia3=True),
    "bit_fit": Method(biases=True),
    "norm_fit": Method(biases=True, norms=True),
    "lora_bias": Method(lora=True, biases=True),
    "lora_norm": Method(lora=True, biases=True, norms=True),
    "ia3_bias": Method(ia3=True, biases=True),
    "ia3_norm": Method(ia3=True, biases=True, norms=True),
    "ia3_lora_bias": Method(lora=True, ia3=True, biases=True),
    "ia3_lora_norm": Method(lora=True, ia3=True, biases=True, norms=True),
}
"""AutoGluon's names. Its norms come with biases everywhere."""


def adapt(model: FusedModel, optim: OptimConfig) -> list[str]:
    """Leave only what ``optim.peft`` names trainable in the pretrained encoders, in place.

    Fusion, heads and the encoders that begin at random train as they are.

    Args:
        model: As it was built.
        optim: Says which way.

    Returns:
        Encoders of whom nothing trains, because no layer of theirs has a name that is adapted.

    Raises:
        ConfigError: The way is not there yet, or no encoder has anything to adapt.
        MissingDependencyError: The package ``peft`` is not installed.
    """
    check_peft(optim)
    if optim.peft is None:
        return []
    method = METHODS[optim.peft]
    untouched, pretrained = [], 0
    for name, encoder in model.encoders.items():
        assert isinstance(encoder, Encoder)
        if encoder.backbone is None:
            continue
        pretrained += 1
        trained = _trained_before(encoder)
        if method.lora or method.ia3:
            _inject(encoder, method, optim)
        chosen = _chosen(encoder, method, optim)
        for key, parameter in encoder.named_parameters():
            is_adapter = any(part in key for part in _ADAPTERS)
            parameter.requires_grad_(is_adapter or (key in chosen and _plain(key) in trained))
        if not any(p.requires_grad for p in encoder.parameters()):
            untouched.append(name)
    if pretrained and len(untouched) == pretrained:
        raise ConfigError(
            where=f"hyperparameter 'optim.peft' = {optim.peft!r}",
            what=f"nothing in {', '.join(untouched)} has a name of optim.lora.filter",
            mend="Name the layers there, or choose bit_fit or norm_fit",
        )
    return untouched


def check_peft(optim: OptimConfig) -> None:
    """Refuse what is known, but not there.

    Raises:
        ConfigError: It is ``conv_lora``.
        MissingDependencyError: The package ``peft`` is not installed.
    """
    if optim.peft == "conv_lora":
        raise ConfigError(
            where="hyperparameter 'optim.peft' = 'conv_lora'",
            what="its convolutions adapt SAM alone, and come with segmentation",
            mend=f"Choose one of {', '.join(METHODS)}",
        )
    if optim.peft is not None and (METHODS[optim.peft].lora or METHODS[optim.peft].ia3):
        require("peft", purpose=f"hyperparameter 'optim.peft' = {optim.peft!r}")


def merge(model: FusedModel, best: BestStates) -> None:
    """Merge the adapters of every kept state into plain weights, and take them out of the model.

    Args:
        model: As ``adapt`` left it; nothing happens where it has no adapters.
        best: Its states; they become those of the plain model.
    """
    layers = dict(_adapted(model))
    if not layers:
        return
    best.change(lambda state: _merged(model, layers, state))
    for path, layer in layers.items():
        model.set_submodule(path, layer.get_base_layer())


def _merged(model: FusedModel, layers: dict[str, Any], state: State) -> State:
    """The state without adapters, with the weights that they make of the layers below them."""
    put_state(model, state)
    plain = {
        _plain(key): tensor
        for key, tensor in state.items()
        if not any(part in key for part in _ADAPTERS)
    }
    for path, layer in layers.items():
        base = layer.get_base_layer()
        before = [p.data.clone() for p in base.parameters()]
        for part in _inner_first(layer):
            part.merge()
        for name, parameter in base.named_parameters():
            plain[f"{path}.{name}"] = parameter.data.to("cpu", copy=True).contiguous()
        for part in _inner_first(layer):  # not unmerge(), which is not exact
            part.merged_adapters = []
        for parameter, data in zip(base.parameters(), before, strict=True):
            parameter.data = data
    return plain


def _inject(encoder: Encoder, method: Method, optim: OptimConfig) -> None:
    """Put adapters beside the layers that the filters name, but not in frozen blocks."""
    peft: Any = require("peft", purpose=f"hyperparameter 'optim.peft' = {optim.peft!r}")
    names = _targets(encoder, optim)
    if not names:
        return
    if method.lora:
        lora = peft.LoraConfig(
            r=optim.lora.r, lora_alpha=optim.lora.alpha, lora_dropout=0.0, target_modules=names
        )
        peft.inject_adapter_in_model(lora, encoder)
        del encoder.peft_config  # its note for others; the second adapter would be warned of it
    if method.ia3:  # around LoRA's layers, where both are asked for: (W + B A) scaled
        ia3 = peft.IA3Config(target_modules=names, feedforward_modules=[])
        peft.inject_adapter_in_model(ia3, encoder)
        del encoder.peft_config


def _targets(encoder: Encoder, optim: OptimConfig) -> list[str]:
    frozen = {id(m) for block in encoder.blocks[: encoder.frozen] for m in block.modules()}
    paths = optim.lora.module_filter
    found = []
    for path, module in encoder.named_modules():
        parent, _, name = path.rpartition(".")
        if (
            isinstance(module, nn.Linear)
            and id(module) not in frozen
            and (paths is None or any(re.match(pattern, parent) for pattern in paths))
            and any(re.match(pattern, name) for pattern in optim.lora.filter)
        ):
            found.append(path)
    return found


def _chosen(encoder: Encoder, method: Method, optim: OptimConfig) -> set[str]:
    """Parameters that train beside the adapters."""
    chosen = set()
    for path, module in encoder.named_modules():
        for name, _ in module.named_parameters(recurse=False):
            key = f"{path}.{name}"
            if (
                (method.biases and name.endswith("bias"))
                or (method.norms and _is_norm(module))
                or any(re.search(p, _plain(key)) for p in optim.extra_trainable_params)
            ):
                chosen.add(key)
    return chosen


def _is_norm(module: nn.Module) -> bool:
    """Whether it normalises: torch's own, and those of transformers and timm, by their class."""
    return isinstance(module, nn.LayerNorm | nn.GroupNorm | _BatchNorm) or (
        "norm" in type(module).__name__.lower()
    )


def _trained_before(encoder: Encoder) -> set[str]:
    return {key for key, parameter in encoder.named_parameters() if parameter.requires_grad}


def _adapted(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """The outermost layers with adapters, by their path."""
    paths: list[str] = []
    for path, module in model.named_modules():
        if hasattr(module, "merged_adapters") and not any(path.startswith(p) for p in paths):
            paths.append(f"{path}.")
            yield path, module


def _inner_first(layer: Any) -> list[Any]:
    parts = [layer]
    while hasattr(parts[-1].base_layer, "base_layer"):
        parts.append(parts[-1].base_layer)
    return parts[::-1]


def _plain(key: str) -> str:
    return key.replace(_BASE, "")
