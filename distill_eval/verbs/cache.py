"""The verb `cache`: list or prune the evaluation cache."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

from tyro.conf import subcommand

from distill_eval.errors import UsageError, require
from distill_eval.record import record


@record
class CacheListConfig:
    """List what the evaluation cache holds, last used first."""


@record
class CachePruneConfig:
    """Remove results from the cache, those of interrupted runs included."""

    older_than_days: float | None = None
    """Remove what was last used longer ago than this."""
    keep_gb: float | None = None
    """Remove what was last used longest ago until the cache is at most this large (1 GB = 10^9 bytes)."""


@record
class CacheConfig:
    """List or prune the evaluation cache ($DISTILL_EVAL_CACHE, by default ~/.cache/distill-eval)."""

    verb: Annotated[CacheListConfig, subcommand("list")] | Annotated[CachePruneConfig, subcommand("prune")]


def list_entries(config: CacheListConfig, argv: Sequence[str]) -> int:
    """Print what the cache holds."""
    del config, argv
    from rich.console import Console

    from distill_eval.store import Store
    from distill_eval.verbs.cache_table import print_entries

    print_entries(Store(), Console())
    return 0


def prune_entries(config: CachePruneConfig, argv: Sequence[str]) -> int:
    """Remove what was asked for, and print how much that was."""
    del argv
    from distill_eval.store import Store

    days, size = config.older_than_days, config.keep_gb
    if days is None and size is None:
        raise UsageError("cache prune: say what to remove, e.g. --older-than-days 30 or --keep-gb 5")
    require(days is None or days >= 0, f"--older-than-days {days}: expected 0 or more")
    require(size is None or 0 <= size < math.inf, f"--keep-gb {size}: expected 0 or more")
    removed = Store().prune(older_than_days=days, keep_bytes=None if size is None else int(size * 1e9))
    print(f"Removed {len(removed)} entries, {sum(entry.size_bytes for entry in removed) / 1e6:.1f} MB")
    return 0
