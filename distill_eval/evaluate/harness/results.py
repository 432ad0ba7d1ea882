"""From responses to per-document samples and lm-eval's own scores."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from distill_eval.errors import TaskError, boundary
from distill_eval.evaluate.harness.shown import shown
from distill_eval.schema.evals import GroupSpec, MetricKind, MetricRun, MetricSample, Sample

if TYPE_CHECKING:
    from lm_eval.api.group import Group
    from lm_eval.api.instance import Instance
    from lm_eval.api.task import Task

LOGLIKELIHOOD_AGGREGATIONS = frozenset({"perplexity", "weighted_perplexity", "bits_per_byte"})
PER_BYTE = ("byte_perplexity", "bits_per_byte")
PRIMARY_ORDER = (
    "exact_match",
    "acc_norm",
    "acc",
    "f1",
    "mcc",
    "bits_per_byte",
    "byte_perplexity",
    "word_perplexity",
    "perplexity",
)
"""The first of these that a task has carries its verdict; a task with none of them, its first metric."""


def assign(instances: Sequence[Instance], responses: Sequence[Any]) -> None:
    """Give each request its responses, as `lm_eval.evaluate` does after the model has run; `None` is not there yet."""
    for instance in instances:
        instance.resps, instance.filtered_resps = [], {}
    for instance, response in zip(instances, responses, strict=True):
        if response is not None:
            instance.resps.append(tuple(response) if isinstance(response, list) else response)


def score(
    task: Task, num_docs: int, documents: Collection[int] | None = None
) -> tuple[tuple[MetricRun, ...], list[Sample]]:
    """Apply the task's filters and metrics to the responses assigned to it.

    Args:
        task: Its requests have their responses.
        num_docs: Documents that were rendered.
        documents: Which of them count; by default all.

    Returns:
        The task's scores, computed by lm-eval's own aggregation, and its documents in order.
    """
    with _limited(task, documents):
        return _score(task, {i: doc for i, doc in task.doc_iterator(limit=num_docs) if _among(i, documents)})


def _among(document: int, documents: Collection[int] | None) -> bool:
    return documents is None or document in documents


@contextmanager
def _limited(task: Task, documents: Collection[int] | None) -> Iterator[None]:
    """The task with the requests of these documents alone: lm-eval's filters take all that it has."""
    every = task.instances
    if documents is not None:
        task._instances = [instance for instance in every if instance.doc_id in documents]
    try:
        yield
    finally:
        if documents is not None:
            task._instances = every


def _score(task: Task, docs: dict[int, Any]) -> tuple[tuple[MetricRun, ...], list[Sample]]:
    by_doc: dict[int, list[Instance]] = defaultdict(list)
    for instance in task.instances:
        by_doc[instance.doc_id].append(instance)
    raw: dict[tuple[str, str], list[Any]] = defaultdict(list)
    samples: list[Sample] = []
    with boundary(TaskError, f"cannot score task {task.task_name!r}"):
        task.apply_filters()
        per_doc: dict[int, list[MetricSample]] = defaultdict(list)
        for filter_name in task.instances[0].filtered_resps:
            for doc_id, doc in docs.items():
                requests = sorted(by_doc[doc_id], key=lambda request: request.idx)
                filtered = [request.filtered_resps[filter_name] for request in requests]
                metrics = task.process_results(doc, filtered)
                for metric, value in metrics.items():
                    raw[metric, filter_name].append(value)
                per_doc[doc_id].extend(_metric_samples(task, doc, requests, filtered, metrics, filter_name))
        for doc_id, doc in docs.items():
            requests = sorted(by_doc[doc_id], key=lambda request: request.idx)
            samples.append(_sample(task, doc_id, doc, requests, _complete(per_doc[doc_id], raw)))
    return _metric_runs(task, raw), samples


def _sample(
    task: Task, doc_id: int, doc: Any, requests: Sequence[Instance], metrics: tuple[MetricSample, ...]
) -> Sample:
    from lm_eval.utils import handle_non_serializable, hash_string

    offered = num_options(task, doc)
    seen = shown(task.OUTPUT_TYPE, [request.args for request in requests], offered)
    return Sample(
        task=task.task_name,
        doc_id=doc_id,
        doc_hash=hash_string(json.dumps(doc, indent=2, default=handle_non_serializable, ensure_ascii=False)),
        num_options=offered,
        metrics=metrics,
        target=str(task.doc_to_target(doc)),
        responses=tuple(json.dumps(response) for request in requests for response in request.resps),
        prompt=seen.prompt,
        options=seen.options,
    )


def num_options(task: Task, doc: Any) -> int | None:
    """How many answers the document offers, for multiple choice."""
    return len(task.doc_to_choice(doc)) if task.OUTPUT_TYPE == "multiple_choice" else None


def _aggregation(task: Task, metric: str) -> Any:
    from lm_eval.api.metrics import mean

    return task.aggregation().get(metric, mean)


def _kind(task: Task, metric: str, values: Sequence[Any]) -> MetricKind:
    aggregation = getattr(_aggregation(task, metric), "__name__", "")
    if aggregation in LOGLIKELIHOOD_AGGREGATIONS:
        return "loglikelihood"
    numbers = all(isinstance(value, int | float) or hasattr(value, "item") for value in values)
    if aggregation not in ("mean", "nanmean") or not numbers:
        return "corpus"
    return "binary" if all(float(value) in (0.0, 1.0) for value in values) else "real"


def _metric_runs(task: Task, raw: dict[tuple[str, str], list[Any]]) -> tuple[MetricRun, ...]:
    primary = primary_of(list(raw))
    runs = []
    for (metric, filter_name), values in raw.items():
        value, reason = _aggregated(task, metric, values)
        runs.append(
            MetricRun(
                metric=metric,
                filter=filter_name,
                kind=_kind(task, metric, values),
                aggregation=getattr(_aggregation(task, metric), "__name__", "custom"),
                higher_is_better=bool(task.higher_is_better().get(metric, True)),
                value=value,
                value_reason=reason,
                primary=(metric, filter_name) == primary,
            )
        )
    return tuple(runs)


def _aggregated(task: Task, metric: str, values: Sequence[Any]) -> tuple[float | None, str | None]:
    """The score by lm-eval's own aggregation, or why there is none: few documents may hold nothing that it counts."""
    try:
        with boundary(TaskError, "lm-eval's aggregation fails on these documents"):
            value = _aggregation(task, metric)(values)
            number = float(value) if isinstance(value, int | float) or hasattr(value, "item") else None
    except TaskError as error:
        return None, str(error)
    if number is None:
        return None, "lm-eval's aggregation gives no single number"
    if not math.isfinite(number):
        return None, f"lm-eval's aggregation gives {number} on these documents"
    return number, None


def expected_kind(task: Task) -> MetricKind:
    """The kind of the task's primary metric, as far as it can be told before any response is there."""
    primary, _ = primary_of([(metric, "") for metric in task.aggregation()] or [("acc", "")])
    aggregation = getattr(_aggregation(task, primary), "__name__", "")
    if aggregation in LOGLIKELIHOOD_AGGREGATIONS:
        return "loglikelihood"
    if aggregation not in ("mean", "nanmean"):
        return "corpus"
    return "binary" if primary.startswith(("acc", "exact_match")) else "real"


def primary_of(keys: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """The metric and filter that carry a task's verdict."""
    for metric in PRIMARY_ORDER:
        for key in keys:
            if key[0] == metric:
                return key
    return keys[0]


def _metric_samples(
    task: Task,
    doc: Any,
    requests: Sequence[Instance],
    filtered: Sequence[Any],
    metrics: dict[str, Any],
    filter_name: str,
) -> list[MetricSample]:
    samples = []
    for metric, value in metrics.items():
        aggregation = getattr(_aggregation(task, metric), "__name__", "")
        if aggregation in LOGLIKELIHOOD_AGGREGATIONS:
            loglikelihood, weight = value if isinstance(value, tuple | list) else (value, None)
            samples.append(
                MetricSample(
                    metric=metric,
                    filter=filter_name,
                    value=_finite(loglikelihood),
                    num_bytes=_num_bytes(requests[0], metrics),
                    num_words=int(weight) if weight is not None and metric not in PER_BYTE else None,
                )
            )
        elif _kind(task, metric, [value]) == "corpus":
            item = _item(value)
            samples.append(MetricSample(metric=metric, filter=filter_name, value=None, item=item))
        else:
            answer = _answer(task, doc, metric, filtered)
            samples.append(MetricSample(metric=metric, filter=filter_name, value=_finite(value), answer=answer))
    return samples


def _complete(found: Sequence[MetricSample], keys: Iterable[tuple[str, str]]) -> tuple[MetricSample, ...]:
    """One sample per metric and filter: a task may leave out those that a document says nothing about."""
    known = {(sample.metric, sample.filter) for sample in found}
    return *found, *(MetricSample(metric=m, filter=f, value=None) for m, f in keys if (m, f) not in known)


def _finite(value: Any) -> float | None:
    """The number, or `None` for NaN: the document does not count under this metric."""
    number = float(value)
    return number if math.isfinite(number) else None


def _item(value: Any) -> str:
    """The value as JSON, in which NaN is null."""
    text = json.dumps(value, default=lambda x: x.tolist() if hasattr(x, "tolist") else str(x))
    return json.dumps(json.loads(text, parse_constant=lambda name: None))


def _num_bytes(request: Instance, metrics: dict[str, Any]) -> int:
    """Bytes of the scored text: lm-eval's own count where it makes one, else those of the text that was scored."""
    for metric in ("bits_per_byte", "byte_perplexity"):
        if isinstance(metrics.get(metric), tuple | list):
            return int(metrics[metric][1])
    return len(str(request.args[-1]).encode())


def _answer(task: Task, doc: Any, metric: str, filtered: Sequence[Any]) -> str | None:
    """What the model chose, where the metric says how: tells one wrong answer from another."""
    if task.OUTPUT_TYPE == "generate_until":
        return str(filtered[0])
    if task.OUTPUT_TYPE != "multiple_choice" or metric not in ("acc", "acc_norm", "acc_bytes"):
        return None
    choices = task.doc_to_choice(doc)
    lengths = {
        "acc": [1] * len(choices),
        "acc_norm": [len(choice) for choice in choices],
        "acc_bytes": [len(choice.encode()) for choice in choices],
    }[metric]
    scores = [pair[0] / max(length, 1) for pair, length in zip(filtered, lengths, strict=False)]
    return str(max(range(len(scores)), key=lambda i: scores[i]))


def group_specs(groups: dict[str, Group], asked: Sequence[str]) -> tuple[GroupSpec, ...]:
    """The groups that have a score of their own, among those asked for and what they consist of, each once."""
    found: dict[str, Group] = {}
    todo = [groups[name] for name in asked if name in groups]
    while todo:
        group = todo.pop(0)
        todo.extend(group.get_all_groups(recursive=False))
        if group.aggregate_metric_list:
            found.setdefault(group.name, group)
    return tuple(
        GroupSpec(
            group=name,
            tasks=tuple(dict.fromkeys(task.task_name for task in group.get_all_tasks())),
            metrics=tuple(str(entry.metric) for entry in group.aggregate_metric_list or []),
            weight_by_size=all(entry.weight_by_size for entry in group.aggregate_metric_list or []),
        )
        for name, group in found.items()
    )
