"""What is kept of a reference's distribution at each scored position, and how it lies in bytes.

Kept are the most likely ids, the probability of all others together (the tail), and a sample of the tail. The first two
alone would lose 15 to 20 % of a KL divergence at k = 64 (`docs/metrics.md` has the measurement); with the sample every
divergence has an unbiased estimate (see `divergence`).

Shapes: N scored positions, V vocabulary, K most likely ids, M draws.
"""

from __future__ import annotations

import zlib
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from distill_eval.kept import planes, sorted_ids
from distill_eval.kept.draws import systematic

POWER = 0.75
"""The tail is drawn from in proportion to probability ** POWER: below 1, so that ids that only a far candidate finds
likely are drawn, too. At 1 the reverse KL of a student at 0.9 nats scattered 2.4 times as much, at 0.5 1.2 times."""
ROWS_AT_ONCE = 64
"""Rows of the vocabulary that are held in float64 at a time: 25 MB at 49,152 entries."""
MOST_DRAWS, FEWEST_DRAWS = 256, 64
SHARE = 50
"""A row takes at most this part of the full logits, where that leaves room for `FEWEST_DRAWS`."""
_WIDE, _NARROW = 8, 4
_LEAST = 1e-300
"""A tail of no probability at all is raised to this, so that 0 / 0 is 1 where both models agree that it is empty."""


class Shape(NamedTuple):
    """Of what is kept; all that decoding needs."""

    vocab_size: int
    top_k: int
    num_draws: int
    """0 where the whole vocabulary is among the most likely ids."""


class KeptRows(NamedTuple):
    """A reference's distributions, one per scored position."""

    top_ids_NK: Tensor
    """The most likely ids, int64, ascending."""
    top_log_probs_NK: Tensor
    """float32, as in all that follows unless it says otherwise."""
    tail_N: Tensor
    """Probability of all other ids together, float64."""
    drawn_ids_NM: Tensor
    """Ids drawn from the tail with replacement, in proportion to probability ** POWER, int64, ascending."""
    drawn_log_probs_NM: Tensor
    log_norm_N: Tensor
    """Logarithm of the sum of probability ** POWER over the tail, float64."""
    true_log_probs_N: Tensor
    """Of the token that the text goes on with."""

    def weights(self) -> Tensor:
        """Probability of each drawn id over the probability with which it was drawn [N, M], float64."""
        return ((1 - POWER) * self.drawn_log_probs_NM.double() + self.log_norm_N[:, None]).exp()


def fit(vocab_size: int, top_k: int, logit_bytes: int) -> Shape:
    """How much is kept within 1 / `SHARE` of the full logits.

    Args:
        vocab_size: V.
        top_k: K; more than V are V.
        logit_bytes: Bytes of one logit in what the model is run in.
    """
    if top_k >= vocab_size:
        return Shape(vocab_size, vocab_size, 0)
    draws = MOST_DRAWS
    while draws > FEWEST_DRAWS and row_bytes(Shape(vocab_size, top_k, draws)) > vocab_size * logit_bytes / SHARE:
        draws -= 1
    return Shape(vocab_size, top_k, draws)


def row_bytes(shape: Shape) -> float:
    """Bytes of one row before compression."""
    ids = sorted_ids.num_bits(shape.top_k, shape.vocab_size) / 8
    drawn = sorted_ids.num_bits(shape.num_draws, shape.vocab_size) / 8 if shape.num_draws else 0.0
    return ids + drawn + (shape.top_k + shape.num_draws + 1) * _NARROW + 2 * _WIDE


def log_probs(logits_NV: Tensor) -> Tensor:
    """Log-probabilities, normalized in float64 and rounded to float32, as they are kept: equal logits stay equal."""
    parts = logits_NV.split(ROWS_AT_ONCE)
    return torch.cat([torch.log_softmax(part.double(), -1).float() for part in parts])


def choose(log_probs_NV: Tensor, true_N: Tensor, shape: Shape, seed: tuple[int, ...]) -> KeptRows:
    """Keep the rows.

    Args:
        log_probs_NV: As `log_probs` makes them.
        true_N: Ids that the text goes on with.
        shape: What to keep.
        seed: Of the draws; the number of the chunk is part of it.
    """
    offsets_N = torch.from_numpy(np.random.default_rng(seed).random(len(true_N)))
    parts = (part.split(ROWS_AT_ONCE) for part in (log_probs_NV, true_N, offsets_N))
    chosen = [_choose(rows, true, offsets, shape) for rows, true, offsets in zip(*parts, strict=True)]
    return KeptRows(*(torch.cat(column) for column in zip(*chosen, strict=True)))


def _choose(log_probs_NV: Tensor, true_N: Tensor, offsets_N: Tensor, shape: Shape) -> KeptRows:
    top_NK = log_probs_NV.topk(shape.top_k, dim=-1).indices.sort(-1).values
    rest_NV = log_probs_NV.double().scatter_(-1, top_NK, -torch.inf)
    drawn_NM = systematic((POWER * rest_NV).exp(), offsets_N, shape.num_draws)
    return KeptRows(
        top_NK,
        log_probs_NV.gather(-1, top_NK),
        rest_NV.exp().sum(-1).clamp_(min=_LEAST),
        drawn_NM,
        log_probs_NV.gather(-1, drawn_NM),
        torch.logsumexp(POWER * rest_NV, -1),
        log_probs_NV.gather(-1, true_N[:, None])[:, 0],
    )


def tail(log_probs_NV: Tensor, top_NK: Tensor) -> Tensor:
    """Probability of all but these ids [N], summed as the kept one is, float64."""
    rest_NV = log_probs_NV.double().scatter_(-1, top_NK, -torch.inf)
    return rest_NV.exp().sum(-1).clamp_(min=_LEAST)


# ---- bytes


def encode(rows: KeptRows, shape: Shape) -> bytes:
    """The rows, compressed: ids as `sorted_ids`, numbers plane by plane; then zlib."""
    numbers = [rows.top_log_probs_NK, rows.drawn_log_probs_NM, rows.true_log_probs_N]
    wide = [rows.tail_N, rows.log_norm_N]
    drawn = sorted_ids.encode(rows.drawn_ids_NM.numpy(), shape.vocab_size) if shape.num_draws else b""
    return zlib.compress(
        sorted_ids.encode(rows.top_ids_NK.numpy(), shape.vocab_size)
        + drawn
        + b"".join(planes.split(part.numpy().astype("<f4"), _NARROW) for part in numbers)
        + b"".join(planes.split(part.numpy().astype("<f8"), _WIDE) for part in wide)
    )


def decode(data: bytes, num_rows: int, shape: Shape) -> KeptRows:
    """What `encode` was given.

    Raises:
        ValueError: the data are not so many rows.
        zlib.error: the data are damaged.
    """
    raw, place = zlib.decompress(data), 0

    def take(num_bytes: int) -> bytes:
        nonlocal place
        place += num_bytes
        return raw[place - num_bytes : place]

    def ids(width: int) -> Tensor:
        if not width:
            return torch.zeros(num_rows, 0, dtype=torch.int64)
        part = take(sorted_ids.num_bytes(num_rows, width, shape.vocab_size))
        return torch.from_numpy(sorted_ids.decode(part, num_rows, width, shape.vocab_size))

    def numbers(width: int, kind: str, num_bytes: int) -> Tensor:
        part = planes.join(take(num_rows * width * num_bytes), num_bytes)
        found = np.frombuffer(part, dtype=kind).reshape(num_rows, width)
        return torch.from_numpy(found.astype(kind.replace("<", "=")))

    top, drawn = ids(shape.top_k), ids(shape.num_draws)
    widths = (shape.top_k, shape.num_draws, 1)
    top_log_probs, drawn_log_probs, true = (numbers(width, "<f4", _NARROW) for width in widths)
    tail_N1, norm_N1 = (numbers(1, "<f8", _WIDE) for _ in range(2))
    return KeptRows(top, top_log_probs, tail_N1[:, 0], drawn, drawn_log_probs, norm_N1[:, 0], true[:, 0])
