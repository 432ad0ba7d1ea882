"""What the prompts of a set of tasks depend on, found without loading their data: the key of a finished evaluation."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from distill_eval.errors import TaskError, boundary

DATA_SUFFIXES = frozenset({".json", ".jsonl", ".parquet", ".arrow", ".csv", ".tsv", ".txt"})


def dataset_revision(path: str) -> str | None:
    """The commit of a data set on the Hub, or in the local cache when the Hub cannot be reached; `None`: not known."""
    from huggingface_hub import HfApi, constants

    try:
        with boundary(TaskError, f"cannot ask the Hub for {path}"):
            sha = HfApi().dataset_info(path, timeout=10).sha
    except TaskError:
        main = Path(constants.HF_HUB_CACHE) / f"datasets--{path.replace('/', '--')}" / "refs" / "main"
        return main.read_text().strip() if main.is_file() else None
    return str(sha) if sha else None


def task_sources(
    configs: Sequence[tuple[Path, dict[str, Any]]], file_digest: Callable[[Path], str]
) -> dict[str, str] | None:
    """Everything that the tasks' prompts and scores are made from, as names to digests or revisions.

    Args:
        configs: Each task's YAML file with its content, functions unresolved.
        file_digest: SHA-256 of a file's content.

    Returns:
        `None` when something cannot be identified (a data set made by code, or of unknown revision).
    """
    sources: dict[str, str] = {}
    folders: set[Path] = set()
    for path, config in configs:
        if config.get("custom_dataset") or config.get("class"):
            return None
        folders.add(path.parent)
        sources[str(path)] = hashlib.sha256(repr(sorted(config.items(), key=lambda item: item[0])).encode()).hexdigest()
        for data in _local_files(config):
            if not data.is_file():
                return None
            sources[str(data)] = file_digest(data)
        dataset = str(config.get("dataset_path") or "")
        if "/" in dataset and not Path(dataset).exists() and dataset not in sources:
            revision = dataset_revision(dataset)
            if revision is None:
                return None
            sources[dataset] = revision
    for folder in sorted(folders):
        for code in sorted(folder.glob("*.py")):
            sources[str(code)] = file_digest(code)
    return sources


def _local_files(config: dict[str, Any]) -> list[Path]:
    """Paths of data files that the task's `dataset_kwargs` name."""
    found: list[Path] = []
    stack: list[Any] = [config.get("dataset_kwargs") or {}]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            stack.extend(value.values())
        elif isinstance(value, list):
            stack.extend(value)
        elif isinstance(value, str) and Path(value).suffix in DATA_SUFFIXES and "://" not in value:
            found.append(Path(value))
    return found
