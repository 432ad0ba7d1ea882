"""One loss from all its parts: soft and hard terms, hidden states, attention.

Shapes: B batch, T positions, N scored rows, D hidden size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from distill_eval.distill.attention_maps import Kind, LayerAttention, attention_loss
from distill_eval.distill.features import FeatureLoss, Pairs
from distill_eval.distill.projection import RowLoss

Terms = Mapping[str, tuple[float, Tensor]]
"""Name -> weight, and the term."""


class Losses(NamedTuple):
    """The loss of one micro-batch, and its parts."""

    loss: Tensor
    """To call `backward` on."""
    parts: dict[str, Tensor]
    """`soft_loss`, `hard_loss`, `feature_loss`, `attention_loss`, as far as they are measured: each the micro-batch's
    share of the mean over all scored tokens, so that the shares of an accumulated batch add up to it. Detached, without
    its weight; `soft_loss` is the divergence in nats, without T^2."""


@dataclass(frozen=True)
class Inside:
    """What a forward pass left inside a model; only what the weights ask for need be there."""

    features: Mapping[int, Tensor] = field(default_factory=dict)
    """From `features.layer_rows`."""
    attention: Mapping[int, LayerAttention] = field(default_factory=dict)
    """From `attention_maps.Tap`."""


@dataclass(frozen=True)
class InnerLosses:
    """The terms that compare layers, with their weights; a weight of 0 leaves the term out."""

    pairs: Pairs = ()
    """Layers of the student and of the teacher."""
    feature_weight: float = 0.0
    feature_loss: FeatureLoss | None = None
    attention_weight: float = 0.0
    attention_kind: Kind = "kl"

    def idle(self) -> Terms:
        """What keeps learned projections in the graph while no layer is compared: DDP waits for every gradient."""
        weights = list(self.feature_loss.parameters()) if self.feature_loss is not None else []
        return {"": (0.0, torch.stack([weight.sum() for weight in weights]).sum())} if weights else {}

    def __call__(self, student: Inside, teacher: Inside, scored_BT: Tensor) -> Terms:
        """The terms summed over the scored positions."""
        found = {}
        if self.feature_weight > 0 and self.feature_loss is not None:
            found["feature_loss"] = (self.feature_weight, self.feature_loss(student.features, teacher.features))
        if self.attention_weight > 0:
            term = attention_loss(student.attention, teacher.attention, self.pairs, scored_BT, self.attention_kind)
            found["attention_loss"] = (self.attention_weight, term)
        return found


def combine(
    rows: RowLoss,
    denominator: float | Tensor,
    inner: Terms | None = None,
    inner_denominator: float | Tensor | None = None,
) -> Losses:
    """The weighted sum of all terms.

    Args:
        rows: Soft and hard term, which are divided already.
        denominator: What they were divided by.
        inner: From `InnerLosses`; a term without a name is no part.
        inner_denominator: Positions that count in `inner`, over the whole accumulated batch; by default the same. A
            classifier scores one row per sequence, but compares all its tokens.
    """
    loss = rows.loss
    parts = {"hard_loss": rows.hard_sum / denominator}
    if rows.soft_sum is not None:
        parts["soft_loss"] = rows.soft_sum / denominator
    count = denominator if inner_denominator is None else inner_denominator
    for name, (weight, term) in (inner or {}).items():
        loss = loss + weight * term / count
        if name:
            parts[name] = term.detach() / count
    return Losses(loss, parts)


def scored_rows(hidden_BTD: Tensor, labels_BT: Tensor, ignored: int = -100) -> tuple[Tensor, Tensor, Tensor]:
    """Hidden states [N, D] and labels [N] of the scored positions in row-major order, and where those are [B, T]."""
    scored_BT = labels_BT != ignored
    return hidden_BTD[scored_BT], labels_BT[scored_BT], scored_BT
