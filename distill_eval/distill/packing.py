"""Documents cut into windows, and windows placed into blocks: the rows of a batch.

Shapes: M tokens of one document or window.

A token is predicted once, by the position before it: the last position of a window predicts the first token of the
document's next window, and the last position of a document predicts nothing.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np

from distill_eval.distill.alignment import TheirWindow
from distill_eval.distill.data_config import Packing
from distill_eval.distill.text import Flags, Ids, Tokens

OPEN_BLOCKS = 64
"""Blocks that wait for a window that fits. On 4 kB pieces of English text at 512 tokens per block, 1 open
block left 6.8 % of the positions empty, 16 left 3.9 %, 64 left 3.7 % and 1,024 no less."""


class Window(NamedTuple):
    """Tokens that see each other."""

    ids_M: Ids
    scored_M: Flags
    """Whether the token after this position is to be predicted from it."""
    after: int
    """The token after the last position; it counts only where `scored_M[-1]`."""
    theirs: TheirWindow | None = None
    """The same text in the tokens of a teacher with another tokenizer."""


Block: TypeAlias = list[Window]
"""The windows of one row, at most `max_length` tokens together."""


@dataclass
class Counts:
    """What became of the documents."""

    num_documents: int = 0
    num_split: int = 0
    """Documents longer than a window (crossing: documents in more than one block)."""
    num_unscored: int = 0
    """Documents without a token to predict (conversations without an answer), left out."""
    num_held_out: int = 0
    """Documents left out of training because the validation data hold them."""


def pack(documents: Iterable[Tokens], *, max_length: int, packing: Packing, counts: Counts) -> Iterator[Block]:
    """Blocks in a fixed order, each as soon as it is full.

    `isolated` keeps documents whole where they fit: a document's full windows are blocks of their own, and what is
    left of it goes where it fills a block best (best fit over at most `OPEN_BLOCKS` open ones; Ding et al. 2024,
    arXiv 2404.10830, without their sorting by length, so that it works on a stream). `crossing` cuts one stream.
    `none` makes every window a block.

    Args:
        documents: In the order in which they are read.
        max_length: Tokens per block at most.
        packing: As in `DataConfig`.
        counts: Counted up while blocks come out.
    """
    if packing == "crossing":
        yield from _cut_stream(documents, max_length, counts)
    elif packing == "none":
        yield from ([window] for window in _cut_documents(documents, max_length, counts))
    else:
        yield from _best_fit(_cut_documents(documents, max_length, counts), max_length)


def _counted(documents: Iterable[Tokens], counts: Counts) -> Iterator[Tokens]:
    for document in documents:
        if document.target_M.any():
            counts.num_documents += 1
            yield document
        else:
            counts.num_unscored += 1


def _scored(document: Tokens) -> Flags:
    """Which positions predict: those before a token that is to be predicted."""
    return np.append(document.target_M[1:], False)


def _cut_documents(documents: Iterable[Tokens], max_length: int, counts: Counts) -> Iterator[Window]:
    """Windows that predict anything."""
    for document in _counted(documents, counts):
        ids_M, scored_M = document.ids_M, _scored(document)
        counts.num_split += len(ids_M) > max_length
        for start in range(0, len(ids_M), max_length):
            end = start + max_length
            if scored_M[start:end].any():
                after = int(ids_M[end]) if end < len(ids_M) else 0
                theirs = document.theirs.cut(start, end) if document.theirs else None
                yield Window(ids_M[start:end], scored_M[start:end], after, theirs)


def _cut_stream(documents: Iterable[Tokens], max_length: int, counts: Counts) -> Iterator[Block]:
    """Every `max_length` tokens of the documents one after the other, if they predict anything."""
    ids_M, scored_M = np.empty(0, np.uint32), np.empty(0, np.bool_)
    for document in _counted(documents, counts):
        counts.num_split += len(ids_M) % max_length + len(document.ids_M) > max_length
        ids_M = np.concatenate([ids_M, document.ids_M])
        scored_M = np.concatenate([scored_M, _scored(document)])
        start = 0
        while len(ids_M) - start > max_length:  # one more than a block: the token that its last position predicts
            end = start + max_length
            if scored_M[start:end].any():
                yield [Window(ids_M[start:end], scored_M[start:end], int(ids_M[end]))]
            start = end
        ids_M, scored_M = ids_M[start:], scored_M[start:]
    if scored_M.any():
        yield [Window(ids_M, scored_M, 0)]


def _best_fit(windows: Iterable[Window], max_length: int) -> Iterator[Block]:
    blocks: dict[int, Block] = {}
    space: list[tuple[int, int]] = []
    """Room left and number of each open block, least room first, then oldest first."""
    for number, window in enumerate(windows):
        size = len(window.ids_M)
        place = bisect_left(space, (size, -1))
        room, into = space.pop(place) if place < len(space) else (max_length, number)
        blocks.setdefault(into, []).append(window)
        if room == size:
            yield blocks.pop(into)
        else:
            insort(space, (room - size, into))
        if len(space) > OPEN_BLOCKS:
            yield blocks.pop(space.pop(0)[1])
    yield from (blocks[number] for number in sorted(blocks))
