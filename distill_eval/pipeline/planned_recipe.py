"""A plan as a recipe: its student, its training and its comparison, ready for `distill-eval run` but for the data."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator
from typing import Any

from distill_eval.plan.advice import assistant
from distill_eval.plan.config import PlanConfig, TeacherSource
from distill_eval.plan.pair import training_dtype
from distill_eval.record import toml_value
from distill_eval.report.plan_values import shown, spread
from distill_eval.schema.plan import Figure, Method, Plan
from distill_eval.student.sizes import show_size

TEACHER_DTYPES: dict[TeacherSource, str] = {"bf16": "bfloat16", "int8": "int8", "int4": "nf4"}
LOSSES: dict[Method, dict[str, float]] = {
    "logit": {"alpha": 0.7},
    "feature": {"alpha": 0.7, "feature_weight": 1.0},
    "attention": {"alpha": 0.7, "attention_weight": 1.0},
    "response": {"alpha": 0.0},
    "progressive": {"alpha": 0.7},
}
"""Of [distill.loss], where a plan's method is what is trained on."""
_NUMBERS = ("num_layers", "ffn_size", "hidden_size", "num_heads")
_FROM_DATA = "--calibration"
"""An option of `prepare` that a recipe takes from its data."""


def recipe_of(plan: Plan, config: PlanConfig) -> str:
    """The recipe as TOML, with the figures that it stands on as comments.

    Args:
        plan: What was found.
        config: What was asked for.
    """
    return (
        "\n".join(
            [
                *_head(plan, config),
                *_data(config),
                *_prepare(plan, config),
                *_distill(plan, config),
                *_compare(plan, config),
                "",
                "[report]",
            ]
        )
        + "\n"
    )


def _head(plan: Plan, config: PlanConfig) -> Iterator[str]:
    student = plan.students[0]
    yield "# Written by `distill-eval plan`; its figures are in plan.md. It lacks the data alone:"
    yield "#"
    yield f"#     distill-eval run {_file(config)} --data DATA --dry-run"
    yield "#"
    yield f"# Student: {student.sizes.parts.total:,} parameters, 1 of {student.compression:.3g} of the teacher's."
    for name, figure in (("published students", plan.retained.fit), ("the rule", plan.retained.rule)):
        if figure.value is not None:
            yield f"# Expected to keep, by {name}: {_told(figure)}."
    yield ""
    yield f"teacher = {toml_value(config.teacher)}"
    if config.method == "progressive":
        sizes = [float(plan.teacher.parts.total), float(student.sizes.parts.total)]
        chain = [show_size(round(assistant(*sizes))), show_size(student.sizes.parts.total)]
        yield f"chain = {toml_value(chain)}    # an assistant, then the student; each is taught by the one before it"


def _file(config: PlanConfig) -> str:
    return shlex.quote(str(config.write_recipe)) if config.write_recipe else "recipe.toml"


def _told(figure: Figure) -> str:
    return " ".join(filter(None, (shown(figure), spread(figure))))


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


def _distill(plan: Plan, config: PlanConfig) -> Iterator[str]:
    training = config.training
    figures = {figure.name: figure for figure in plan.training}
    if training.teacher_source == "cached" and config.method != "response":
        yield ""
        yield "[cache_teacher]               # asks the teacher once, before training"
        yield f"batch_size = {training.batch_size}"
    else:
        yield ""
        yield "[distill]"
        yield f'teacher_dtype = "{TEACHER_DTYPES.get(training.teacher_source, "auto")}"'
    yield ""
    yield "[distill.loss]"
    for name, value in LOSSES[config.method].items():
        yield f"{name} = {value:g}"
    yield ""
    yield "[distill.training]"
    for name in ("tokens", "peak_bytes", "seconds", "cost_usd"):
        figure = figures.get(f"training.{name}")
        if figure is not None and figure.value is not None:
            yield f"# {name.replace('_', ' ')}: {_told(figure)} ({figure.basis})"
    tokens = figures["training.tokens"].value
    if tokens is not None:
        per_step = training.batch_size * training.max_length
        yield f"steps = {max(1, math.ceil(tokens / per_step))}"
    yield f"batch_size = {training.batch_size}"
    if training_dtype(training, plan.hardware) == "bfloat16":
        yield 'dtype = "bfloat16"'
    if training.gradient_checkpointing:
        yield "gradient_checkpointing = true"


def _compare(plan: Plan, config: PlanConfig) -> Iterator[str]:
    if not plan.evaluation:
        yield ""
        yield "# [compare.evaluation]        # what is kept, task by task: --tasks of the plan writes it"
        return
    limits = [one.limit_to_detect for one in plan.evaluation]
    limit: Any = config.limit
    if config.detect is not None and None not in limits:
        limit = max(one for one in limits if one is not None)
    yield ""
    yield "[compare.evaluation]"
    for one in plan.evaluation:
        drop = "not known" if one.detectable_drop is None else f"{100 * one.detectable_drop:.2g} points"
        yield f"# {one.task}: {one.num_docs:,} documents, smallest drop that is found: {drop}"
    yield f"tasks = {toml_value([one.task for one in plan.evaluation])}"
    if limit is not None:
        yield f"limit = {limit:g}"
    if config.include_path is not None:
        yield f"include_path = {toml_value(str(config.include_path))}"
