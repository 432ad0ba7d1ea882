"""How large tasks are before a model is there: documents, and the tokens of their requests for a tokenizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill_eval.record import record
from distill_eval.schema.evals import MetricKind

if TYPE_CHECKING:
    from distill_eval.store import Store

SEED = 1234
"""Of the few-shot sampler, as in `compare`."""


@record
class TaskSize:
    """One task, not a group."""

    num_docs: int
    """That the tokens are of."""
    num_docs_total: int
    num_fewshot: int
    kind: MetricKind
    """Of the metric that carries the verdict."""
    num_tokens: int | None
    """That one model reads if every request is read whole; `None` without a tokenizer."""
    num_shared_tokens: int | None
    """The same where a common beginning is read once, as `compare` does."""
    num_new_tokens: int | None
    """That one model writes at most."""


class Tasks:
    """lm-eval's tasks by name, with the user's own."""

    def __init__(self, store: Store, include_path: Path | None = None) -> None:
        """Read the index of names; no data.

        Args:
            store: Keeps the index.
            include_path: A folder with the user's task files, which take precedence.
        """
        from distill_eval.evaluate.harness import index

        self._include_path = include_path
        self._manager: Any = index.open_manager(include_path, store.get, store.put)

    def leaves(self, name: str) -> tuple[str, ...]:
        """The tasks that a name, a group, a tag or a pattern stands for.

        Raises:
            TaskError: the name is unknown; the nearest ones are offered.
        """
        from distill_eval.evaluate.harness import tasks

        found = tasks.matching(self._manager, [name])
        return tuple(dict.fromkeys(leaf for one in found for leaf in tasks.leaf_names(self._manager, one)))

    def is_own(self, leaf: str) -> bool:
        """Whether a task is one of the user's files."""
        path = self._manager.task_index[leaf].yaml_path
        return self._include_path is not None and path is not None and path.is_relative_to(self._include_path.resolve())

    def sizes(
        self, names: Sequence[str], *, limit: float | None = None, tokenizer: Any = None, max_length: int = 0
    ) -> Mapping[str, TaskSize]:
        """Load the data of tasks and render their requests; by task.

        Args:
            names: Of tasks.
            limit: As `compare --limit`.
            tokenizer: Of transformers; `None` counts no tokens.
            max_length: Tokens that its model reads at once.

        Raises:
            TaskError: the data of a task cannot be had, or it runs code.
        """
        from distill_eval.evaluate.harness import tasks

        options = tasks.TaskOptions(num_fewshot=None, limit=limit, seed=SEED)
        loaded = tasks.load_tasks(self._manager, names, options)
        return {name: _size(task, options, tokenizer, max_length) for name, task in loaded.tasks.items()}


def _size(task: Any, options: Any, tokenizer: Any, max_length: int) -> TaskSize:
    from distill_eval.evaluate.harness import counting, results, tasks

    built = tasks.build(task, options)
    counted = None if tokenizer is None else counting.count(built.instances, tokenizer, max_length=max_length)
    return TaskSize(
        num_docs=built.num_docs,
        num_docs_total=built.num_docs_total,
        num_fewshot=int(task.get_config("num_fewshot") or 0),
        kind=results.expected_kind(task),
        num_tokens=counted and counted.num_tokens,
        num_shared_tokens=counted and counted.num_shared_tokens,
        num_new_tokens=counted and counted.num_new_tokens,
    )
