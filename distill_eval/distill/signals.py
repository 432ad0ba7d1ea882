"""What the teacher says about a batch: live models, run on the same tokens, or what a cache kept of one.

Shapes: B batch, T positions, N scored rows, D hidden size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from distill_eval.distill.attention_maps import Tap
from distill_eval.distill.cached_signal import CachedSignal, R
from distill_eval.distill.features import layer_rows
from distill_eval.distill.isolation import Isolation, find_isolation, forward_inputs
from distill_eval.distill.kept_rows import HiddenRows, SampledRows, TopKRows
from distill_eval.distill.objective import Inside
from distill_eval.distill.targets import DenseTarget, LiveTeacher, SampleTarget, Target, TopKTarget
from distill_eval.errors import ArtifactError
from distill_eval.head import read_head


class Taught(NamedTuple):
    """What is known of one batch."""

    target: Target | None
    """`None`: hidden states alone are known."""
    inside: Inside
    """Hidden states and attention, where they are compared."""


class Signal(Protocol):
    """Where the soft labels come from."""

    is_exact: bool
    """Whether every probability is known, and of any text: validation can compare with the teacher."""
    distance: str
    """By what validation compares: one of `divergence.NAMES`."""

    def __call__(self, batch: Mapping[str, Tensor], scored_BT: Tensor) -> Taught:
        """What the teacher says about the scored positions of a batch."""


class LiveSignal:
    """One or more teachers that run beside the student."""

    is_exact = True
    distance = "forward_kl"

    def __init__(
        self,
        teachers: Sequence[Any],
        weights: Sequence[float],
        *,
        feature_layers: Sequence[int] = (),
        tap: Tap | None = None,
    ) -> None:
        """Prepare.

        Args:
            teachers: Causal language models in evaluation mode, on their devices.
            weights: Of each in the mixture; their sum is 1.
            feature_layers: Layers of the (only) teacher whose hidden states are compared.
            tap: On the (only) teacher, when its attention is compared.
        """
        self._teachers, self._weights = tuple(teachers), tuple(weights)
        self._isolation: tuple[Isolation, ...] = tuple(find_isolation(teacher) for teacher in teachers)
        self._feature_layers, self._tap = tuple(feature_layers), tap

    def __call__(self, batch: Mapping[str, Tensor], scored_BT: Tensor) -> Taught:
        """Run every teacher on the batch, without gradients."""
        live = []
        inside = Inside()
        for teacher, isolation in zip(self._teachers, self._isolation, strict=True):
            if self._tap is not None:
                self._tap.open()
            with torch.no_grad(), own_dtype(teacher):
                output = teacher.base_model(
                    **forward_inputs(batch, isolation), output_hidden_states=bool(self._feature_layers)
                )
            live.append(LiveTeacher(output[0][scored_BT], read_head(teacher)))
            if self._feature_layers or self._tap is not None:
                features = (
                    layer_rows(output.hidden_states, self._feature_layers, scored_BT) if self._feature_layers else {}
                )
                inside = Inside(features, self._tap.take() if self._tap is not None else {})
        return Taught(DenseTarget(tuple(live), self._weights), inside)


class KeptSignal:
    """A cached teacher."""

    is_exact = False
    distance = "forward_kl"

    def __init__(self, cache: CachedSignal, feature_layers: Sequence[int] = ()) -> None:
        """Take an open cache.

        Args:
            cache: It holds soft labels, hidden states, or both.
            feature_layers: Layers whose hidden states are compared; the cache holds them.
        """
        self._cache, self._feature_layers = cache, tuple(feature_layers)

    def __call__(self, batch: Mapping[str, Tensor], scored_BT: Tensor) -> Taught:
        """Look the batch's blocks up."""
        index_B, device = batch["index"], batch["input_ids"].device
        target: Target | None = None
        if self._cache.manifest.key.kind == "top_k":
            top = self._rows(index_B, TopKRows, scored_BT)
            target = TopKTarget(top.ids_NK.to(device), top.log_probs_NK.to(device), top.tail_N.to(device))
        elif self._cache.manifest.key.kind == "sample":
            drawn = self._rows(index_B, SampledRows, scored_BT)
            target = SampleTarget(drawn.ids_NK.to(device), drawn.entropy_N.to(device))
        features = {}
        if self._feature_layers:
            kept, states = self._cache.manifest.key.layers, self._rows(index_B, HiddenRows, scored_BT).hidden_NLD
            features = {layer: states[:, kept.index(layer)].to(device) for layer in self._feature_layers}
        return Taught(target, Inside(features))

    def _rows(self, index_B: Tensor, kind: type[R], scored_BT: Tensor) -> R:
        """One for each scored position."""
        rows = self._cache.rows(index_B, kind)
        if len(rows[0]) != int(scored_BT.sum()):
            raise ArtifactError(
                f"the cached teacher has {len(rows[0])} rows where a batch scores {int(scored_BT.sum())}"
            )
        return rows


def own_dtype(teacher: Any) -> Any:
    """A float teacher runs in its own dtype, not in the student's autocast."""
    device = teacher.device.type
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()
