"""What can be asked for: schemes in compressed-tensors' vocabulary, and the group size that fits a model (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, get_args

from distill_eval.errors import UsageError, nearest, require, unknown
from distill_eval.schema.quant import Algorithm, Scheme

GROUP_SIZES = (128, 64, 32, 16)
"""Tried in this order: the largest that divides every layer's width costs the fewest bytes of scales."""
ALGORITHMS: tuple[str, ...] = get_args(Algorithm)


class SchemeFacts(NamedTuple):
    """A scheme."""

    backend: Literal["compressed-tensors", "bitsandbytes"]
    weight_bits: int
    activation_bits: int
    grouped: bool
    """Whether weights have one scale per group by default, else one per output channel."""
    max_kl: float
    """Nats per token above which a variant is warned of unless --max-kl says otherwise: chosen, not derived."""


SCHEMES: dict[Scheme, SchemeFacts] = {
    "W8A8": SchemeFacts("compressed-tensors", 8, 8, grouped=False, max_kl=0.02),
    "W8A16": SchemeFacts("compressed-tensors", 8, 16, grouped=False, max_kl=0.01),
    "W4A16": SchemeFacts("compressed-tensors", 4, 16, grouped=True, max_kl=0.1),
    "int8": SchemeFacts("bitsandbytes", 8, 16, grouped=False, max_kl=0.02),
    "nf4": SchemeFacts("bitsandbytes", 4, 16, grouped=True, max_kl=0.1),
}

_NOT_HERE = {
    "gptq": "no kept GPTQ implementation shares an environment with transformers 5.19 and vLLM (gptqmodel wants a "
    "newer transformers, llmcompressor another compressed-tensors). Take autoround, which tunes the rounding, too",
    "awq": "AWQ is not offered: autoround tunes the rounding at the same size",
}


def read_scheme(scheme: str) -> Scheme:
    """The scheme of this name.

    Raises:
        UsageError: there is none; the nearest known ones are offered, whatever their case.
    """
    for known in SCHEMES:
        if known == scheme:
            return known
    cases = {known.lower(): known for known in SCHEMES}
    guess = nearest(scheme.lower(), cases, count=1)
    if guess:
        known_ones = ", ".join(sorted(SCHEMES))
        raise UsageError(f"unknown scheme {scheme!r}. Did you mean {cases[guess[0]]!r}? Known: {known_ones}")
    return unknown("scheme", scheme, SCHEMES)


def check_algorithm(algorithm: str) -> None:
    """Refuse an algorithm that is not there, and say why where people expect it.

    Raises:
        UsageError: it is not one of `ALGORITHMS`.
    """
    require(algorithm.lower() not in _NOT_HERE, f"--algorithm {algorithm}: {_NOT_HERE.get(algorithm.lower())}")
    if algorithm not in ALGORITHMS:
        unknown("algorithm", algorithm, ALGORITHMS)


def choose_group_size(widths: Mapping[str, int], asked: int | None) -> int:
    """The group size for layers of these input widths.

    Args:
        widths: Name of a layer to its number of inputs.
        asked: What the user wants, if anything.

    Raises:
        UsageError: what was asked, or every size that is tried, does not divide one of the widths.
    """
    for size in GROUP_SIZES if asked is None else (asked,):
        if all(width % size == 0 for width in widths.values()):
            return size
    size = asked or GROUP_SIZES[-1]
    layer, width = next((name, width) for name, width in widths.items() if width % size)
    fitting = [size for size in GROUP_SIZES if all(width % size == 0 for width in widths.values())]
    advice = f"Type --group-size {fitting[0]}" if fitting else f"Leave such layers out, e.g. --ignore {layer}"
    raise UsageError(f"a group of {size} does not divide {layer}, which has {width} inputs. {advice}")
