"""A plan as a recipe: its student, its training and its comparison, ready for `distill-eval run` but for the data."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from distill_eval.pipeline.planned_training import LOSSES, AsRun, as_run, chain, shared
from distill_eval.plan.advice import at_least
from distill_eval.plan.config import LOADED_AS, PlanConfig
from distill_eval.record import changed, to_toml, toml_value
from distill_eval.report.numbers import plural
from distill_eval.report.plan_values import shown, size, spread
from distill_eval.schema.plan import Figure, Plan, TaskPlan
from distill_eval.schema.retention import DEFAULT_LEVEL

_NUMBERS = ("num_layers", "ffn_size", "hidden_size", "num_heads")
_FROM_DATA = "--calibration"
"""An option of `prepare` that a recipe takes from its data."""
_ELSEWHERE = (
    "teacher",
    "output_dir",
    "write_recipe",
    "runs",
    *("tasks", "limit", "detect", "include_path"),
    *(f"training.{name}" for name in ("tokens", "batch_size", "max_length", "dtype", "gradient_checkpointing")),
    "training.teacher_source",
)
"""Options of `plan` that a recipe's other tables say, or the run knows."""


def recipe_of(plan: Plan, config: PlanConfig) -> str:
    """The recipe as TOML, with the figures that it stands on as comments.

    Args:
        plan: What was found.
        config: What was asked for.
    """
    run = as_run(plan, config)
    return (
        "\n".join(
            [
                *_head(plan, config, run),
                *_plan(run),
                *_data(config),
                *_prepare(plan, config),
                *_distill(plan, run),
                *_compare(plan, config),
                "",
                "[report]",
            ]
        )
        + "\n"
    )


def _head(plan: Plan, config: PlanConfig, run: AsRun) -> Iterator[str]:
    student = plan.students[0]
    yield from _too_large(run)
    lacks = "the data and the labels' column (label_column, below)" if plan.retained.fine_tuned else "the data alone"
    yield f"# Written by `distill-eval plan`; its figures are in plan.md. It lacks {lacks}:"
    yield "#"
    yield f"#     distill-eval run {_file(config)} --data DATA --dry-run"
    yield "#"
    yield f"# Student: {student.sizes.parts.total:,} parameters, 1 of {student.compression:.3g} of the teacher's."
    for name, figure in (("published students", plan.retained.fit), ("the rule", plan.retained.rule)):
        if figure.value is not None:
            yield f"# Expected to keep, by {name}: {_told(figure)}."
    yield from (f"# {text}" for text in run.changed)
    if plan.hardware.num_devices > 1:
        yield from _by_hand(plan, config, run)
    yield ""
    yield f"teacher = {toml_value(config.teacher)}"
    if config.method == "progressive":
        sizes = toml_value(list(chain(plan)))
        yield f"chain = {sizes}    # an assistant, then the student; each is taught by the one before it"


def _too_large(run: AsRun) -> Iterator[str]:
    """That the training has no room, before anything else."""
    share, peak = at_least(run.figures["fits"]), at_least(run.figures["peak_bytes"])
    if share is None or share <= 1 or peak is None:
        return
    room = size(run.hardware.memory_bytes)
    yield f"# THE TRAINING DOES NOT FIT: it takes {size(peak)} of {room} on {run.hardware.name}. Make it smaller"
    yield "# before it is run: the findings of plan.md say how."
    yield "#"


def _file(config: PlanConfig) -> str:
    return shlex.quote(str(config.write_recipe)) if config.write_recipe else "recipe.toml"


def _told(figure: Figure) -> str:
    return " ".join(filter(None, (shown(figure), spread(figure))))


def _by_hand(plan: Plan, config: PlanConfig, run: AsRun) -> Iterator[str]:
    """What a recipe cannot do: several devices."""
    on = plan.hardware
    yield "#"
    devices = plural(on.num_devices, "device")
    yield "# `run` uses one device (where it sees more, put CUDA_VISIBLE_DEVICES=0 before it), and the steps, time and"
    yield f"# memory below are of one. On all {devices} of {on.name} the training is shared by hand, each with"
    yield "# batches of its own and so with fewer steps:"
    yield "#"
    yield from (f"#     {command}" for command in shared(plan, config, run))
    alone = at_least(run.figures["fits"])
    there = at_least(next(one for one in plan.training if one.name == "training.fits"))
    if alone is not None and there is not None and alone <= 1 < there:
        yield "# There it does not fit: a device that exchanges its gradients holds a second copy of them."


def _plan(run: AsRun) -> Iterator[str]:
    """The plan of the same student, as far as the other tables do not say it."""
    table: dict[str, Any] = {}
    for name, value in changed(run.config).items():
        *above, last = name.split(".")
        if name not in _ELSEWHERE:
            (table.setdefault(above[0], {}) if above else table)[last] = value
    yield ""
    yield "# Of the same student once more: the report holds it against what the run measures."
    yield to_toml({"plan": table}).strip()


def _data(config: PlanConfig) -> Iterator[str]:
    yield ""
    yield "[data]"
    if config.method == "response":
        yield "# The teacher's answers are the text: distill-eval answer --help writes them."
    yield '# data = "org/name"          # Hub data set, file or folder'
    yield f"max_length = {config.training.max_length}"


def _prepare(plan: Plan, config: PlanConfig) -> Iterator[str]:
    yield ""
    if config.method == "progressive":
        yield "[prepare]                     # sizes are those of the chain"
        return
    yield f"[prepare]                     # {plan.students[0].why}"
    for name, value in _options(plan.students[0].prepare):
        yield f"{name} = {value}"


def _options(command: str) -> Iterator[tuple[str, str]]:
    """The options of a `prepare` command as keys and TOML values, but for what a recipe knows."""
    words = shlex.split(command)[2:]
    while words:
        flag, *words = words
        value = None
        if words and not words[0].startswith("--"):
            value, *words = words
        if flag in ("--teacher", "--output-dir", _FROM_DATA):
            continue
        name = flag.removeprefix("--").replace("-", "_")
        yield name, "true" if value is None else value if name in _NUMBERS else toml_value(value)


def _distill(plan: Plan, run: AsRun) -> Iterator[str]:
    held = run.config.training.teacher_source
    yield ""
    if held == "cached":
        yield "[cache_teacher]               # asks the teacher once, before training"
        yield f"batch_size = {run.config.training.batch_size}"
    else:
        yield "[distill]"
        yield f"teacher_dtype = {toml_value(LOADED_AS[held])}"
    if plan.retained.fine_tuned:
        yield ""
        yield "[distill.labels]"
        yield 'label_column = ""             # fill in the column of the labels, e.g. "label"'
    yield ""
    yield "[distill.loss]"
    yield from _lines(LOSSES[run.config.method])
    yield ""
    yield "[distill.training]"
    for name in ("tokens", "peak_bytes", "seconds", "cost_usd"):
        figure = run.figures[name]
        if figure.value is not None:
            yield f"# {name.replace('_', ' ')}: {_told(figure)} ({figure.basis})"
    yield from _lines(run.options)


def _lines(options: Mapping[str, Any]) -> Iterator[str]:
    return (f"{name} = {toml_value(value)}" for name, value in options.items())


# ---- the comparison


def _compare(plan: Plan, config: PlanConfig) -> Iterator[str]:
    yield ""
    if plan.retained.fine_tuned:
        yield "# What is kept of the teacher's accuracy the training measures at its end; there is no [compare] of it."
        return
    if not plan.evaluation:
        yield "# [compare.evaluation]        # what is kept, task by task: --tasks of the plan writes it"
        return
    limit = config.limit if config.detect is None else _largest(plan.evaluation)
    yield "[compare.evaluation]"
    for one in plan.evaluation:
        yield from _shows(one, limit, config.detect)
    yield f"tasks = {toml_value([one.task for one in plan.evaluation])}"
    if limit is not None:
        yield f"limit = {toml_value(int(limit) if limit == int(limit) else limit)}"
    if config.include_path is not None:
        yield f"include_path = {toml_value(str(config.include_path))}"


def _largest(tasks: tuple[TaskPlan, ...]) -> int | None:
    """One limit with which every task that can show the wanted drop shows it; `None` where none can."""
    return max((one.limit_to_detect for one in tasks if one.limit_to_detect is not None), default=None)


def _shows(one: TaskPlan, limit: float | None, detect: float | None) -> Iterator[str]:
    """What a task finds with the limit of the recipe."""
    from distill_eval.compare import planned_power
    from distill_eval.evaluate.harness.tasks import sample_size

    num_docs = sum(sample_size(limit, number) for number in one.num_docs_each)
    drop = one.detectable_drop
    if drop is not None:
        drop = planned_power(num_docs, kind="binary", level=DEFAULT_LEVEL).planned_detectable_drop
    found = "not known" if drop is None else f"{100 * drop:.2g} points"
    yield f"# {one.task}: {num_docs:,} documents, smallest drop that is found: {found}"
    if detect is not None and one.limit_to_detect is None:
        yield f"#     a drop of {100 * detect:g} points it cannot show: {one.reason}"
