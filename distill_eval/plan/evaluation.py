"""What it takes to evaluate a teacher and its student on tasks, and the smallest drop that this can show."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from distill_eval.evaluate.sizes import TaskSize
from distill_eval.plan.flops import forward_flops
from distill_eval.record import from_table, record
from distill_eval.schema.evals import MetricKind
from distill_eval.schema.plan import Figure, Hardware, ModelSizes, TaskPlan

MEASURED = "measured with lm-eval 0.4.13 and SmolLM2's tokenizer (plan/tasks.toml); another tokenizer makes others"


@record
class _Table:
    groups: dict[str, tuple[str, ...]]
    """A group's tasks."""
    tasks: dict[str, TaskSize]


class Asked(NamedTuple):
    """A task or a group that will be compared."""

    name: str
    members: Mapping[str, TaskSize]
    """The tasks of a group by name; of a task itself alone."""
    source: str
    """How documents and tokens are known."""
    reason: str | None = None
    """Why tokens are not."""


class Rate(NamedTuple):
    """How fast this machine scores."""

    here: Hardware
    share: float
    """Of its peak that scoring reaches."""
    low: float | None
    high: float | None
    source: str


@cache
def _table() -> _Table:
    text = files("distill_eval.plan").joinpath("tasks.toml").read_text(encoding="utf-8")
    return from_table(_Table, tomllib.loads(text), source="tasks.toml")


def well_known(name: str) -> Mapping[str, TaskSize] | None:
    """The members of a task or a group of the table; `None` for any other."""
    known = _table()
    leaves = known.groups.get(name, (name,))
    return {leaf: known.tasks[leaf] for leaf in leaves} if set(leaves) <= known.tasks.keys() else None


def task_plans(
    asked: Sequence[Asked],
    *,
    teacher: ModelSizes,
    student: ModelSizes,
    limit: float | None,
    detect: float | None,
    level: float,
    rate: Rate | None,
) -> tuple[TaskPlan, ...]:
    """A plan for each task or group that was asked for.

    Args:
        asked: With their documents and tokens.
        teacher: Its sizes.
        student: Of the proposed one.
        limit: As `compare --limit`: documents of each task.
        detect: The drop that must be found.
        level: Confidence level of the test, as `compare --level`.
        rate: Of this machine; `None` where it is not measured.
    """
    return tuple(_plan(one, teacher, student, limit, detect, level, rate) for one in asked)


def _plan(
    one: Asked,
    teacher: ModelSizes,
    student: ModelSizes,
    limit: float | None,
    detect: float | None,
    level: float,
    rate: Rate | None,
) -> TaskPlan:
    from distill_eval.compare import planned_power
    from distill_eval.evaluate.harness.tasks import sample_size

    totals = {name: size.num_docs_total for name, size in one.members.items()}
    num_docs = sum(sample_size(limit, total) for total in totals.values())
    kind = next(iter(one.members.values())).kind
    power = planned_power(num_docs, kind=kind, level=level)
    needed, why_not = _limit_to_detect(detect, totals, kind, level)
    tokens = _tokens(one, limit)
    return TaskPlan(
        task=one.name,
        num_docs=num_docs,
        num_docs_total=sum(totals.values()),
        num_docs_each=tuple(totals.values()),
        num_tokens=tokens,
        seconds=_seconds(tokens, num_docs, teacher, student, rate),
        detectable_drop=power.planned_detectable_drop,
        limit_to_detect=needed,
        reason="; ".join(dict.fromkeys(filter(None, (power.reason, why_not)))) or None,
    )


# ---- how many documents


def docs_to_detect(drop: float, *, kind: MetricKind, level: float) -> int | None:
    """The fewest documents with which the paired test finds such a drop with its customary power.

    `None` where the metric's spread is not known before, or the drop is above what models are taken to disagree on.
    """
    from distill_eval.compare import planned_power

    def finds(num_docs: int) -> bool:
        found = planned_power(num_docs, kind=kind, level=level).planned_detectable_drop
        return found is not None and found <= drop

    most = 1
    while not finds(most):
        most *= 2
        if most > _MOST:
            return None
    least = most // 2
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (least, middle) if finds(middle) else (middle, most)
    return most


_MOST = 1 << 40
"""Documents that no task has."""


def _limit_to_detect(
    drop: float | None, totals: Mapping[str, int], kind: MetricKind, level: float
) -> tuple[int | None, str | None]:
    """The --limit with which a task, or a group's tasks together, have enough documents, else why there is none."""
    if drop is None:
        return None, None
    needed = docs_to_detect(drop, kind=kind, level=level)
    if needed is None:
        return None, f"no number of documents is known to show a drop of {drop:g}"
    if needed > sum(totals.values()):
        return (
            None,
            f"too few documents: a drop of {drop:g} needs {needed:,}, and the task has {sum(totals.values()):,}",
        )
    least, most = 0, max(totals.values())
    while most - least > 1:
        middle = (least + most) // 2
        enough = sum(min(middle, total) for total in totals.values()) >= needed
        least, most = (least, middle) if enough else (middle, most)
    return most, None


# ---- tokens and time


def _tokens(one: Asked, limit: float | None) -> Figure:
    """Tokens that one model reads; up to all those that it may write too."""
    from distill_eval.evaluate.harness.tasks import sample_size

    read, whole, new = 0.0, 0.0, 0.0
    scaled = False
    for size in one.members.values():
        if size.num_shared_tokens is None or size.num_tokens is None or size.num_new_tokens is None:
            source = one.reason or "not counted"
            return Figure(
                name=f"evaluation.{one.name}.tokens", value=None, unit="tokens", basis="estimate", source=source
            )
        num_docs = sample_size(limit, size.num_docs_total)
        share, scaled = num_docs / size.num_docs, scaled or num_docs != size.num_docs
        read += share * size.num_shared_tokens
        whole += share * size.num_tokens
        new += share * size.num_new_tokens
    source = f"what requests begin with alike is read once; {whole:,.0f} without that. {one.source}"
    source += "; the limit's share of all documents'" if scaled else ""
    source += f"; and it writes up to {new:,.0f}, the upper end" if new else ""
    return Figure(
        name=f"evaluation.{one.name}.tokens",
        value=float(round(read)),
        low=float(round(read)) if new else None,
        high=float(round(read + new)) if new else None,
        unit="tokens",
        basis="estimate",
        source=source,
    )


def _seconds(tokens: Figure, num_docs: int, teacher: ModelSizes, student: ModelSizes, rate: Rate | None) -> Figure:
    """Of both models; of what they write nothing, which is bound by memory and not by operations."""

    def figure(value: float | None, source: str, low: float | None = None, high: float | None = None) -> Figure:
        name = tokens.name.replace(".tokens", ".seconds")
        return Figure(name=name, value=value, unit="s", low=low, high=high, basis="estimate", source=source)

    if tokens.value is None:
        return figure(None, tokens.source)
    if rate is None:
        return figure(None, "this machine was not measured")
    length = tokens.value / num_docs
    flops = tokens.value * (forward_flops(teacher, length) + forward_flops(student, length))
    peak = rate.here.flops * rate.here.num_devices
    rest = " Without the tokens that they write, one after the other" if tokens.high is not None else ""
    source = f"the forward pass's FLOPs of both models at {rate.share:.0%} of this machine's peak: {rate.source}.{rest}"
    ends = [None if share is None else flops / (peak * share) for share in (rate.high, rate.low)]
    return figure(flops / (peak * rate.share), source, *ends)
