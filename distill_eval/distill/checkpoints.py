"""Checkpoints that are whole: a half-written one never counts, and never replaces a good one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from distill_eval.store import write_atomic

SEAL = "complete.json"
"""Written last, with the size of every other file."""
PREFIX = "checkpoint-"


def seal(folder: Path) -> None:
    """Mark a checkpoint as whole.

    Raises:
        StoreError: the mark cannot be written.
    """
    sizes = {str(file.relative_to(folder)): file.stat().st_size for file in _files(folder)}
    write_atomic(folder / SEAL, json.dumps(sizes, indent=2, sort_keys=True) + "\n")


def is_whole(folder: Path) -> bool:
    """Whether every file that was sealed is there with its size."""
    try:
        sizes = json.loads((folder / SEAL).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return False
    return bool(sizes == {str(file.relative_to(folder)): file.stat().st_size for file in _files(folder)})


def last_whole(output: Path) -> Path | None:
    """The newest whole checkpoint; those that a killed run left half-written are removed."""
    found = sorted((path for path in output.glob(f"{PREFIX}*") if path.is_dir()), key=_step)
    whole = [path for path in found if is_whole(path)]
    for path in found:
        if path not in whole:
            shutil.rmtree(path)
    return whole[-1] if whole else None


def keep_last(output: Path, count: int) -> None:
    """Remove all but the newest whole checkpoints."""
    whole = sorted((path for path in output.glob(f"{PREFIX}*") if is_whole(path)), key=_step)
    for path in whole[: max(0, len(whole) - count)]:
        shutil.rmtree(path)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SEAL)


def _step(folder: Path) -> int:
    number = folder.name.removeprefix(PREFIX)
    return int(number) if number.isdigit() else -1
