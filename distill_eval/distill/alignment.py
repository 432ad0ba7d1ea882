"""One text in the tokens of two tokenizers: which positions of both have read exactly the same characters.

Shapes: M tokens of the student, K tokens of the teacher, in one document, window or row.

A position has read a text up to the end of its token, if a character ends there: the tokens of a character that is cut
into bytes have read it only with the last of them. Two positions are partners when both have read the text up to the
same character: their next-token distributions speak of the same text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from distill_eval.errors import DataError

Ints: TypeAlias = npt.NDArray[np.int64]
NONE = -1
"""In the place of a partner, or of what was read: there is none."""


class Segment(NamedTuple):
    """A piece of text that stands in both documents, in characters."""

    ours: int
    """Where it starts in the student's."""
    theirs: int
    """Where it starts in the teacher's: a conversation reads otherwise in another chat template."""
    length: int


class TheirWindow(NamedTuple):
    """The teacher's tokens for one window of the student's."""

    ids_K: npt.NDArray[np.uint32]
    partner_M: npt.NDArray[np.int32]
    """For every position of the student's window that of the teacher's, or `NONE`."""
    bytes_M: npt.NDArray[np.int32]
    """Where there is a partner: UTF-8 bytes since the one before it in the same segment; 0 for a segment's first."""


class Theirs(NamedTuple):
    """A document in the teacher's tokens."""

    ids_K: npt.NDArray[np.uint32]
    partner_M: npt.NDArray[np.int32]
    bytes_M: npt.NDArray[np.int32]
    limit: int | None
    """Tokens that the teacher can read at most."""

    def cut(self, start: int, end: int) -> TheirWindow:
        """The teacher's tokens for the student's positions `start` to `end`.

        They begin behind the last text that both had read before, and end with the last that both have read inside.

        Raises:
            DataError: they are more than the teacher can read.
        """
        before, inside = self.partner_M[:start], self.partner_M[start:end]
        first = int(before.max(initial=NONE)) + 1
        last = max(int(inside.max(initial=NONE)), first) + 1
        ids_K = self.ids_K[first:last]
        if self.limit is not None and len(ids_K) > self.limit:
            raise DataError(
                f"{end - start} tokens of the student are {len(ids_K):,} of the teacher, which reads {self.limit:,} at "
                "most. Lower --max-length"
            )
        return TheirWindow(
            ids_K if len(ids_K) else self.ids_K[:1],
            np.where(inside == NONE, NONE, inside - first).astype(np.int32),
            self.bytes_M[start:end],
        )


def read_up_to(offsets_M2: Ints, text: str) -> Ints:
    """How many characters each position [M] has read, or `NONE` where it stopped inside one.

    White space that a tokenizer throws away between two tokens counts as read by neither. A last token without text
    is an end-of-text: the position before it has read everything.

    Args:
        offsets_M2: Where in the text each token begins and ends, in characters; (0, 0) for added special tokens.
        text: The document.
    """
    start_M, end_M = offsets_M2[:, 0], offsets_M2[:, 1]
    read_M = np.full(len(offsets_M2), NONE, dtype=np.int64)
    if len(offsets_M2) < 2:
        return read_M
    furthest_M = np.maximum.accumulate(end_M)[:-1]
    whole_M = (start_M[1:] >= furthest_M) & (end_M[1:] > start_M[1:])
    for place in np.flatnonzero(whole_M & (start_M[1:] > furthest_M)):
        whole_M[place] = text[furthest_M[place] : start_M[place + 1]].isspace()
    read_M[:-1][whole_M] = furthest_M[whole_M]
    if start_M[-1] == end_M[-1]:
        read_M[-2] = len(text)
    return read_M


def pair(
    ours_read_M: Ints, theirs_read_K: Ints, segments: Sequence[Segment], text: str
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Partners, and the bytes between them, as `TheirWindow` has them.

    Args:
        ours_read_M: From `read_up_to`.
        theirs_read_K: From `read_up_to`, of the teacher's document.
        segments: In their order, which is the same in both documents.
        text: The student's document.
    """
    partner_M = np.full(len(ours_read_M), NONE, dtype=np.int32)
    bytes_M = np.zeros(len(ours_read_M), dtype=np.int32)
    num_bytes = _bytes_up_to(text)
    for segment in segments:
        ours, theirs = (
            _inside(read, start, segment.length)
            for read, start in ((ours_read_M, segment.ours), (theirs_read_K, segment.theirs))
        )
        _, at_ours, at_theirs = np.intersect1d(
            ours_read_M[ours] - segment.ours,
            theirs_read_K[theirs] - segment.theirs,
            assume_unique=True,
            return_indices=True,
        )
        places = ours[at_ours]
        partner_M[places] = theirs[at_theirs]
        bytes_M[places[1:]] = np.diff(num_bytes[ours_read_M[places]])
    return partner_M, bytes_M


def _inside(read: Ints, start: int, length: int) -> Ints:
    return np.flatnonzero((read >= start) & (read <= start + length))


def _bytes_up_to(text: str) -> Ints:
    """UTF-8 bytes of the first 0, 1, 2 ... characters."""
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    sizes = 1 + (points > 0x7F).astype(np.int64) + (points > 0x7FF) + (points > 0xFFFF)
    return np.append(0, np.cumsum(sizes))
