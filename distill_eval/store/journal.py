"""A result in the making, kept on disk piece by piece."""

from __future__ import annotations

import json
import logging
import os
import time
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from distill_eval.store.files import JSON, explained, write_synced

CACHE_VARIABLE = "$DISTILL_EVAL_CACHE"
SYNC_SECONDS = 1.0  # what a power cut can cost; a killed process loses nothing

logger = logging.getLogger(__name__)


class Journal:
    """Lets a killed run go on where it stopped. Whoever makes one, as `Store.journal` does, holds a lock meanwhile.

    Attributes:
        finished: The finished entry when there is one: another process may have put it while this one waited.
        done: Index to value, as JSON reads it back: from the interrupted run, and from every `append` since.
    """

    def __init__(
        self,
        path: Path,
        header: Mapping[str, JSON],
        finished: bytes | None = None,
        put: Callable[[bytes], object] | None = None,
        option: str = CACHE_VARIABLE,
    ) -> None:
        """Read what an interrupted run left.

        Args:
            path: Its file, made by the first `append`.
            header: What the values depend on, for `read_header`.
            finished: The finished entry, if there is one.
            put: Keeps a finished entry; without it there is no `finish`.
            option: The option or variable that names another folder, for messages.
        """
        self._path, self._header, self._put, self._option = path, header, put, option
        self._file: BinaryIO | None = None
        self._synced_at = 0.0
        self.finished = finished
        self.done: dict[int, Any] = _read(path, option) if finished is None else {}

    def append(self, values: Mapping[int, JSON]) -> None:
        """Keep these values: safe from a killed process on return, from a power cut a second later.

        Raises:
            StoreError: the cache cannot be written.
        """
        body = _encode({str(index): value for index, value in values.items()})
        with explained(self._path, self._option):
            if self._file is None:
                self._file = self._open()
            self._file.write(_sealed(body))
            self._file.flush()
            if time.monotonic() - self._synced_at >= SYNC_SECONDS:
                os.fsync(self._file.fileno())
                self._synced_at = time.monotonic()
        self.done.update(_indexed(body))

    def finish(self, data: bytes) -> None:
        """Put the finished entry in the journal's place."""
        assert self._put is not None
        self._put(data)
        self.finished = data
        self.close()

    def close(self) -> None:
        """Bring what was appended to the disk; once there is a finished entry, delete the journal."""
        file, self._file = self._file, None
        with explained(self._path, self._option):
            if file is not None:
                with file:
                    file.flush()
                    os.fsync(file.fileno())
            if self.finished is not None:
                self._path.unlink(missing_ok=True)

    def _open(self) -> BinaryIO:
        file = self._path.open("a+b")
        if file.tell() == 0:
            write_synced(file, _sealed(_encode(self._header)))
        else:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")  # ends the line that was cut short
        return file


def _encode(value: JSON) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _sealed(body: bytes) -> bytes:
    """A line of the journal: a checksum, a space, JSON."""
    return b"%08x %s\n" % (zlib.crc32(body), body)


def _indexed(body: bytes) -> dict[int, Any]:
    return {int(index): value for index, value in json.loads(body).items()}


def read_header(path: Path, option: str) -> dict[str, Any] | None:
    """The header of a journal; `None` where there is none, or a killed run did not finish it.

    Args:
        path: The journal's file.
        option: As in `Journal`.
    """
    with explained(path, option, verb="read"):
        try:
            with path.open("rb") as file:
                line = file.readline()
        except FileNotFoundError:
            return None
    header: dict[str, Any] | None = json.loads(line[9:]) if line == _sealed(line[9:-1]) else None
    return header


def _read(path: Path, option: str) -> dict[int, Any]:
    """The values of every undamaged line after the header."""
    with explained(path, option, verb="read"):
        try:
            lines = path.read_bytes().splitlines(keepends=True)[1:]
        except FileNotFoundError:
            return {}
    bodies = [line[9:-1] for line in lines if line == _sealed(line[9:-1])]
    if len(bodies) < len(lines):
        damaged = len(lines) - len(bodies)
        logger.warning("%s: %d damaged or unfinished lines are left out and computed again", path, damaged)
    return {index: value for body in bodies for index, value in _indexed(body).items()}
