"""The cache below one folder."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import time
import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from distill_eval.errors import ArtifactError, boundary
from distill_eval.record import record
from distill_eval.store.files import JSON, TEMPORARY, digest, explained, write_atomic
from distill_eval.store.journal import CACHE_VARIABLE, Journal

ENTRY, JOURNAL, LOCK = ".entry", ".journal", ".lock"
DAY_SECONDS = 86_400
HUB_BLOB = re.compile(r"blobs/[0-9a-f]{64}")

logger = logging.getLogger(__name__)


def default_root() -> Path:
    """`$DISTILL_EVAL_CACHE`, else `$XDG_CACHE_HOME/distill-eval`, else `~/.cache/distill-eval`."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get(CACHE_VARIABLE.removeprefix("$")) or f"{base}/distill-eval").expanduser()


@record
class CacheEntry:
    """One file of the cache, for listing and pruning."""

    kind: str
    key: str
    parts: dict[str, Any]
    """What the key is the digest of; empty where the file's first line is damaged."""
    size_bytes: int
    used_at: float
    """When it was last written or read, in seconds since the epoch."""
    finished: bool
    """False for the journal of a run that was interrupted or is still going on."""


class Store:
    """The cache below one folder; any number of processes may use it at the same time."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or default_root()

    def put(self, kind: str, parts: Mapping[str, JSON], data: bytes) -> str:
        """Keep a finished result; returns its key.

        Raises:
            StoreError: the cache cannot be written.
        """
        key = digest(parts)
        header = {"kind": kind, "key": key, "parts": parts, "sha256": hashlib.sha256(data).hexdigest()}
        content = json.dumps(header).encode() + b"\n" + zlib.compress(data)
        write_atomic(self._path(kind, key, ENTRY), content, option=CACHE_VARIABLE)
        return key

    def get(self, kind: str, parts: Mapping[str, JSON]) -> bytes | None:
        """The finished result, or `None` when there is none; a damaged one is said, removed, and counts as none.

        Raises:
            StoreError: the cache cannot be read.
        """
        key = digest(parts)
        path = self._path(kind, key, ENTRY)
        with explained(path, CACHE_VARIABLE, verb="read"):
            try:
                data = _unpack(path.read_bytes(), key)
            except FileNotFoundError:
                return None
            except (ValueError, KeyError, TypeError, zlib.error) as error:
                logger.warning("%s is damaged (%s): removed, and computed again", path, error)
                path.unlink(missing_ok=True)
                return None
        with suppress(OSError):  # the cache may be read-only
            os.utime(path)
        return data

    @contextmanager
    def journal(self, kind: str, parts: Mapping[str, JSON]) -> Iterator[Journal]:
        """Work on a result alone: waits, with a line in the log, while another process works on the same one.

        Look at `Journal.finished` first, then at `Journal.done`.

        Raises:
            StoreError: the cache cannot be written.
        """
        with self._locked(kind, digest(parts), wait_for=_summary(kind, parts)), self._opened(kind, parts) as journal:
            yield journal

    @contextmanager
    def try_journal(self, kind: str, parts: Mapping[str, JSON]) -> Iterator[Journal | None]:
        """The same as `journal`, but yields `None` at once while another process works on the result."""
        with self._locked(kind, digest(parts)) as held:
            if not held:
                yield None
                return
            with self._opened(kind, parts) as journal:
                yield journal

    def entries(self) -> list[CacheEntry]:
        """Everything in the cache, by kind and key."""
        found = []
        for path in sorted(self.root.glob("*/*")):
            if path.suffix in (ENTRY, JOURNAL):
                with suppress(FileNotFoundError):  # another process finished or pruned it just now
                    found.append(_describe(path))
        return found

    def prune(
        self, *, older_than_days: float | None, keep_bytes: int | None, kinds: Collection[str] | None = None
    ) -> list[CacheEntry]:
        """Remove what was not used for that long, then the least recently used until at most `keep_bytes` are left.

        Args:
            older_than_days: Age limit in days since the last use; `None` is no limit.
            keep_bytes: Size limit over the kinds looked at; `None` is no limit.
            kinds: Look at these kinds alone; `None` is all.

        Returns:
            What was removed. What another process works on stays.
        """
        entries = [entry for entry in self.entries() if kinds is None or entry.kind in kinds]
        left_bytes = sum(entry.size_bytes for entry in entries)
        oldest = 0.0 if older_than_days is None else time.time() - older_than_days * DAY_SECONDS
        removed = []
        for entry in sorted(entries, key=lambda entry: entry.used_at):
            too_much = keep_bytes is not None and left_bytes > keep_bytes
            if (entry.used_at < oldest or too_much) and self._remove(entry):
                removed.append(entry)
                left_bytes -= entry.size_bytes
        self._tidy()
        return removed

    def file_digest(self, path: Path) -> str:
        """SHA-256, in hex, of a file's content; read once, and again when its size, time or inode changes.

        A file of the Hub's cache whose blob is named by its SHA-256 is taken at its name.

        Raises:
            ArtifactError: the file cannot be read.
        """
        with boundary(ArtifactError, f"cannot read {path}"):
            real = path.resolve(strict=True)
            if path.is_symlink() and HUB_BLOB.fullmatch(f"{real.parent.name}/{real.name}"):
                return real.name
            stat = real.stat()
            parts: dict[str, JSON] = {"path": str(real), "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
            parts["inode"] = stat.st_ino
            known = self.get("file-digest", parts)
            if known is None:
                with real.open("rb") as file:
                    known = hashlib.file_digest(file, "sha256").hexdigest().encode()
                self.put("file-digest", parts, known)
            return known.decode()

    def _path(self, kind: str, key: str, suffix: str) -> Path:
        return self.root / kind / f"{key}{suffix}"

    def _opened(self, kind: str, parts: Mapping[str, JSON]) -> closing[Journal]:
        key = digest(parts)
        header: dict[str, JSON] = {"kind": kind, "key": key, "parts": parts}
        finished = self.get(kind, parts)
        return closing(
            Journal(self._path(kind, key, JOURNAL), header, finished, lambda data: self.put(kind, parts, data))
        )

    @contextmanager
    def _locked(self, kind: str, key: str, *, wait_for: str | None = None) -> Iterator[bool]:
        """Hold the key's lock; yields False, without it, when another process has it and there is no `wait_for`."""
        path = self._path(kind, key, LOCK)
        lock = FileLock(path)
        with explained(path, CACHE_VARIABLE):
            path.parent.mkdir(parents=True, exist_ok=True)
            held = _acquire(lock, wait_for)
        try:
            yield held
        finally:
            if held:
                path.unlink(missing_ok=True)  # before the release: filelock makes a waiter on the old file try again
                lock.release()

    def _remove(self, entry: CacheEntry) -> bool:
        path = self._path(entry.kind, entry.key, ENTRY if entry.finished else JOURNAL)
        with self._locked(entry.kind, entry.key) as held, explained(path, CACHE_VARIABLE):
            if held:
                path.unlink(missing_ok=True)
        return held

    def _tidy(self) -> None:
        """Remove what killed processes left: locks that nobody holds, and temporary files older than a day."""
        for path in self.root.glob(f"*/*{LOCK}"):
            with self._locked(path.parent.name, path.stem):
                continue  # leaving the lock removes its file
        for path in self.root.glob(f"*/{TEMPORARY}*"):
            with suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > DAY_SECONDS:
                    path.unlink()


def _acquire(lock: FileLock, wait_for: str | None) -> bool:
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if wait_for is None:
            return False
        logger.warning("waiting for another process that works on %s", wait_for)
        lock.acquire()
    return True


def _summary(kind: str, parts: Mapping[str, JSON]) -> str:
    """The kind and the short texts among the parts: enough to recognize a result."""
    texts = [f"{name}={value}" for name, value in parts.items() if isinstance(value, str) and len(value) < 60]
    return " ".join([kind, *texts])


def _unpack(content: bytes, key: str) -> bytes:
    head, _, body = content.partition(b"\n")
    header, data = json.loads(head), zlib.decompress(body)
    if digest(header["parts"]) != key or hashlib.sha256(data).hexdigest() != header["sha256"]:
        raise ValueError("its content does not match its digest")
    return data


def _describe(path: Path) -> CacheEntry:
    stat = path.stat()
    with path.open("rb") as file:
        first = file.readline()
    try:
        parts = json.loads(first[first.find(b"{") :])["parts"]  # a journal's line starts with its checksum
    except (ValueError, KeyError, TypeError):
        parts = {}
    finished = path.suffix == ENTRY
    return CacheEntry(
        kind=path.parent.name,
        key=path.stem,
        parts=parts,
        size_bytes=stat.st_size,
        used_at=stat.st_mtime,
        finished=finished,
    )
