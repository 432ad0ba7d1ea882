"""The reference's distributions on the text: computed once, chunk by chunk, and kept for every candidate.

They are an entry of the store, under all that they depend on. While they are made they are a journal, so that a killed
run goes on with the chunk it was at.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from distill_eval.engine import LogitModel
from distill_eval.errors import ModelError
from distill_eval.fidelity.rows import KeptRows, Shape, choose, decode, encode, log_probs
from distill_eval.fidelity.text import Chunk
from distill_eval.store import JSON, Store
from distill_eval.tell import Each

KIND = "reference"


class Kept(NamedTuple):
    """The distributions of all chunks, in memory as they lie on disk."""

    shape: Shape
    blocks: list[bytes]
    reused: bool
    """Whether they were there already."""

    @property
    def size_bytes(self) -> int:
        """Of all chunks."""
        return sum(map(len, self.blocks))

    def rows(self, number: int, chunk: Chunk) -> KeptRows:
        """Those of one chunk."""
        return decode(self.blocks[number], len(chunk.targets()), self.shape)


def keep(
    store: Store,
    parts: Mapping[str, JSON],
    chunks: Sequence[Chunk],
    shape: Shape,
    *,
    seed: int,
    load: Callable[[], LogitModel],
    each: Each,
) -> Kept:
    """Look the reference's distributions up, or compute and keep what is missing of them.

    Args:
        store: Where they are kept.
        parts: All that they depend on.
        chunks: The text.
        shape: What is kept of each position.
        seed: Of the draws.
        load: Gives the model when it is needed.
        each: Says how far it is.

    Raises:
        ModelError: the model cannot be loaded, or its logits are not numbers.
        StoreError: the cache cannot be written.
    """
    with store.journal(KIND, parts) as journal:
        reused = journal.finished is not None
        if journal.finished is None:
            missing = [number for number in range(len(chunks)) if number not in journal.done]
            model = load() if missing else None
            for number in each("reference, chunks", missing):
                assert model is not None
                rows_NV = scored_log_probs(model, chunks[number], shape.vocab_size, "the reference")
                kept = choose(rows_NV, chunks[number].targets(), shape, (seed, number))
                journal.append({number: base64.b64encode(encode(kept, shape)).decode()})
            journal.finish(_join([base64.b64decode(journal.done[number]) for number in range(len(chunks))]))
        assert journal.finished is not None
        return Kept(shape, _separate(journal.finished, len(chunks)), reused)


def scored_log_probs(model: LogitModel, chunk: Chunk, vocab_size: int, name: str) -> Tensor:
    """Log-probabilities at the scored positions of a chunk [N, V].

    Entries beyond the vocabulary, with which some exports are padded, are left out.

    Raises:
        ModelError: the logits are not numbers.
    """
    logits_NV = model.logits(chunk.ids[:-1])[chunk.first :, :vocab_size]
    if not logits_NV.amax(-1).isfinite().all():
        raise ModelError(f"{name} gives logits that are not numbers. Try --dtype float32")
    return log_probs(logits_NV)


def _join(blocks: Sequence[bytes]) -> bytes:
    return np.array([len(block) for block in blocks], dtype="<u4").tobytes() + b"".join(blocks)


def _separate(data: bytes, num_blocks: int) -> list[bytes]:
    ends = num_blocks * 4 + np.cumsum(np.frombuffer(data, dtype="<u4", count=num_blocks).astype(np.int64))
    starts = [num_blocks * 4, *ends[:-1]]
    return [data[start:end] for start, end in zip(starts, ends, strict=True)]
