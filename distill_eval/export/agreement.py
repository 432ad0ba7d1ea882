"""How far two models' logits are from each other: arithmetic alone.

Shapes: N positions, V vocabulary or labels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from distill_eval.errors import ModelError
from distill_eval.schema.export import Agreement

TIE = 2e-5
"""Of a position's largest absolute logit: two logits nearer than this are in an order that float32 does not decide.
A graph that sums in another order moves each of them by up to 7e-6 of it (SmolLM2-135M)."""
FP32_MAX_RELATIVE_DIFF = 1e-3
_ROWS = 256
"""Positions whose log-probabilities exist at once."""


class Tally:
    """Adds up what `Agreement` reports, so that no more than one text's logits are in memory."""

    def __init__(self, *, is_choice: bool = True) -> None:
        """Begin with nothing.

        Args:
            is_choice: Whether the logits of a position are those of one answer among several, so that they have a
                softmax and the largest means something.
        """
        self._is_choice = is_choice
        self._lengths: list[int] = []
        self._num_positions = self._num_logits = self._num_same = self._num_ties = 0
        self._max_diff = self._sum_diff = self._sum_kl = self._largest = 0.0

    def add(self, original_NV: Tensor, exported_NV: Tensor, *, length: int) -> None:
        """Compare positions of one text.

        Args:
            original_NV: Logits.
            exported_NV: Logits at the same positions.
            length: Tokens of the text.

        Raises:
            ModelError: the exported model's logits are not numbers.
        """
        assert original_NV.shape == exported_NV.shape
        if not bool(exported_NV.isfinite().all()):
            raise ModelError("the exported model's logits are not all finite numbers")
        self._lengths.append(length)
        for original, exported in zip(original_NV.split(_ROWS), exported_NV.split(_ROWS), strict=True):
            self._add(original.float(), exported.float())

    def _add(self, original_NV: Tensor, exported_NV: Tensor) -> None:
        diff_NV = (original_NV - exported_NV).abs()
        self._num_positions += len(diff_NV)
        self._num_logits += diff_NV.numel()
        self._max_diff = max(self._max_diff, diff_NV.max().item())
        self._sum_diff += diff_NV.double().sum().item()
        self._largest = max(self._largest, original_NV.abs().max().item())
        if self._is_choice:
            self._add_choice(original_NV, exported_NV)

    def _add_choice(self, original_NV: Tensor, exported_NV: Tensor) -> None:
        first_N, second_N = original_NV.argmax(-1), exported_NV.argmax(-1)
        rows_N = torch.arange(len(original_NV))
        margin_N = original_NV[rows_N, first_N] - original_NV[rows_N, second_N]
        tie_N = (first_N != second_N) & (margin_N <= TIE * original_NV.abs().amax(-1))
        self._num_same += int((first_N == second_N).sum())
        self._num_ties += int(tie_N.sum())
        log_p_NV, log_q_NV = original_NV.double().log_softmax(-1), exported_NV.double().log_softmax(-1)
        self._sum_kl += (log_p_NV.exp() * (log_p_NV - log_q_NV)).sum().item()

    def finish(self) -> Agreement:
        """The figures over all that was added."""
        choice = self._is_choice
        return Agreement(
            num_texts=len(self._lengths),
            shortest=min(self._lengths),
            longest=max(self._lengths),
            num_positions=self._num_positions,
            max_abs_diff=self._max_diff,
            mean_abs_diff=self._sum_diff / self._num_logits,
            max_relative_diff=self._max_diff / self._largest if self._largest else 0.0,
            top1_agreement=self._num_same / self._num_positions if choice else None,
            num_ties=self._num_ties if choice else None,
            # a KL of 0 is rounded to either side
            mean_kl=max(0.0, self._sum_kl / self._num_positions) if choice else None,
        )


def fp32_problem(found: Agreement) -> str | None:
    """Why these are not the logits of the same model in float32; `None` if they are.

    They are if the largest relative difference is below 1e-3 and every position has its largest logit in the same
    place, but for ties. Where no position is a choice, the difference decides alone.
    """
    if found.max_relative_diff >= FP32_MAX_RELATIVE_DIFF:
        return (
            f"logits differ by up to {found.max_abs_diff:.3g}, {found.max_relative_diff:.2g} of the largest "
            f"(at most {FP32_MAX_RELATIVE_DIFF:g} is allowed)"
        )
    if found.top1_agreement is None or found.num_ties is None:
        return None
    apart = found.num_positions - round(found.top1_agreement * found.num_positions) - found.num_ties
    return f"the largest logit is another at {apart} of {found.num_positions} positions" if apart else None


def first_difference(original: Sequence[int], exported: Sequence[int]) -> int | None:
    """Place of the first token that differs, or where one of them ends; `None` when they are equal."""
    for place, (one, other) in enumerate(zip(original, exported, strict=False)):
        if one != other:
            return place
    return None if len(original) == len(exported) else min(len(original), len(exported))
