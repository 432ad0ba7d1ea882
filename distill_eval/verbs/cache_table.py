"""The evaluation cache as a table."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from distill_eval.store import CacheEntry, Store

EVALUATION = "evaluation"
"""A finished evaluation of one model; the other kinds are what it was put together from, and bookkeeping."""


def print_entries(store: Store, console: Console) -> None:
    """One row per cached evaluation, last used first, and the size of everything."""
    entries = sorted(store.entries(), key=lambda entry: -entry.used_at)
    table = Table(title=str(store.root), title_justify="left")
    for heading in ("kind", "model", "tasks", "dtype", "limit", "MB", "last used"):
        table.add_column(heading, justify="right" if heading == "MB" else "left", overflow="fold")
    for entry in entries:
        if entry.kind == EVALUATION or not entry.finished:
            table.add_row(*_row(store, entry))
    console.print(table)
    console.print(f"{len(entries)} entries, {sum(entry.size_bytes for entry in entries) / 1e6:.1f} MB")


def _row(store: Store, entry: CacheEntry) -> list[str]:
    parts = entry.parts
    weights = str(parts.get("weights", ""))
    name = store.get("model", {"weights": weights})
    tasks = parts.get("tasks", parts.get("task", ""))
    return [
        entry.kind if entry.finished else f"{entry.kind} (unfinished)",
        name.decode().rstrip("/").rpartition("/")[2] if name else weights[:12],
        ", ".join(map(str, tasks)) if isinstance(tasks, list) else str(tasks),
        str(parts.get("dtype", "")),
        "all" if parts.get("limit") is None else f"{parts['limit']:g}",
        f"{entry.size_bytes / 1e6:.2f}",
        datetime.fromtimestamp(entry.used_at, UTC).strftime("%Y-%m-%d %H:%M"),
    ]
