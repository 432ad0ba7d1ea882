"""Rows of tokens in compact arrays, as a torch data set, and batches of them.

Shapes: M tokens of all blocks, W windows (tokens that see each other), B blocks or rows of a batch, T positions.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from distill_eval.distill.data_config import Packing
from distill_eval.distill.packing import Block, Counts
from distill_eval.distill.text import Flags, Ids
from distill_eval.distill.their_rows import TheirWindows, their_row
from distill_eval.errors import DataError

IGNORED = -100
"""The label of a position that predicts nothing, as in transformers."""
FORMAT = 1
"""Counted up when what the arrays hold changes its meaning: part of the digest."""

Offsets: TypeAlias = npt.NDArray[np.int64]
Row: TypeAlias = dict[str, Tensor]
"""`input_ids`, `position_ids`, `shift_labels` [T] int64 and `index` [] int64; with a teacher that has another tokenizer
what `their_rows.their_row` adds."""


class Blocks(Dataset[Row]):
    """All blocks of a data set, 5 bytes per token; block i is always the same.

    Attributes:
        packing: As in `DataConfig`.
        max_length: Tokens per block at most.
        counts: What became of the documents.
    """

    def __init__(self, blocks: Iterable[Block], *, packing: Packing, max_length: int, counts: Counts) -> None:
        """Take the blocks in.

        Args:
            blocks: From `packing.pack`; consumed here.
            packing: As in `DataConfig`.
            max_length: Tokens per block at most.
            counts: What `packing.pack` counts up.
        """
        self.packing, self.max_length, self.counts = packing, max_length, counts
        ids: list[Ids] = [np.empty(0, np.uint32)]
        scored: list[Flags] = [np.empty(0, np.bool_)]
        after, ends, last, theirs = [], [0], [0], []
        for block in blocks:
            for window in block:
                ids.append(window.ids_M)
                scored.append(window.scored_M)
                after.append(window.after)
                ends.append(ends[-1] + len(window.ids_M))
                if window.theirs is not None:
                    theirs.append(window.theirs)
            last.append(len(after))
        self._ids_M, self._scored_M = np.concatenate(ids), np.concatenate(scored)
        self._after_W = np.array(after, dtype=np.uint32)
        self._tokens_W1: Offsets = np.array(ends, dtype=np.int64)
        self._windows_B1: Offsets = np.array(last, dtype=np.int64)
        self._theirs = TheirWindows(theirs) if theirs else None

    def __len__(self) -> int:
        return len(self._windows_B1) - 1

    def __getitem__(self, index: int) -> Row:
        first, last = int(self._windows_B1[index]), int(self._windows_B1[index + 1])
        ends = self._tokens_W1[first : last + 1]
        begin, end = int(ends[0]), int(ends[-1])
        scored, starts = self._scored_M[begin:end], ends[:-1] - begin
        row = _row(self._ids_M[begin:end], scored, starts=starts, after=self._after_W[first:last], index=index)
        return row if self._theirs is None else row | self._theirs.row(first, starts.tolist(), scored, begin)

    @property
    def num_tokens(self) -> int:
        """Tokens in all blocks."""
        return len(self._ids_M)

    @property
    def num_scored_tokens(self) -> int:
        """Positions that predict a token."""
        return int(self._scored_M.sum())

    @property
    def paired_share(self) -> float | None:
        """Scored positions at which a teacher with another tokenizer has read the same text; `None` without one."""
        if self._theirs is None:
            return None
        return self._theirs.num_paired(self._scored_M) / self.num_scored_tokens

    @property
    def padding_share(self) -> float:
        """Empty positions, if every row were padded to `max_length`; batches are padded to their longest row only."""
        return 1 - self.num_tokens / (len(self) * self.max_length) if len(self) else 0.0

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the content of all blocks: it covers data, tokenizer, packing and length."""
        head = {"format": FORMAT, "packing": self.packing, "max_length": self.max_length}
        sha = hashlib.sha256(json.dumps(head, sort_keys=True).encode())
        for array, kind in (
            (self._ids_M, "<u4"),
            (self._scored_M, "|b1"),
            (self._after_W, "<u4"),
            (self._tokens_W1, "<i8"),
            (self._windows_B1, "<i8"),
            *(self._theirs.arrays() if self._theirs else ()),
        ):
            sha.update(array.astype(kind, copy=False).tobytes())
        return sha.hexdigest()


class StreamedBlocks(IterableDataset[Row]):
    """Blocks that are made while they are read, one pass over the data after another without end, numbered throughout.

    transformers' Trainer skips what a resumed run has seen within one iteration: it must not end before.
    """

    def __init__(self, make: Callable[[], Iterator[Block]]) -> None:
        """Keep the source.

        Args:
            make: Begins a new pass over the data.
        """
        self._make = make

    def __iter__(self) -> Iterator[Row]:
        worker = get_worker_info()
        rows = (_from_windows(block, index) for index, block in enumerate(self._passes()))
        return rows if worker is None else islice(rows, worker.id, None, worker.num_workers)

    def _passes(self) -> Iterator[Block]:
        while True:
            is_empty = True
            for block in self._make():
                is_empty = False
                yield block
            if is_empty:
                raise DataError("the streamed data give no row to train on: expected documents with text")


@dataclass(frozen=True)
class Collator:
    """Rows to a batch, padded on the right to the longest row."""

    packing: Packing
    pad_id: int
    """Any id of the vocabulary: nothing attends to padding, and nothing is predicted there."""

    def __call__(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        """A batch of `input_ids`, `position_ids`, `shift_labels` [B, T] and `index` [B].

        With `none` there is an `attention_mask` [B, T] too. The others have none, so that transformers sees from the
        position ids which tokens belong together: there, the padding of an isolated row is one more document.
        """
        sizes = [len(row["input_ids"]) for row in rows]
        longest = max(sizes)
        batch = {
            "input_ids": torch.stack([_padded(row["input_ids"], longest, self.pad_id) for row in rows]),
            "position_ids": torch.stack([self._positions(row["position_ids"], longest) for row in rows]),
            "shift_labels": torch.stack([_padded(row["shift_labels"], longest, IGNORED) for row in rows]),
            "index": torch.stack([row["index"] for row in rows]),
        }
        if self.packing == "none":
            batch["attention_mask"] = (torch.arange(longest) < torch.tensor(sizes)[:, None]).long()
        return batch

    def _positions(self, position_ids_T: Tensor, longest: int) -> Tensor:
        size = len(position_ids_T)
        start = 0 if self.packing == "isolated" else size
        return torch.cat([position_ids_T, torch.arange(start, start + longest - size)])


def _padded(values_T: Tensor, longest: int, value: int) -> Tensor:
    return torch.nn.functional.pad(values_T, (0, longest - len(values_T)), value=value)


def _from_windows(block: Block, index: int) -> Row:
    sizes = np.cumsum([0, *(len(window.ids_M) for window in block)])
    scored = np.concatenate([window.scored_M for window in block])
    row = _row(
        np.concatenate([window.ids_M for window in block]),
        scored,
        starts=sizes[:-1],
        after=np.array([window.after for window in block], dtype=np.uint32),
        index=index,
    )
    theirs = [window.theirs for window in block if window.theirs is not None]
    return row | their_row(theirs, scored) if theirs else row


def _row(ids: Ids, scored: Flags, *, starts: Offsets, after: Ids, index: int) -> Row:
    """One block: its tokens, which of its positions predict, where windows start, and the token after each window."""
    sizes = np.diff(np.append(starts, len(ids)))
    following = np.append(ids[1:], 0).astype(np.int64)
    following[starts + sizes - 1] = after
    return {
        "input_ids": torch.from_numpy(ids.astype(np.int64)),
        "position_ids": torch.from_numpy(np.arange(len(ids)) - np.repeat(starts, sizes)),
        "shift_labels": torch.from_numpy(np.where(scored, following, IGNORED)),
        "index": torch.tensor(index),
    }
