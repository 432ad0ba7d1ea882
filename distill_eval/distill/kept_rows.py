"""What is kept of a teacher's distribution over the next token, and how it lies in bytes.

Shapes: C scored positions of a chunk, N of a block, V vocabulary, K kept ids, L layers, D hidden.
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from distill_eval.distill.targets import LOWEST
from distill_eval.errors import require
from distill_eval.kept import planes, sorted_ids
from distill_eval.kept.draws import systematic
from distill_eval.schema.teacher_cache import CacheKey, Kind

MAX_BYTES = 128
"""Bytes per token that kept ids may take before compression, so that they never take more on disk."""
_MARGIN = 0.25
"""Of these, for the files' heads and for data that cannot be compressed (5 bytes per 16 kB in zlib)."""
_ENTROPY_BYTES, _NUMBER_BYTES = 4, 2
_SIZE = struct.Struct("<I")
_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}


class SampledRows(NamedTuple):
    """Draws from the teacher's softened distribution; an id may be there several times."""

    ids_NK: Tensor
    """int64, ascending."""
    entropy_N: Tensor
    """Of the whole softened distribution, in nats, float32."""


class TopKRows(NamedTuple):
    """The most likely ids of the teacher's softened distribution."""

    ids_NK: Tensor
    """int64, ascending."""
    log_probs_NK: Tensor
    """float32, rounded on disk: with `tail_N` the probabilities sum to 1 within rounding."""
    tail_N: Tensor
    """Probability of all other ids together, float32, rounded on disk."""


class HiddenRows(NamedTuple):
    """Hidden states of the teacher's chosen layers."""

    hidden_NLD: Tensor
    """float32, rounded on disk."""


Rows: TypeAlias = SampledRows | TopKRows | HiddenRows


def row_bytes(key: CacheKey) -> float:
    """Bytes of one row before compression."""
    soft = 0.0 if key.num_kept is None else soft_bytes(key.kind, key.num_kept, key.vocab_size)
    return soft + hidden_bytes(key)


def hidden_bytes(key: CacheKey) -> int:
    """Of these, those of hidden states: layers x hidden size x 2, far beyond `MAX_BYTES`."""
    return len(key.layers) * (key.hidden_size or 0) * _NUMBER_BYTES


def most_kept(kind: Kind, vocab_size: int) -> int:
    """The most ids per scored position within `MAX_BYTES`, whichever they are; for `top_k` at most the vocabulary."""
    limit = MAX_BYTES - _MARGIN
    kept = 1
    while soft_bytes(kind, kept + 1, vocab_size) <= limit and (kind == "sample" or kept < vocab_size):
        kept += 1
    return kept


def check_num_kept(kind: Kind, num_kept: int, vocab_size: int) -> None:
    """Refuse more ids than fit.

    Raises:
        UsageError: there would be none, or more than `MAX_BYTES` per token.
    """
    most = most_kept(kind, vocab_size)
    require(
        1 <= num_kept <= most,
        f"--num-kept {num_kept}: {kind} keeps 1 to {most} ids per token of a vocabulary of {vocab_size:,}, "
        f"within {MAX_BYTES} bytes per token",
    )


def soft_bytes(kind: Kind, num_kept: int, vocab_size: int) -> float:
    """Bytes of one row of kept ids before compression."""
    ids = sorted_ids.num_bits(num_kept, vocab_size) / 8
    return ids + (_ENTROPY_BYTES if kind == "sample" else (num_kept + 1) * _NUMBER_BYTES)


# ---- choosing


def sample_rows(log_probs_CV: Tensor, offsets_C: Tensor, num_kept: int) -> SampledRows:
    """Draw `num_kept` ids of each row with replacement, by systematic sampling of its cumulative distribution.

    As random sampling knowledge distillation (Anshumann et al. 2025, arXiv 2503.16870), which draws independently; see
    `systematic` for how it is done here.

    Args:
        log_probs_CV: Log-probabilities, softened already.
        offsets_C: Uniform in [0, 1), float64.
        num_kept: K.
    """
    probs_CV = log_probs_CV.exp()
    entropy_C = -torch.linalg.vecdot(probs_CV, log_probs_CV.clamp(min=LOWEST))
    return SampledRows(systematic(probs_CV, offsets_C, num_kept), entropy_C)


def top_k_rows(log_probs_CV: Tensor, num_kept: int) -> TopKRows:
    """The `num_kept` most likely ids of each row, and the probability of the others, summed where it is exact."""
    ids_CK = log_probs_CV.topk(num_kept, dim=-1).indices.sort(-1).values
    others_CV = log_probs_CV.exp().scatter_(-1, ids_CK, 0.0)
    return TopKRows(ids_CK, log_probs_CV.gather(-1, ids_CK), others_CV.sum(-1))


# ---- bytes


def encode(rows: Rows, key: CacheKey) -> bytes:
    """The rows, compressed: ids as `sorted_ids`, numbers as all first bytes and then all second ones; then zlib."""
    if isinstance(rows, HiddenRows):
        return zlib.compress(_number_bytes(rows.hidden_NLD, key))
    ids = sorted_ids.encode(rows.ids_NK.numpy(), key.vocab_size)
    if isinstance(rows, SampledRows):
        return zlib.compress(ids + planes.split(rows.entropy_N.numpy().astype("<f4"), _ENTROPY_BYTES))
    return zlib.compress(ids + _number_bytes(rows.log_probs_NK, key) + _number_bytes(rows.tail_N, key))


def decode(data: bytes, num_rows: int, key: CacheKey) -> Rows:
    """What `encode` was given, as far as it is kept.

    Raises:
        ValueError: the data are not so many rows.
        zlib.error: the data are damaged.
    """
    if key.kind == "hidden":
        return decode_hidden(data, num_rows, key)
    raw = zlib.decompress(data)
    num_kept = key.num_kept or 0
    end = sorted_ids.num_bytes(num_rows, num_kept, key.vocab_size)
    ids_NK = torch.from_numpy(sorted_ids.decode(raw[:end], num_rows, num_kept, key.vocab_size))
    if key.kind == "sample":
        entropy_N = np.frombuffer(planes.join(raw[end:], _ENTROPY_BYTES), dtype="<f4").astype(np.float32)
        return SampledRows(ids_NK, torch.from_numpy(entropy_N))
    middle = end + num_rows * num_kept * _NUMBER_BYTES
    return TopKRows(ids_NK, _numbers(raw[end:middle], key).reshape(num_rows, num_kept), _numbers(raw[middle:], key))


def decode_hidden(data: bytes, num_rows: int, key: CacheKey) -> HiddenRows:
    """As `decode`, for the bytes of hidden states."""
    return HiddenRows(_numbers(zlib.decompress(data), key).reshape(num_rows, len(key.layers), key.hidden_size or 0))


def join(soft: bytes, hidden: bytes) -> bytes:
    """A block of both kinds: the size of the soft labels in 4 bytes, they, and the hidden states."""
    return _SIZE.pack(len(soft)) + soft + hidden


def separate(data: bytes) -> tuple[bytes, bytes]:
    """What `join` was given."""
    end = _SIZE.size + _SIZE.unpack_from(data)[0]
    return data[_SIZE.size : end], data[end:]


def _number_bytes(values: Tensor, key: CacheKey) -> bytes:
    rounded = values.to(_DTYPES[key.dtype]).contiguous().view(torch.int16).numpy()
    return planes.split(rounded.astype("<i2"), _NUMBER_BYTES)


def _numbers(data: bytes, key: CacheKey) -> Tensor:
    whole = np.frombuffer(planes.join(data, _NUMBER_BYTES), dtype="<i2").astype(np.int16)
    return torch.from_numpy(whole).view(_DTYPES[key.dtype]).float()
