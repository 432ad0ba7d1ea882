"""A plan held against what runs measured: how wrong it was, figure by figure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from distill_eval.plan.check import ALIKE, check
from distill_eval.plan.served import SCHEMES, serving_checks
from distill_eval.schema.bench import BenchRun
from distill_eval.schema.distill import DistillRun
from distill_eval.schema.plan import Check, Figure, ModelSizes, Plan
from distill_eval.schema.quant import QuantRun
from distill_eval.schema.recipe import RecipeRun, StageRun
from distill_eval.schema.retention import Retention
from distill_eval.schema.student import StudentInit
from distill_eval.schema.teacher_cache import CacheManifest

_DTYPES = {"float32": "fp32", "bfloat16": "bf16", "float16": "bf16"}
"""Of weights on disk, as a plan calls what takes as many bytes."""


class Measured(NamedTuple):
    """What runs left of one teacher, by where it was found."""

    students: Mapping[str, StudentInit]
    trainings: Mapping[str, DistillRun]
    quants: Mapping[str, QuantRun]
    retentions: Mapping[str, Retention]
    benches: Mapping[str, BenchRun]
    recipes: Mapping[str, RecipeRun]
    caches: Mapping[str, CacheManifest]
    """What was kept of a teacher on disk."""


def checks(plan: Plan, measured: Measured) -> tuple[Check, ...]:
    """Every figure of a plan that a run can tell, beside what it told; those that none told have no measured value.

    Args:
        plan: Its first student is the one that was made.
        measured: Of models of other sizes nothing is taken.
    """
    return (
        *_sizes(plan, measured),
        *_training(plan, measured),
        *_caches(plan, measured.caches),
        *_retained(plan, measured),
        *_evaluation(plan, measured),
        *_evaluation_time(plan, measured),
        *serving_checks(plan, measured.benches),
    )


def _is_planned(num_parameters: int | None, sizes: ModelSizes) -> bool:
    """Whether a model is the one that was planned, by its size."""
    total = sizes.parts.total
    return num_parameters is not None and abs(num_parameters - total) <= ALIKE * total


def _exact(name: str, value: int, unit: str) -> Figure:
    return Figure(name=name, value=float(value), unit=unit, basis="exact", source="arithmetic from the config")


# ---- sizes


def _sizes(plan: Plan, measured: Measured) -> Iterator[Check]:
    teacher, student = plan.teacher, plan.students[0].sizes
    for where, made in measured.students.items():
        if not _is_planned(made.student_num_parameters, student):
            continue
        pairs = [("student", student, made.student_num_parameters, made.student_size_bytes)]
        if made.teacher == plan.teacher_ref or _is_planned(made.teacher_num_parameters, teacher):  # else an assistant
            pairs.insert(0, ("teacher", teacher, made.teacher_num_parameters, made.teacher_size_bytes))
        for name, sizes, number, num_bytes in pairs:
            planned = _exact(f"{name}.parameters", sizes.parts.total, "parameters")
            yield check(f"parameters of the {name}", planned, float(number), where)
            dtype = _DTYPES.get(made.dtype)
            if dtype is not None:
                planned = _exact(f"{name}.{dtype}", sizes.weight_bytes[dtype], "bytes")
                yield check(f"weights of the {name} in {dtype}", planned, float(num_bytes), where)
    for where, quant in measured.quants.items():
        dtype = SCHEMES.get(quant.scheme)
        if dtype in student.weight_bytes and _is_planned(quant.num_parameters, student):
            planned = _exact(f"student.{dtype}", student.weight_bytes[dtype], "bytes")
            yield check(f"weights of the student in {dtype}", planned, float(quant.size_bytes), where)


# ---- training


def _training(plan: Plan, measured: Measured) -> Iterator[Check]:
    """Of the student's training, and of its assistant's before it."""
    figures = {figure.name.removeprefix("training."): figure for figure in plan.training}
    made = (*([plan.assistant] if plan.assistant else []), plan.students[0])
    found = [one for one in (_trained(measured, student.sizes) for student in made) if one is not None]
    if len(found) < len(made):
        return
    where, run = found[-1]
    by = [str(one) for one in run.teachers if one != plan.teacher_ref]
    taught = f", taught by {', '.join(by)}" if by else ""
    tokens = figures.get("tokens")
    if tokens is not None:
        yield check("training tokens", tokens, float(run.num_tokens_seen), where)
    if "seconds" in figures:
        as_seen = _scaled(figures["seconds"], tokens, run.num_tokens_seen)
        yield _steps_time(as_seen, [one for _, one in found], f"{', '.join(place for place, _ in found)}{taught}")
    if "peak_bytes" in figures:
        known = [one.peak_bytes for _, one in found if one.peak_bytes is not None]
        old = f"{where} is of a version that did not record it"
        most = float(max(known)) if len(known) == len(found) else None
        yield check("memory of the training", figures["peak_bytes"], most, old if most is None else f"{where}{taught}")


def _trained(measured: Measured, sizes: ModelSizes) -> tuple[str, DistillRun] | None:
    """The training of a model of this size, not its baseline."""
    for where, run in measured.trainings.items():
        if not run.baseline and _is_planned(run.num_parameters, sizes):
            return where, run
    return None


def _steps_time(planned: Figure, runs: Sequence[DistillRun], where: str) -> Check:
    """The optimizer steps alone, as the plan has them."""
    each = [run.seconds_per_step * run.num_steps for run in runs if run.seconds_per_step is not None]
    if len(each) < len(runs):
        return check("time of the training's steps", planned, None, f"{where}: of a version that did not record it")
    return check("time of the training's steps", planned, sum(each), f"{where}: steps x their mean time")


def _scaled(planned: Figure, tokens: Figure | None, num_seen: int, how: str = "trained on") -> Figure:
    """What the plan says of as many tokens as there were."""
    if tokens is None or not tokens.value or tokens.value == num_seen:
        return planned
    ends = [
        None if end is None else end * num_seen / tokens.value for end in (planned.value, planned.low, planned.high)
    ]
    said = f"{planned.source}; here of the {num_seen:,} tokens that were {how}, instead of {tokens.value:,.0f}"
    return replace(planned, value=ends[0], low=ends[1], high=ends[2], source=said)


def _caches(plan: Plan, caches: Mapping[str, CacheManifest]) -> Iterator[Check]:
    """The teacher's answers on disk, of as many tokens as were asked about."""
    figures = {figure.name: figure for figure in plan.training}
    size, tokens = (figures.get(f"training.{name}") for name in ("teacher_cache_bytes", "tokens"))
    if size is None or size.value is None:
        return
    for where, cache in caches.items():
        planned = _scaled(size, tokens, cache.num_rows, "kept")
        layers = f", hidden states of {len(cache.key.layers)} layers included" if cache.key.layers else ""
        yield check("disk of the cached teacher", planned, float(cache.size_bytes), f"{where}{layers}")


def _stage(runs: Iterable[RecipeRun], name: str) -> StageRun | None:
    """The last of this verb that is done, but for the baseline."""
    found = [
        stage
        for run in runs
        for stage in run.stages
        if stage.stage == name and stage.status == "done" and stage.name != "baseline"
    ]
    return found[-1] if found else None


def _timed(what: str, planned: Figure, stage: StageRun | None, included: str) -> Check:
    """Held against the seconds of a stage that was done in one attempt."""
    if stage is None or stage.seconds is None:
        return check(what, planned, None, "no recipe's run recorded how long it took")
    if stage.num_attempts != 1:
        return check(what, planned, None, f"{stage.name} was interrupted: its last attempt is no measure of the whole")
    return check(what, planned, stage.seconds, f"run.json, {stage.name}: {included}")


# ---- what was kept, and what that took


def _retained(plan: Plan, measured: Measured) -> Iterator[Check]:
    estimates = {
        "kept, by published students": plan.retained.fit,
        "kept, by own runs": plan.retained.own,
        "kept, by a planner's rule": plan.retained.rule,
    }
    for where, kept in _kept(plan, measured):
        yield from (check(what, figure, kept, where) for what, figure in estimates.items() if figure.value is not None)


def _kept(plan: Plan, measured: Measured) -> Iterator[tuple[str, float]]:
    """What the planned student kept by each comparison, and as a classifier by its training, with where that is."""
    for where, retention in measured.retentions.items():
        ref = _student_of(retention, plan)
        kept = next((one.mean_retention for one in retention.verdicts if one.student_ref == ref), None)
        if ref is not None and kept is not None:
            tasks = [entry.task for entry in retention.entries if entry.primary and entry.student_ref == ref]
            yield f"{where}: the mean over {', '.join(tasks)}", kept
    for where, run in measured.trainings.items():
        found = run.classification
        if run.baseline or found is None or not _is_planned(run.num_parameters, plan.students[0].sizes):
            continue
        teacher = found.teachers[0].accuracy if len(found.teachers) == 1 else 0.0
        if teacher > 0:
            yield f"{where}: accuracy over the teacher's, on {found.measured_on}", found.student.accuracy / teacher


def _student_of(retention: Retention, plan: Plan) -> str | None:
    """The planned student among those of a comparison, before any quantization."""
    sizes = plan.students[0].sizes
    return next(
        (
            one.ref
            for one in retention.students
            if one.quantization is None and one.engine == "hf" and _is_planned(one.num_parameters, sizes)
        ),
        None,
    )


def _evaluation(plan: Plan, measured: Measured) -> Iterator[Check]:
    asked = {one.task: one for one in plan.evaluation}
    for where, retention in measured.retentions.items():
        ref = _student_of(retention, plan)
        for entry in retention.entries:
            task = asked.get(entry.task)
            if task is None or not entry.primary or entry.student_ref != ref:
                continue
            planned = _exact(f"evaluation.{task.task}.documents", task.num_docs, "documents")
            yield check(f"documents of {task.task}", planned, float(entry.num_pairs), where)
            drop = entry.power.detectable_drop
            if task.detectable_drop is not None and drop is not None:
                assumed = "before the run, for models that disagree on 20 % of the documents"
                planned = Figure(
                    name=f"evaluation.{task.task}.detectable_drop",
                    value=task.detectable_drop,
                    unit="share",
                    basis="estimate",
                    source=assumed,
                )
                yield check(f"smallest drop found on {task.task}", planned, drop, where)


def _evaluation_time(plan: Plan, measured: Measured) -> Iterator[Check]:
    """Of all tasks together, where a comparison was of teacher and student alone."""
    known = [one.seconds.value for one in plan.evaluation if one.seconds.value is not None]
    compared = [one for one in measured.retentions.values() if _student_of(one, plan) is not None]
    if not known or len(known) < len(plan.evaluation) or plan.missing_tasks or not compared:
        return
    source = plan.evaluation[0].seconds.source
    planned = Figure(name="evaluation.seconds", value=sum(known), unit="s", basis="estimate", source=source)
    if any(len(one.students) + len(one.baselines) > 1 for one in compared):
        yield check("time of the comparison", planned, None, "other students were compared in the same run")
        return
    stage = _stage(measured.recipes.values(), "compare")
    yield _timed("time of the comparison", planned, stage, "loading of models and data included")
