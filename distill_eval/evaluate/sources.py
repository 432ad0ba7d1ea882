"""What the prompts of a set of tasks depend on, found without loading their data: the key of a finished evaluation."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from distill_eval.errors import TaskError, boundary

BUILDERS = frozenset({"json", "csv", "parquet", "arrow", "text"})
"""Names that `datasets.load_dataset` takes for readers of local files, not for data sets on the Hub."""


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
        configs: Each task's and group's YAML file with its content, functions unresolved.
        file_digest: SHA-256 of a file's content.

    Returns:
        `None` when something cannot be identified: data that code makes, a local folder, a URL, an unknown revision.
    """
    sources: dict[str, str] = {}
    code: set[Path] = set()
    for path, config in configs:
        sources[str(path)] = hashlib.sha256(repr(sorted(config.items(), key=lambda item: item[0])).encode()).hexdigest()
        code.update(path.parent.glob("*.py"))
        for node in _nodes(config):
            if isinstance(node, str):
                code.update(_beside(node))
            elif isinstance(node, dict):
                data = _data(node, file_digest, sources)
                if data is None:
                    return None
                sources.update(data)
    return sources | {str(file): file_digest(file) for file in sorted(code)}


def _data(config: dict[str, Any], file_digest: Callable[[Path], str], known: dict[str, str]) -> dict[str, str] | None:
    """The data that one task's YAML names; a group's inner tasks are configs of their own."""
    if config.get("custom_dataset") or config.get("class"):
        return None
    dataset = config.get("dataset_path")
    if dataset is None:
        return {}
    dataset = str(dataset)
    texts = [text for text in _nodes(config.get("dataset_kwargs") or {}) if isinstance(text, str)]
    files = {text: file_digest(Path(text)) for text in texts if _is_file(Path(text))}
    if dataset in BUILDERS:
        return files if texts and len(files) == len(set(texts)) else None
    if Path(dataset).exists() or any("://" in text or Path(text).is_dir() for text in texts):
        return None
    revision = known.get(dataset) or dataset_revision(dataset)
    return None if revision is None else files | {dataset: revision}


def _nodes(value: Any) -> Iterator[Any]:
    """The value and everything inside it."""
    yield value
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _nodes(inner)


def _beside(function: str) -> list[Path]:
    """The Python files beside a `!function` of a YAML file, which is kept as FOLDER/MODULE.NAME; else none."""
    module = Path(f"{function.rpartition('.')[0]}.py")
    return list(module.parent.glob("*.py")) if module.is_absolute() and _is_file(module) else []


def _is_file(path: Path) -> bool:
    """A prompt that looks like a path may be longer than a path can be."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
