"""From names to lm-eval tasks with their rendered requests, refusing early what cannot be scored."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from distill_eval.errors import TaskError, boundary, unknown

if TYPE_CHECKING:
    from lm_eval.api.group import Group
    from lm_eval.api.instance import Instance
    from lm_eval.api.task import Task
    from lm_eval.tasks import TaskManager

PYTHON_SEED = 0
"""lm-eval's own default for Python's `random`, which few tasks use outside their few-shot sampler."""


class TaskOptions(NamedTuple):
    """What the user may change about a task."""

    num_fewshot: int | None
    limit: float | None
    seed: int
    trust_remote_code: bool = False
    confirm_run_unsafe_code: bool = False


class Loaded(NamedTuple):
    """The leaf tasks and the groups that were asked for, by name."""

    tasks: dict[str, Task]
    groups: dict[str, Group]


class Built(NamedTuple):
    """One task's requests, rendered."""

    instances: list[Instance]
    """In lm-eval's order, repeats included."""
    num_docs: int
    num_docs_total: int
    prompts_digest: str
    num_chars: int
    """Characters of all requests: what the time to score them goes by, roughly."""


def matching(manager: TaskManager, patterns: Sequence[str]) -> tuple[str, ...]:
    """The tasks, groups and tags of these names; `*` and `?` stand for any characters, as in lm-eval.

    Raises:
        TaskError: a name is unknown (the nearest ones are offered), or nothing matches a pattern.
    """
    names: list[str] = []
    for pattern in patterns:
        found = sorted(fnmatch.filter(manager.task_index, pattern)) if set("*?[") & set(pattern) else [pattern]
        if not found or found[0] not in manager.task_index:
            unknown("task", pattern, manager.task_index, error=TaskError)
        names += found
    return tuple(dict.fromkeys(names))


def yaml_configs(manager: TaskManager, names: Sequence[str]) -> list[tuple[Path, dict[str, Any]]]:
    """The YAML file and content of each task and group that the names stand for, functions unresolved."""
    from lm_eval.tasks._yaml_loader import load_yaml

    entries = (manager.task_index[below] for name in names for below in _below(manager, name))
    paths = dict.fromkeys(entry.yaml_path for entry in entries if entry.yaml_path)
    return [(path, load_yaml(path, resolve_func=False)) for path in paths]


def load_tasks(manager: TaskManager, names: Sequence[str], options: TaskOptions) -> Loaded:
    """Load the tasks, groups and tags by name, with lm-eval's own overrides for few-shot and seed.

    Raises:
        TaskError: a name is unknown (the nearest is offered), a member's data cannot be had (it is named, with the
            members that work), or the task would run code that was not allowed.
    """
    tasks: dict[str, Task] = {}
    groups: dict[str, Group] = {}
    seed_everything(options.seed)
    names = matching(manager, names)
    _refuse_code(yaml_configs(manager, names), options)
    for name in names:
        loaded = _load_one(manager, name)
        for twice in tasks.keys() & loaded["tasks"].keys():
            if tasks[twice].dump_config() != loaded["tasks"][twice].dump_config():
                raise TaskError(f"{name!r} changes settings of {twice!r}, which is asked for too: compare them apart")
        tasks.update(loaded["tasks"])
        groups.update(loaded.get("groups", {}))
    for task in tasks.values():
        _apply(task, options)
    return Loaded(tasks, groups)


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch as `lm_eval run --seed 0,N,N,N` does."""
    import numpy as np
    import torch

    random.seed(PYTHON_SEED)
    np.random.seed(seed)  # lm-eval's tasks draw from the global generator
    torch.manual_seed(seed)


def leaf_names(manager: TaskManager, name: str) -> list[str]:
    """Names of the tasks that a task, tag or group stands for (those that the index knows)."""
    from lm_eval.tasks._index import Kind

    return [below for below in _below(manager, name) if manager.task_index[below].kind is not Kind.GROUP]


def _below(manager: TaskManager, name: str) -> list[str]:
    """The task or group itself, and every task and group inside it; a tag stands for its tasks."""
    from lm_eval.tasks._index import Kind
    from lm_eval.tasks._yaml_loader import load_yaml

    entry = manager.task_index.get(name)
    if entry is None:
        return []
    if entry.kind is Kind.TAG:
        return list(dict.fromkeys(below for task in sorted(entry.tags) for below in _below(manager, task)))
    found = [name]
    if entry.kind is Kind.GROUP and entry.yaml_path is not None:
        members = load_yaml(entry.yaml_path, resolve_func=False).get("task")
        for member in _members(manager, members):
            found += _below(manager, member) if member != name else []
    return list(dict.fromkeys(found))


def _members(manager: TaskManager, value: Any) -> list[str]:
    """Names in a group's `task` field: plain ones, tasks with settings of their own, and groups written inline."""
    if isinstance(value, list):
        return [name for item in value for name in _members(manager, item)]
    if isinstance(value, dict):
        inner = value.get("group")
        return [str(inner)] if inner in manager.task_index else _members(manager, value.get("task"))
    return [value] if isinstance(value, str) else []


def _refuse_code(configs: Sequence[tuple[Path, dict[str, Any]]], options: TaskOptions) -> None:
    """Refuse a task that runs generated code or a data set's own loading code, before any of it is imported."""
    for path, config in configs:
        name = config.get("task") if isinstance(config.get("task"), str) else path.stem
        if config.get("unsafe_code") and not options.confirm_run_unsafe_code:
            raise TaskError(
                f"task {name!r} runs code that the model writes. Allow it with --confirm-run-unsafe-code, in a sandbox"
            )
        if (config.get("dataset_kwargs") or {}).get("trust_remote_code") and not options.trust_remote_code:
            raise TaskError(
                f"task {name!r} loads its data set with code from the Hub. Allow it with --trust-remote-code"
            )


def _load_one(manager: TaskManager, name: str) -> dict[str, Any]:
    members = leaf_names(manager, name)
    if members == [name]:
        with boundary(TaskError, f"cannot load the data of task {name!r}"):
            return dict(manager.load([name]))
    try:
        with boundary(TaskError, name):
            return dict(manager.load([name]))
    except TaskError as error:
        failures = {member: why for member in members if (why := _failure(manager, member))}
        if not failures:
            raise
        good = [member for member in members if member not in failures]
        first = next(iter(failures))
        raise TaskError(
            f"{name!r}: cannot load {', '.join(failures)} ({failures[first].removeprefix(first + ': ')}). "
            + (f"Its other members work: --tasks {','.join(good)}" if good else "None of its members can be loaded")
        ) from error


def _failure(manager: TaskManager, member: str) -> str | None:
    try:
        with boundary(TaskError, member):
            manager.load([member])
    except TaskError as error:
        return str(error)
    return None


def _apply(task: Task, options: TaskOptions) -> None:
    """lm-eval's rules: a task's own 0 shots stay 0; no default means 0; the sampler gets the seed."""
    if getattr(task, "MULTIMODAL", False):
        raise TaskError(f"task {task.task_name!r} needs images or audio, which text models do not take")
    own = task.get_config("num_fewshot")
    if options.num_fewshot is not None and own != 0:
        task.set_config(key="num_fewshot", value=options.num_fewshot)
    elif own is None:
        task.set_config(key="num_fewshot", value=0)
    task.set_fewshot_seed(seed=options.seed)


def sample_size(limit: float | None, num_docs_total: int) -> int:
    """Documents that `--limit` leaves, as lm-eval rounds it: below 1 it is a fraction, rounded up."""
    if limit is None:
        return num_docs_total
    return min(num_docs_total, math.ceil(num_docs_total * limit) if limit < 1 else int(limit))


def build(
    task: Task, options: TaskOptions, *, chat_template: Callable[..., str] | None = None, tokenizer_name: str = ""
) -> Built:
    """Render the task's requests, with the model's chat template if one is given.

    Raises:
        TaskError: the task has no documents, or its prompts cannot be rendered.
    """
    name = task.task_name
    total = len(task.eval_docs)
    if total == 0:
        raise TaskError(f"task {name!r} has no documents")
    task.set_fewshot_seed(seed=options.seed)
    with boundary(TaskError, f"cannot render the prompts of task {name!r}"):
        task.build_all_requests(
            limit=sample_size(options.limit, total),
            apply_chat_template=chat_template is not None,
            fewshot_as_multiturn=chat_template is not None,
            chat_template=chat_template,
            tokenizer_name=tokenizer_name,
        )
    instances = [instance for instance in task.instances for _ in range(instance.repeats or 1)]
    num_chars = sum(len(str(instance.args[0])) for instance in instances)
    return Built(instances, len({i.doc_id for i in instances}), total, prompts_digest(instances), num_chars)


def prompts_digest(instances: Sequence[Instance]) -> str:
    """SHA-256 over every request: its document, its kind and its exact texts."""
    digest = hashlib.sha256()
    for instance in instances:
        line = [instance.doc_id, instance.idx, instance.request_type, list(instance.args)]
        digest.update(json.dumps(line, sort_keys=True, default=str).encode())
    return digest.hexdigest()


def dataset_name(task: Task) -> str | None:
    """The task's data set as `path:configuration`, if it has one by name."""
    path, name = getattr(task, "DATASET_PATH", None), getattr(task, "DATASET_NAME", None)
    if not path or Path(str(path)).is_absolute():
        return str(Path(str(path)).name) if path else None
    return f"{path}:{name}" if name else str(path)
