"""A plan joined from its parts, and written: what is known of a distillation before anything is run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from distill_eval.errors import require
from distill_eval.record import to_json

if TYPE_CHECKING:
    from distill_eval.pipeline.planned_models import Models
    from distill_eval.plan.config import PlanConfig
    from distill_eval.plan.quality import OwnRun
    from distill_eval.report.plan_chart import Expected
    from distill_eval.schema.plan import Figure, Hardware, Method, Plan, Retained
    from distill_eval.schema.retention import Finding
    from distill_eval.store import Store

ARTIFACT = "plan.json"
Say = Callable[[str], None]
"""Takes a line for the reader."""
_CURVE = 40
"""Points of the drawn fit."""


class Planned(NamedTuple):
    """What was found."""

    plan: Plan
    config: PlanConfig
    """The options as they could be."""


class Done(NamedTuple):
    """A finished plan."""

    plan: Plan
    report: Path
    recipe: Path | None


def plan(config: PlanConfig, own: Sequence[OwnRun], *, argv: Sequence[str], say: Say, store: Store) -> Planned:
    """Everything that a plan says; nothing is written.

    Args:
        config: What was asked for.
        own: The students of the reader's finished runs.
        argv: The command line, for the record.
        say: Hears what takes a moment.
        store: Keeps the index of lm-eval's tasks.

    Raises:
        UsageError: a target above the teacher or below any student, unknown hardware, runs that are not there, or
            what the teacher or the hardware cannot do.
        ModelError: the teacher's config cannot be had, or is of a kind that cannot be planned.
        TaskError: a task is unknown.
    """
    from distill_eval.device import choose_device
    from distill_eval.pipeline.planned_models import read_models
    from distill_eval.pipeline.planned_tasks import evaluation
    from distill_eval.plan.fitted import fitted
    from distill_eval.plan.hardware import find_hardware
    from distill_eval.plan.quality import retained
    from distill_eval.plan.serving import serving_plans
    from distill_eval.plan.training import training_figures
    from distill_eval.provenance import collect
    from distill_eval.schema.plan import Plan

    here = _this_machine()
    hardware = find_hardware(config.hardware, here)
    models = read_models(config, say)
    teacher, sizes, student = models.teacher, models.sizes, models.students[0]
    config, shortened = fitted(config, sizes, hardware)
    for line in shortened:
        say(line)
    kept = retained(student.compression, config.method, own, fine_tuned=teacher.kind == "classifier")
    share = _utilisation(config, hardware, models, say)
    training = training_figures(models.pairs, config, hardware, share, _tokens(config, kept.tokens))
    tasks = evaluation(config, teacher, sizes, student.sizes, here=lambda: here(None), store=store, say=say)
    found = Plan(
        teacher_ref=teacher.ref,
        method=config.method,
        teacher=sizes,
        students=models.students,
        assistant=models.assistant,
        hardware=hardware,
        training=training,
        retained=kept,
        evaluation=tasks.plans,
        missing_tasks=tasks.missing,
        serving=serving_plans(sizes, student.sizes, config, hardware),
        findings=_advice(models, config, kept, training),
        provenance=collect(argv, choose_device("auto")),
    )
    return Planned(found, config)


def _advice(models: Models, config: PlanConfig, kept: Retained, training: tuple[Figure, ...]) -> tuple[Finding, ...]:
    from distill_eval.plan.advice import advise

    return advise(
        teacher=models.sizes,
        student=models.students[0],
        method=config.method,
        retained=kept,
        training=training,
        config=config.training,
    )


def write(config: PlanConfig, *, argv: Sequence[str], say: Say, store: Store) -> Done:
    """Plan, and write `plan.json`, `plan.md`, `plan.svg` and, where it is asked for, the recipe.

    Raises:
        DistillEvalError: as `plan`.
        StoreError: the output folder cannot be written.
    """
    from distill_eval.pipeline.planned_recipe import recipe_of
    from distill_eval.report import plan as report
    from distill_eval.report.plan_chart import Kept, draw
    from distill_eval.store import check_folder, remove, write_atomic

    folder = config.output_dir.expanduser()
    recipe = config.write_recipe and config.write_recipe.expanduser()
    check_folder(folder)
    require(recipe is None or not recipe.exists(), f"--write-recipe {recipe} exists: name another file, or remove it")
    own = own_runs(config)
    if recipe is not None:
        check_folder(recipe.parent)
    done, config = plan(config, own, argv=argv, say=say, store=store)
    kept = [Kept(run.source, run.compression, run.retention) for run in own]
    fit = curve(done.method, fine_tuned=done.retained.fine_tuned)
    text, chart = report.render(done), draw(done, fit, kept)
    remove([folder / report.TEXT, folder / report.CHART])
    write_atomic(folder / ARTIFACT, to_json(done))
    write_atomic(folder / report.CHART, chart)
    write_atomic(folder / report.TEXT, text)
    if recipe is not None:
        write_atomic(recipe, recipe_of(done, config), option="--write-recipe")
    return Done(done, folder / report.TEXT, recipe)


# ---- what is read


def _this_machine() -> Callable[[str | None], Hardware]:
    """Measures it, each device once: without a GPU all names are its processor's."""
    from distill_eval.device import choose_device
    from distill_eval.plan.hardware import CPU, this_machine

    measured = cache(this_machine)
    return lambda name: measured(CPU if choose_device("auto") == CPU else name)


def own_runs(config: PlanConfig) -> tuple[OwnRun, ...]:
    """The students of the reader's finished runs.

    Raises:
        UsageError: a folder is not there.
        ArtifactError: it holds no artifact, or one that cannot be read.
    """
    from distill_eval.pipeline.collect import collect, of
    from distill_eval.plan import quality
    from distill_eval.schema.retention import Retention

    if not config.runs:
        return ()
    return quality.own_runs(of(collect([run.expanduser() for run in config.runs]), Retention))


def _tokens(config: PlanConfig, by_rule: Figure) -> float:
    from distill_eval.student.sizes import parse_size

    if config.training.tokens is not None:
        return float(parse_size(config.training.tokens))
    assert by_rule.value is not None
    return by_rule.value


def _utilisation(config: PlanConfig, hardware: Hardware, models: Models, say: Say) -> Figure:
    """As given, as a short training measures it, or assumed."""
    from distill_eval.pipeline.planned_models import sides
    from distill_eval.plan.training import assumed_utilisation

    if not config.training.calibrate:
        return assumed_utilisation(config.training, hardware, models.students[0].sizes.parts.total)
    from distill_eval.plan.calibrate import calibrate

    teacher, student = sides(models)
    return calibrate(teacher, student, config, hardware, say=say)


# ---- the chart's curve


def curve(method: Method, *, fine_tuned: bool) -> list[Expected]:
    """The fit for students of one kind by one method, as far as their published results reach."""
    from distill_eval.plan.expected import anchors_fit, fit_retention, reach
    from distill_eval.report.plan_chart import Expected

    known = reach(fine_tuned=fine_tuned).get(method)
    if known is None or not known.speaks:
        return []
    sizes = [known.least * (known.most / known.least) ** (place / _CURVE) for place in range(_CURVE + 1)]
    return [Expected(size, *fit_retention(size, method, anchors_fit(), fine_tuned=fine_tuned)) for size in sizes]
