"""Attention over segments of a prefix tree, in the place of the model's own attention function.

Shapes: B = 1, H heads, K key-value heads, T tokens of the batch, P tokens of trunk, S tokens of a segment, D head size.

The model's own forward runs over one row of T tokens with explicit positions; each layer calls this function instead
of `sdpa`. It lets every segment attend to the trunk and to its own ancestors, and to nothing else, so that a token
sees exactly what it would see in a row of its own.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from distill_eval.evaluate.scorer.tree import Batch, Segment

NAME = "distill_eval_tree"
"""The name under which transformers knows this attention function."""

MIN_CAUSAL_STEM = 128
"""A stem shorter than this shares one masked call with its branches: skipping its upper triangle saves less."""


class UnsupportedAttentionError(Exception):
    """Raised when a model's attention does something that a tree mask cannot express."""


class TreeAttention:
    """The attention function; `begin` tells it about the batch that is about to run."""

    def __init__(self, native: str) -> None:
        self.native = native
        """The attention implementation of the model that this one stands in for: `sdpa` or `eager`."""
        self.windows: dict[int, int | None] = {}
        """Layer to the sliding window that it asked for, as seen in the last forward pass."""
        self._batch: Batch | None = None
        self._masks: dict[tuple[int, int | None], Tensor] = {}
        self._trunk: dict[int, tuple[Tensor, Tensor]] = {}

    def begin(self, batch: Batch) -> None:
        """Prepare for one forward pass over `batch`."""
        self._batch = batch
        self._masks.clear()
        self.windows.clear()

    def release(self) -> None:
        """Forget the trunk's keys and values."""
        self._batch = None
        self._trunk.clear()
        self._masks.clear()

    def __call__(
        self,
        module: torch.nn.Module,
        query_BHTD: Tensor,
        key_BKTD: Tensor,
        value_BKTD: Tensor,
        attention_mask: Tensor | None,
        scaling: float | None = None,
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> tuple[Tensor, None]:
        """The attention output [B, T, H, D] and no weights, as transformers expects.

        Raises:
            UnsupportedAttentionError: the layer asks for something besides a causal mask and a sliding window.
        """
        del dropout  # evaluation never drops
        batch = self._batch
        if batch is None or attention_mask is not None or query_BHTD.shape[:3:2] != (1, batch.num_tokens):
            raise UnsupportedAttentionError("the layer does not attend from the batch's own tokens to themselves")
        for name in ("position_bias", "cache"):
            if kwargs.pop(name, None) is not None:
                raise UnsupportedAttentionError(f"the layer passes {name}")
        if kwargs.pop("is_causal", None) not in (None, True) or not getattr(module, "is_causal", True):
            raise UnsupportedAttentionError("the layer is not causal")
        layer = int(module.layer_idx)  # type: ignore[arg-type]
        window = kwargs.get("sliding_window")
        self.windows[layer] = window
        attend = self._native_function(module, scaling, kwargs)
        output = query_BHTD.new_empty(1, batch.num_tokens, query_BHTD.shape[1], value_BKTD.shape[-1])
        start = 0
        for index, segment in enumerate(batch.segments):
            end = start + len(segment.tokens)
            q, k, v = query_BHTD[:, :, start:end], key_BKTD[:, :, start:end], value_BKTD[:, :, start:end]
            if batch.num_past or batch.keep:
                k, v = self._behind_trunk(layer, batch.num_past, k, v)
            self._attend(attend, index, segment, window, q, k, v, output[:, start:end])
            start = end
        return output, None

    def _attend(
        self,
        attend: Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor],
        index: int,
        segment: Segment,
        window: int | None,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        out: Tensor,
    ) -> None:
        """Fill `out` [B, S, H, D] for one segment; a long stem goes through the faster causal kernel."""
        stem, num_past = segment.stem_len, k.shape[2] - q.shape[2]
        if window is not None and max(segment.depths) < window:
            window = None
        whole_chain = stem == len(segment.tokens)
        if num_past == 0 and window is None and (whole_chain or stem >= MIN_CAUSAL_STEM):
            out[:, :stem] = attend(q[:, :, :stem], k[:, :, :stem], v[:, :, :stem], None)
            if not whole_chain:
                mask = self._mask(index, segment, window, num_past, q)[:, :, stem:]
                out[:, stem:] = attend(q[:, :, stem:], k, v, mask)
        else:
            out[:] = attend(q, k, v, self._mask(index, segment, window, num_past, q))

    def _behind_trunk(self, layer: int, num_past: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values [B, K, P + S, D] of trunk and segment: the segment is written behind the trunk in place."""
        end = num_past + k.shape[2]
        kept = self._trunk.get(layer)
        if kept is None or kept[0].shape[2] < end:
            grown = tuple(x.new_empty(1, x.shape[1], end + end // 4, x.shape[3]) for x in (k, v))
            if kept is not None:
                for new, old in zip(grown, kept, strict=True):
                    new[:, :, :num_past] = old[:, :, :num_past]
            kept = self._trunk[layer] = (grown[0], grown[1])
        for buffer, x in zip(kept, (k, v), strict=True):
            buffer[:, :, num_past:end] = x
        return kept[0][:, :, :end], kept[1][:, :, :end]

    def _mask(self, index: int, segment: Segment, window: int | None, num_past: int, like: Tensor) -> Tensor:
        """Additive mask [1, 1, S, P + S] of the segment: 0 for the trunk and the token's ancestors, else -inf."""
        key = (index, window)
        if key not in self._masks:
            allowed = tree_mask(segment, num_past, window)
            mask = torch.zeros(allowed.shape, dtype=like.dtype).masked_fill_(~allowed, float("-inf"))
            self._masks[key] = mask[None, None].to(like.device)
        return self._masks[key]

    def _native_function(
        self, module: torch.nn.Module, scaling: float | None, kwargs: dict[str, Any]
    ) -> Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]:
        """How this model itself computes attention, as a function of q, k, v and mask (`None`: causal)."""
        if self.native == "sdpa":

            def sdpa(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
                gqa = q.shape[1] != k.shape[1]
                out = F.scaled_dot_product_attention(
                    q, k, v, attn_mask=mask, is_causal=mask is None, scale=scaling, enable_gqa=gqa
                )
                return out.transpose(1, 2)

            return sdpa
        eager_function = getattr(sys.modules[type(module).__module__], "eager_attention_forward", None)
        if self.native != "eager" or eager_function is None:
            raise UnsupportedAttentionError(f"attention implementation {self.native!r} is not known here")

        def eager(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
            if mask is None:
                mask = torch.full((q.shape[2], k.shape[2]), float("-inf"), dtype=q.dtype, device=q.device).triu_(1)[
                    None, None
                ]
            out: Tensor = eager_function(module, q, k, v, mask, scaling=scaling, dropout=0.0, **kwargs)[0]
            return out

        return eager


def tree_mask(segment: Segment, num_past: int, window: int | None) -> Tensor:
    """Which keys each token of the segment may see: bool [S, P + S].

    The trunk's keys are at depths 0 to P - 1. A sliding window of W keeps the keys that are less than W tokens back,
    as transformers' `sliding_window_overlay` does.
    """
    size, stem = len(segment.tokens), segment.stem_len
    allowed = torch.zeros(size, num_past + size, dtype=torch.bool)
    allowed[:, :num_past] = True
    own = allowed[:, num_past:]
    own[:stem, :stem] = torch.ones(stem, stem, dtype=torch.bool).tril_()
    for i in range(stem, size):
        own[i] = own[segment.parents[i]]
        own[i, i] = True
    if window is not None:
        depths = torch.tensor(segment.depths)
        key_depths = torch.cat([torch.arange(num_past), depths])
        allowed &= depths[:, None] - key_depths[None, :] < window
    return allowed
