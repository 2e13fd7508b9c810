"""Compute capabilities: which cards they are, and for which TensorRT for RTX builds engines."""

from __future__ import annotations

from collections.abc import Sequence

from automm_serve.errors import ConfigError
from automm_serve.precisions import FP32

CARDS = {
    "7.5": "RTX 20",
    "8.0": "A100",
    "8.6": "RTX 30",
    "8.9": "RTX 40",
    "12.0": "RTX 50",
    "12.1": "DGX Spark",
}
"""What TensorRT for RTX 1.7 builds for -> the best known cards of it."""

ELSEWHERE = {
    "7.0": "V100",
    "8.7": "Jetson Orin",
    "9.0": "H100 and H200",
    "10.0": "B200",
}
"""Others that are in use: only TensorRT proper builds for them, each on the device itself."""

TURING = "7.5"
"""Has no matrix product in fp32 there: a transformer in fp32 fails, after all the rest is built."""


def check_capabilities(names: Sequence[str]) -> tuple[str, ...]:
    """Return the compute capabilities of an engine of TensorRT for RTX, ascending and each once.

    Raises:
        ConfigError: None is named, or one for which TensorRT for RTX does not build.
    """
    if not names:
        raise ConfigError(
            where="compute capabilities", what="none is named", mend=f"Choose among {_known()}"
        )
    for name in names:
        if name in CARDS:
            continue
        where = f"compute capability {name!r}"
        if name in ELSEWHERE:
            raise ConfigError(
                where=where,
                what=f"TensorRT for RTX does not build for {ELSEWHERE[name]}",
                mend="Build with TensorRT itself, on the device that will serve",
                command="automm compile BUNDLE --builder tensorrt",
            )
        raise ConfigError(
            where=where,
            what="TensorRT for RTX does not know it",
            mend=f"Choose among {_known()}",
        )
    return tuple(sorted(set(names), key=lambda name: float(name)))


def split_turing(
    capabilities: Sequence[str], precisions: Sequence[str], asked: bool
) -> dict[str, tuple[str, ...]]:
    """Return the capabilities for each precision: fp32 is not built for 7.5, or not at all.

    Args:
        capabilities: That are wanted.
        precisions: To be built.
        asked: The user named the precisions, so that none is left out silently.

    Raises:
        ConfigError: fp32 is wanted for 7.5, and nothing else can be built instead.
    """
    found = dict.fromkeys(precisions, tuple(capabilities))
    if FP32 not in found or TURING not in capabilities:
        return found
    others = tuple(name for name in capabilities if name != TURING)
    if asked or len(found) == 1:
        raise ConfigError(
            where=f"compute capability {TURING} ({CARDS[TURING]} cards)",
            what="TensorRT for RTX has no matrix product in fp32 there",
            mend="Build an engine of fp16 for these cards",
            command="automm export PREDICTOR --out BUNDLE --trt --precision fp16 "
            + " ".join(f"--capability {name}" for name in capabilities),
        )
    if not others:
        del found[FP32]
        return found
    return {**found, FP32: others}


def describe_cards(capabilities: Sequence[str]) -> str:
    """Say in words where an engine of TensorRT for RTX runs: ``RTX 30 and RTX 40 cards``."""
    cards = [CARDS.get(name) or ELSEWHERE.get(name) or f"cards of {name}" for name in capabilities]
    series = [card.removeprefix("RTX ") for card in cards if card.startswith("RTX ")]
    other = [card for card in cards if not card.startswith("RTX ")]
    return listed([*([f"RTX {listed(series)} cards"] if series else []), *other])


def where_not() -> str:
    """Say where no engine of TensorRT for RTX runs."""
    return "not on H100, H200 or Jetson"


def _known() -> str:
    return ", ".join(f"{name} ({cards})" for name, cards in CARDS.items())


def listed(words: Sequence[str], joint: str = "and") -> str:
    """Return words as one does in a sentence: ``8.6, 8.9 or 12.0``."""
    *most, last = words
    return f"{', '.join(most)} {joint} {last}" if most else last
