"""One file of a cached teacher: the kept rows of some consecutive blocks, each block compressed by itself.

    magic, number of blocks n | n times (bytes, rows) of each block | the blocks' bytes, one after the other

All numbers are unsigned 32-bit, little-endian. A block is read alone, so that shuffled batches cost what they use.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from distill_eval.checkpoint import file_digest

MAGIC = b"DEVROWS1"
_COUNT = struct.Struct("<I")


def join(blocks: Sequence[tuple[bytes, int]]) -> bytes:
    """The content of a file.

    Args:
        blocks: Bytes and number of rows of each.
    """
    sizes = np.array([(len(data), num_rows) for data, num_rows in blocks], dtype="<u4")
    return b"".join([MAGIC, _COUNT.pack(len(blocks)), sizes.tobytes(), *(data for data, _ in blocks)])


def damage(path: Path, *, size_bytes: int, sha256: str) -> str | None:
    """What is wrong with a file; `None`: it is there and has the content that was written."""
    if not path.is_file():
        return "it is missing"
    size = path.stat().st_size
    if size != size_bytes:
        return f"it has {size} bytes instead of {size_bytes}"
    return None if file_digest(path) == sha256 else "its content does not match its checksum"


class ShardReader:
    """Blocks of one file, which has been found undamaged."""

    def __init__(self, path: Path) -> None:
        """Read the head.

        Args:
            path: A file that holds what `join` made.
        """
        self._path = path
        with path.open("rb") as file:
            head = file.read(len(MAGIC) + _COUNT.size)
            (count,) = _COUNT.unpack(head[len(MAGIC) :])
            sizes = np.frombuffer(file.read(count * 8), dtype="<u4").reshape(count, 2).astype(np.int64)
        self._starts = len(head) + count * 8 + np.concatenate([[0], np.cumsum(sizes[:, 0])])
        self._rows = sizes[:, 1]

    def block(self, number: int) -> tuple[bytes, int]:
        """Bytes and number of rows of a block, counted from the first one of this file."""
        start, end = int(self._starts[number]), int(self._starts[number + 1])
        with self._path.open("rb") as file:
            file.seek(start)
            return file.read(end - start), int(self._rows[number])
