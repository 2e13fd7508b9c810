"""Names of the tensors of the packaged EfficientNet-Lite0 -> timm's names of the same tensors."""

from __future__ import annotations

from torch import Tensor

_STAGES = (1, 2, 2, 3, 3, 4, 1)
_OUTSIDE = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
_FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_OTHERS = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def rename(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the state of timm's ``tf_efficientnet_lite0`` without its classifier.

    The package counts its blocks through, timm by stage; only the first block does not expand,
    which shifts the names of its convolutions.
    """
    places = [(stage, block) for stage, count in enumerate(_STAGES) for block in range(count)]
    renamed = {}
    for name, tensor in state.items():
        head, *rest = name.split(".")
        if head == "_fc":
            continue
        if head == "_blocks":
            number, part, *rest = rest
            stage, block = places[int(number)]
            names = _FIRST if number == "0" else _OTHERS
            renamed[".".join(["blocks", str(stage), str(block), names[part], *rest])] = tensor
        else:
            renamed[".".join([_OUTSIDE[head], *rest])] = tensor
    return renamed
