"""The teacher's tokens of a row beside the student's, for a teacher with another tokenizer.

Shapes: T positions of the student and K of the teacher in a row, or in all rows; W windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from distill_eval.distill.alignment import NONE, TheirWindow

PREFIX = "teacher_"
"""Before the names of what is the teacher's."""


class TheirWindows:
    """The teacher's side of all windows of a data set, in three arrays."""

    def __init__(self, windows: Sequence[TheirWindow]) -> None:
        """Take them in, in their order."""
        self._ids_K = np.concatenate([window.ids_K for window in windows])
        self._partner_T = np.concatenate([window.partner_M for window in windows])
        self._bytes_T = np.concatenate([window.bytes_M for window in windows])
        self._ends_W1 = np.cumsum([0, *(len(window.ids_K) for window in windows)])

    def arrays(self) -> tuple[tuple[npt.NDArray[Any], str], ...]:
        """What a digest has to cover, each with the type that it is read as."""
        return (
            (self._ids_K, "<u4"),
            (self._partner_T, "<i4"),
            (self._bytes_T, "<i4"),
            (self._ends_W1, "<i8"),
        )

    def num_paired(self, scored_T: npt.NDArray[np.bool_]) -> int:
        """Scored positions of the student with a partner."""
        return int((scored_T & (self._partner_T != NONE)).sum())

    def row(self, first: int, starts: Sequence[int], scored_T: npt.NDArray[np.bool_], begin: int) -> dict[str, Tensor]:
        """The teacher's part of one row.

        Args:
            first: Number of its first window.
            starts: Where its windows begin, in the student's positions of the row.
            scored_T: Its positions that predict.
            begin: Its first position among those of all rows.
        """
        windows = []
        for number, (start, end) in enumerate(pairwise([*starts, len(scored_T)]), first):
            ours = slice(begin + start, begin + end)
            theirs = slice(int(self._ends_W1[number]), int(self._ends_W1[number + 1]))
            windows.append(TheirWindow(self._ids_K[theirs], self._partner_T[ours], self._bytes_T[ours]))
        return their_row(windows, scored_T)


def their_row(
    windows: Sequence[TheirWindow], scored_T: npt.NDArray[np.bool_], ignored: int = -100
) -> dict[str, Tensor]:
    """The teacher's tokens of one row, and who is whose partner.

    Text counts in bits per byte where it lies between two partners of one window and the student predicts all of it:
    the teacher's tokens between the same partners are the same text.

    Args:
        windows: Of the row.
        scored_T: The student's positions that predict.
        ignored: The label of a position that predicts nothing.

    Returns:
        `teacher_input_ids`, `teacher_position_ids` and `teacher_shift_labels` [K]; `partner` [T], -1 for none;
        `counted` [T] bool, the student's positions that count in bits per byte; `num_bytes` [], what they are of.
    """
    sizes = np.array([len(window.ids_K) for window in windows])
    starts = np.cumsum(sizes) - sizes
    ids_K = np.concatenate([window.ids_K for window in windows]).astype(np.int64)
    window_T = np.repeat(np.arange(len(windows)), [len(window.partner_M) for window in windows])
    partner_T = np.concatenate([window.partner_M for window in windows])
    partner_T = np.where(partner_T == NONE, NONE, partner_T + starts[window_T])
    bytes_T = np.concatenate([window.bytes_M for window in windows])
    paired = np.flatnonzero(partner_T != NONE)
    here, there = paired[:-1], paired[1:]
    num_scored = np.append(0, np.cumsum(scored_T))
    whole = (bytes_T[there] > 0) & (window_T[here] == window_T[there])
    whole &= num_scored[there] - num_scored[here] == there - here
    here, there = here[whole], there[whole]
    theirs_K = _between(partner_T[here], partner_T[there], len(ids_K))
    return {
        f"{PREFIX}input_ids": torch.from_numpy(ids_K),
        f"{PREFIX}position_ids": torch.from_numpy(np.arange(len(ids_K)) - np.repeat(starts, sizes)),
        f"{PREFIX}shift_labels": torch.from_numpy(np.where(theirs_K, np.append(ids_K[1:], 0), ignored)),
        "partner": torch.from_numpy(np.where(scored_T, partner_T, NONE)),
        "counted": torch.from_numpy(_between(here, there, len(scored_T))),
        "num_bytes": torch.tensor(int(bytes_T[there].sum())),
    }


def _between(first: npt.NDArray[Any], end: npt.NDArray[Any], size: int) -> npt.NDArray[np.bool_]:
    """True from each first to before its end."""
    steps = np.zeros(size + 1, dtype=np.int64)
    np.add.at(steps, first, 1)
    np.add.at(steps, end, -1)
    return np.cumsum(steps)[:-1] > 0
