"""Whether a model keeps the documents of a packed row apart, and what its forward must be given for that.

Shapes: B rows, T positions.

transformers builds a block-diagonal mask from position ids that start again, but only where there is neither an
attention mask nor a cache (`masking_utils.find_packed_sequence_indices`): a forward without `use_cache=False` sees
across documents. Some families build their mask without the position ids and need an explicit one; some have no mask.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

Isolation: TypeAlias = Literal["positions", "mask", "added", "none"]
"""What keeps documents apart: the position ids alone, an explicit mask (where attention is `eager`: one that is added
to its scores), or nothing: then isolated packing is not to be had."""
_PROBE = 8
"""Tokens in each of the two documents of the probe."""
_LEAK = 0.02
"""Below this share of the first document's own change, a change of the second one's logits is rounding."""


def document_mask(position_ids_BT: Tensor) -> Tensor:
    """Which position sees which, [B, 1, T, T] bool: those before it and itself since the positions last started again.

    Args:
        position_ids_BT: 0 at every first token of a document, and one more at every other token.
    """
    document_BT = (position_ids_BT == 0).cumsum(-1)
    same_BTT = document_BT[:, :, None] == document_BT[:, None, :]
    return same_BTT.tril()[:, None]


def forward_inputs(batch: Mapping[str, Tensor], isolation: Isolation) -> dict[str, Any]:
    """What of a batch a causal language model's forward takes.

    Args:
        batch: Of `blocks.Collator`.
        isolation: What `find_isolation` says of this model; irrelevant for padded rows and for `crossing`.
    """
    inputs: dict[str, Any] = {name: batch[name] for name in ("input_ids", "position_ids")} | {"use_cache": False}
    if "attention_mask" in batch:
        inputs["attention_mask"] = batch["attention_mask"]
    elif isolation in ("mask", "added"):
        mask_B1TT = document_mask(batch["position_ids"])
        lowest = torch.finfo(torch.float32).min
        inputs["attention_mask"] = mask_B1TT if isolation == "mask" else torch.where(mask_B1TT, 0.0, lowest)
    return inputs


def find_isolation(model: Any) -> Isolation:
    """Try it: does the second document of a row notice that the first one is another?

    Two forwards of two short rows; the model's mode and gradients are left alone.
    """
    config = model.config.get_text_config()
    windowed = any(getattr(config, name, None) for name in ("sliding_window", "layer_types", "attention_window"))
    ways: tuple[Isolation, ...] = ("positions",) if windowed else ("positions", "mask", "added")
    was_training = model.training
    model.eval()
    try:
        return next((way for way in ways if _keeps_apart(model, int(config.vocab_size), way)), "none")
    finally:
        model.train(was_training)


def _keeps_apart(model: Any, vocab_size: int, isolation: Isolation) -> bool:
    tokens = torch.arange(3 * _PROBE, device=model.device) * 7 % vocab_size
    first, other, second = tokens.split(_PROBE)
    rows = torch.stack([torch.cat([first, second]), torch.cat([other, second])])
    positions = torch.arange(_PROBE, device=model.device).repeat(2).expand(2, -1)
    inputs = forward_inputs({"input_ids": rows, "position_ids": positions}, isolation)
    with torch.no_grad():
        try:
            logits = model(**inputs).logits.float()
        except (IndexError, RuntimeError, TypeError, ValueError):  # the family does not take such a mask
            return False
    change = (logits[0] - logits[1]).abs().amax(-1)
    return bool(change[_PROBE:].max() <= _LEAK * change[:_PROBE].max())
