"""What classifiers say about a batch of texts, with their labels in the student's order.

Shapes: B texts, T positions, L labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from distill_eval.distill.attention_maps import Tap
from distill_eval.distill.features import layer_rows
from distill_eval.distill.objective import Inside
from distill_eval.distill.signals import Taught, own_dtype
from distill_eval.distill.targets import DenseTarget, LiveTeacher
from distill_eval.head import Head


def as_rows(logits_BL: Tensor) -> LiveTeacher:
    """Logits as if they were hidden states behind a head that changes nothing: labels have the losses of tokens.

    The product with the identity is exact, since every sum has one term that is not zero.
    """
    logits_BL = logits_BL.float()
    return LiveTeacher(logits_BL, Head(torch.eye(logits_BL.shape[1], device=logits_BL.device)))


def forward_inputs(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What of a batch a classifier's forward takes."""
    return {name: batch[name] for name in ("input_ids", "attention_mask")}


class ClassifierSignal:
    """One or more classifiers that run beside the student."""

    is_exact = True
    distance = "forward_kl"

    def __init__(
        self,
        teachers: Sequence[Any],
        weights: Sequence[float],
        *,
        orders: Sequence[Sequence[int]],
        feature_layers: Sequence[int] = (),
        tap: Tap | None = None,
    ) -> None:
        """Prepare.

        Args:
            teachers: In evaluation mode, on their devices.
            weights: Of each in the mixture of probabilities; their sum is 1.
            orders: Of each, its number of every label of the student's.
            feature_layers: Layers of the (only) teacher whose hidden states are compared.
            tap: On the (only) teacher, when its attention is compared.
        """
        self._teachers, self._weights = tuple(teachers), tuple(weights)
        self._orders = [
            torch.tensor(order, device=teacher.device) for teacher, order in zip(teachers, orders, strict=True)
        ]
        self._feature_layers, self._tap = tuple(feature_layers), tap

    def __call__(self, batch: Mapping[str, Tensor], scored_BT: Tensor) -> Taught:
        """Run every teacher on the batch, without gradients."""
        live, inside = [], Inside()
        for teacher, order_L in zip(self._teachers, self._orders, strict=True):
            if self._tap is not None:
                self._tap.open()
            with torch.no_grad(), own_dtype(teacher):
                output = teacher(**forward_inputs(batch), output_hidden_states=bool(self._feature_layers))
            live.append(as_rows(output.logits[:, order_L]))
            layers = self._feature_layers
            features = layer_rows(output.hidden_states, layers, scored_BT) if layers else {}
            inside = Inside(features, self._tap.take() if self._tap is not None else {})
        return Taught(DenseTarget(tuple(live), self._weights), inside)
