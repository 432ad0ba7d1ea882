"""Which units of a model it hurts most to quantize: each alone, by the KL of the whole model."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from distill_eval.engine.hf import HFModel
from distill_eval.quantize.measure import closeness, swapped
from distill_eval.schema.quant import UnitHarm
from distill_eval.tell import Each

MAX_TOKENS = 2048
"""Of the calibration text: every unit costs a pass over it, and the original's logits are kept for all of it."""


def rank_units(
    original: HFModel, quantized: HFModel, units: Sequence[tuple[str, ...]], samples_T: Sequence[Tensor], each: Each
) -> list[UnitHarm]:
    """Every unit with the KL that quantizing it alone causes, the most harmful first.

    Args:
        original: The model.
        quantized: The same with all units quantized; its layers are put into the original one unit at a time.
        units: Layers that are quantized together.
        samples_T: Calibration text; its first `MAX_TOKENS` tokens are used.
        each: Goes through the units.
    """
    few_T = samples_T[: max(1, MAX_TOKENS // len(samples_T[0]))]
    expected = [original.logits(sample_T.tolist()) for sample_T in few_T]
    harms = []
    for unit in each("harm of each unit, units", list(units)):
        with swapped(original.model, quantized.model, unit):
            harms.append(UnitHarm(unit=unit, mean_kl=closeness(expected, original, few_T).mean_kl))
    return sorted(harms, key=lambda harm: -harm.mean_kl)
