"""Files that appear whole or not at all, and disk errors that say what to do."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeAlias

from filelock import FileLock, Timeout

from distill_eval.errors import StoreError, UsageError

JSON: TypeAlias = "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"

TEMPORARY = ".tmp-"
FOLDER_LOCK = ".lock"
OUTPUT_OPTION = "--output-dir"


def digest(parts: Mapping[str, JSON]) -> str:
    """SHA-256, in hex, of the parts as canonical JSON: sorted keys, no spaces, UTF-8.

    Raises:
        ValueError: a number is NaN or infinite, and so has no JSON.
    """
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@contextmanager
def explained(path: Path, option: str, *, verb: str = "write") -> Iterator[None]:
    """Turn an operating system error into a StoreError that names the path and the option that replaces it."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        advice = f"Free space or mend the folder's permissions, or name another folder with {option}"
        raise StoreError(f"cannot {verb} {path}: {reason}. {advice}") from error


def write_synced(file: BinaryIO, data: bytes) -> None:
    """Write the data and wait until it is on the disk."""
    file.write(data)
    file.flush()
    os.fsync(file.fileno())


def write_atomic(path: Path, data: bytes | str, *, option: str = OUTPUT_OPTION) -> None:
    """Write a file so that it appears whole or not at all; missing folders are made, an existing file is replaced.

    Args:
        data: Text is written as UTF-8.
        option: The option or variable that names another folder, for the message.

    Raises:
        StoreError: the folder cannot be written, or the disk is full. Nothing is left behind.
    """
    temporary = path.parent / f"{TEMPORARY}{uuid.uuid4().hex}"
    with explained(path, option):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as file:
                write_synced(file, data.encode() if isinstance(data, str) else data)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def check_folder(folder: Path) -> None:
    """Refuse an output folder that cannot be written, before hours of work.

    Raises:
        UsageError: it is a file.
        StoreError: it cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{OUTPUT_OPTION} {folder} is a file; name a folder")
    probe = folder / ".distill-eval-write-test"
    write_atomic(probe, "")
    probe.unlink()


def remove(files: Sequence[Path]) -> None:
    """Remove what an earlier run left in an output folder.

    Raises:
        StoreError: it cannot be removed.
    """
    for path in files:
        with explained(path, OUTPUT_OPTION, verb="remove"):
            path.unlink(missing_ok=True)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Work in an output folder, which is made, while no other process does.

    Raises:
        StoreError: another process has it, or it cannot be written.
    """
    lock = FileLock(folder / FOLDER_LOCK)
    with explained(folder, OUTPUT_OPTION):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise StoreError(f"another process is writing {folder}: wait for it, or name another folder") from error
    try:
        yield
    finally:
        lock.release()
