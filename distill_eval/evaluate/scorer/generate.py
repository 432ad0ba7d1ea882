"""Greedy generation in batches of similar length, where each row leaves the batch as soon as it is finished."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

MAX_ROWS = 64
CACHE_BYTES = 1 << 30
"""Keys and values held at once."""

HARMLESS = frozenset(
    {
        "_from_model_config",
        "bos_token_id",
        "do_sample",
        "eos_token_id",
        "max_length",
        "min_p",
        "output_attentions",
        "output_hidden_states",
        "output_logits",
        "output_scores",
        "pad_token_id",
        "return_dict_in_generate",
        "temperature",
        "top_k",
        "top_p",
        "transformers_version",
        "trust_remote_code",
        "typical_p",
        "use_cache",
    }
)
"""Settings of a generation config that do not change greedy decoding.

Not `max_new_tokens`: to transformers it counts more than the `max_length` that lm-eval asks for.
"""


class NonFiniteError(Exception):
    """Raised when logits are NaN or infinite."""

    def __init__(self, row: int) -> None:
        super().__init__(f"the logits of row {row} are not numbers")
        self.row = row
        """Of a batch, or the index of a request."""


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """Continue `inputs` until a stop string, an end-of-text token, or `max_new_tokens`."""

    inputs: tuple[int, ...]
    stop: tuple[str, ...]
    max_new_tokens: int


def is_plain_greedy(model: Any) -> bool:
    """Whether the model's own generation config leaves greedy decoding alone (no penalties, no forced tokens)."""
    return set(model.generation_config.to_diff_dict()) <= HARMLESS


def generate(
    model: Any,
    tokenizer: Any,
    requests: Sequence[GenerateRequest],
    *,
    done: frozenset[int],
    on_batch: Callable[[dict[int, list[int]]], None],
) -> None:
    """Greedy continuations of the requests that are not `done`, as token ids, batch by batch.

    Batches depend on all requests, so that a resumed run computes the same ones.

    Raises:
        NonFiniteError: with the index of a request whose logits are NaN or infinite.
    """
    for rows in _batches(model, requests):
        if not done.issuperset(rows):
            with torch.inference_mode():
                on_batch(_generate_batch(model, tokenizer, {row: requests[row] for row in rows}))


def _batches(model: Any, requests: Sequence[GenerateRequest]) -> Iterator[list[int]]:
    """Indices in batches: longest first, as many rows as the keys and values of the longest allow."""
    config = model.config.get_text_config()
    head_size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    num_heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    token_bytes = 2 * config.num_hidden_layers * num_heads * head_size * model.dtype.itemsize
    order = sorted(range(len(requests)), key=lambda i: (-len(requests[i].inputs), i))
    while order:
        longest = len(requests[order[0]].inputs) + max(requests[i].max_new_tokens for i in order[:MAX_ROWS])
        size = max(1, min(MAX_ROWS, CACHE_BYTES // (token_bytes * longest)))
        yield order[:size]
        order = order[size:]


def _generate_batch(model: Any, tokenizer: Any, requests: dict[int, GenerateRequest]) -> dict[int, list[int]]:
    from transformers import DynamicCache

    active = list(requests)
    texts: dict[int, list[int]] = {row: [] for row in active}
    tokens_BT, mask_BT = _left_pad([requests[row].inputs for row in active], model.device)
    ends = model.generation_config.eos_token_id
    end_ids = set(ends if isinstance(ends, list) else [ends])
    lookback = {row: stop_lengths(tokenizer, requests[row]) for row in active}
    cache = DynamicCache(config=model.config)
    while active:
        positions_BT = (mask_BT.cumsum(-1) - 1).clamp(min=0)[:, -tokens_BT.shape[1] :]
        output = model(
            input_ids=tokens_BT,
            attention_mask=mask_BT,
            position_ids=positions_BT,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits_BV = output.logits[:, -1].float()
        next_B: Tensor = logits_BV.argmax(-1)
        _refuse_nan(logits_BV.gather(-1, next_B[:, None])[:, 0], active)  # NaN counts as the largest
        going = []
        for place, (row, token) in enumerate(zip(active, next_B.tolist(), strict=True)):
            texts[row].append(token)
            if not is_finished(tokenizer, texts[row], requests[row], end_ids, lookback[row]):
                going.append(place)
        if len(going) < len(active):
            keep = torch.tensor(going, dtype=torch.long, device=model.device)
            active = [active[place] for place in going]
            next_B, mask_BT = next_B[keep], mask_BT[keep]
            if active:
                cache.batch_select_indices(keep)
        tokens_BT = next_B[:, None]
        mask_BT = torch.cat([mask_BT, mask_BT.new_ones(len(active), 1)], dim=1)
    return texts


def refuse_nan(tokens_BT: Tensor, logits_BV: Tensor) -> Tensor:
    """The logits as they are: a logits processor for transformers' `generate`.

    Raises:
        NonFiniteError: with the row of the batch whose largest logit is NaN or infinite.
    """
    del tokens_BT
    _refuse_nan(logits_BV.amax(-1), range(len(logits_BV)))
    return logits_BV


def _refuse_nan(largest_B: Tensor, rows: Sequence[int]) -> None:
    wrong = largest_B.isfinite().logical_not().nonzero()
    if len(wrong):
        raise NonFiniteError(rows[int(wrong[0])])


def stop_lengths(tokenizer: Any, request: GenerateRequest) -> list[int]:
    """How many tokens at a text's end may hold each stop string."""
    return [len(tokenizer.encode(stop, add_special_tokens=False)) + 2 for stop in request.stop]


def is_finished(
    tokenizer: Any, text: list[int], request: GenerateRequest, end_ids: Collection[int], lookback: list[int]
) -> bool:
    """Whether a text ends here: at its full length, an end-of-text token, or a stop string (see `stop_lengths`)."""
    if len(text) >= request.max_new_tokens or text[-1] in end_ids:
        return True
    return any(stop in tokenizer.decode(text[-size:]) for stop, size in zip(request.stop, lookback, strict=True))


def _left_pad(rows: list[tuple[int, ...]], device: Any) -> tuple[Tensor, Tensor]:
    """Token ids and mask [B, T], padded on the left with token 0 (which the mask hides)."""
    longest = max(len(row) for row in rows)
    tokens = torch.zeros(len(rows), longest, dtype=torch.long)
    mask = torch.zeros(len(rows), longest, dtype=torch.long)
    for place, row in enumerate(rows):
        tokens[place, longest - len(row) :] = torch.tensor(row)
        mask[place, longest - len(row) :] = 1
    return tokens.to(device), mask.to(device)
