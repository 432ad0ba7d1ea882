"""lm-eval's tasks by name, from an index on disk: reading all of its YAML files takes seconds at every start."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lm_eval.tasks import TaskManager

KIND = "task-index"


def task_folder() -> Path:
    """Where the installed lm-eval keeps its tasks (found without importing it)."""
    spec = find_spec("lm_eval")
    if spec is None or spec.origin is None:
        raise ImportError("lm_eval is not installed; pip install lm-eval==0.4.13")
    return Path(spec.origin).parent / "tasks"


def index_parts() -> dict[str, Any]:
    """What the index depends on: lm-eval's version and place, and when each of its task folders last changed."""
    root = task_folder()
    changed = sorted(
        (folder, Path(folder).stat().st_mtime_ns) for folder, _, _ in os.walk(root) if "__pycache__" not in folder
    )
    return {
        "lm_eval": version("lm_eval"),
        "folder": str(root),
        "changed": hashlib.sha256(json.dumps(changed).encode()).hexdigest(),
    }


def open_manager(
    include_path: Path | None,
    get: Callable[[str, dict[str, Any]], bytes | None],
    put: Callable[[str, dict[str, Any], bytes], object],
) -> TaskManager:
    """lm-eval's task manager with every name that it knows; names below `include_path` take precedence, as in lm-eval.

    Args:
        include_path: A folder with the user's own task files.
        get: Reads the stored index (`None`: there is none, or it was damaged).
        put: Stores it.
    """
    from lm_eval.tasks import TaskManager
    from lm_eval.tasks._index import Entry, Kind

    manager = TaskManager(include_defaults=False, include_path=str(include_path) if include_path else None)
    parts = index_parts()
    stored = get(KIND, parts)
    if stored is None:
        stored = json.dumps(_scan()).encode()
        put(KIND, parts, stored)
    for name, (kind, path, tags) in json.loads(stored).items():
        entry = Entry(name=name, kind=Kind[kind], yaml_path=Path(path) if path else None, tags=set(tags))
        known = manager.task_index.setdefault(name, entry)
        if known.kind is Kind.TAG:
            known.tags.update(tags)
    return manager


def _scan() -> dict[str, tuple[str, str | None, list[str]]]:
    """Name to (kind, YAML file, tags), read by lm-eval itself."""
    from lm_eval.tasks._index import TaskIndex

    return {
        name: (entry.kind.name, str(entry.yaml_path) if entry.yaml_path else None, sorted(entry.tags))
        for name, entry in TaskIndex.build([task_folder()]).items()
    }
