"""The steps of a recipe in their order, each with its whole config and what it needs (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from distill_eval.bench.config import BenchConfig
from distill_eval.compare_config import CompareConfig
from distill_eval.distill.cache_config import CacheTeacherConfig
from distill_eval.distill.config import DistillConfig, LossConfig
from distill_eval.errors import require
from distill_eval.export.config import ExportConfig
from distill_eval.fidelity.config import FidelityConfig
from distill_eval.pipeline.reads import Config, models, texts
from distill_eval.plan.config import PlanConfig
from distill_eval.quantize.config import QuantizeConfig
from distill_eval.recipe import Recipe
from distill_eval.record import flat, to_jsonable
from distill_eval.report_config import ReportConfig
from distill_eval.schema.recipe import Link, Stage
from distill_eval.store import digest
from distill_eval.student.config import PrepareConfig

_STAGES: dict[type[Config], Stage] = {
    PlanConfig: "plan",
    PrepareConfig: "prepare",
    CacheTeacherConfig: "cache-teacher",
    DistillConfig: "distill",
    QuantizeConfig: "quantize",
    ExportConfig: "export",
    CompareConfig: "compare",
    FidelityConfig: "fidelity",
    BenchConfig: "bench",
    ReportConfig: "report",
}
_NOT_THE_RESULT = (
    "output_dir",
    "runs",
    "resume",
    "gate",
    "labels.measure_speed",
    "training.report_to",
    "training.keep_checkpoints",
    "training.device",
)
"""Options that do not change what a stage makes, as far as it can be repeated at all."""
_NAMING = (CompareConfig, FidelityConfig, BenchConfig)
"""Stages whose artifacts name the models that they are of."""


class Step(NamedTuple):
    """One stage of a recipe."""

    name: str
    config: Config
    needs: tuple[str, ...]
    """Names of the steps whose results it reads."""

    @property
    def stage(self) -> Stage:
        """The verb that does the same."""
        return _STAGES[type(self.config)]

    @property
    def folder(self) -> Path:
        """What it writes."""
        return self.config.output_dir

    @property
    def config_digest(self) -> str:
        """SHA-256 over its options, without those that name what is known by its content.

        An artifact that names models is of those names, too; in the run's folder they are relative to it.
        """
        named = {*models(self.config), *texts(self.config), *_NOT_THE_RESULT}
        if isinstance(self.config, ReportConfig):
            named.remove("gate")  # a report says how its rules were judged
        if isinstance(self.config, PlanConfig):
            named.remove("runs")  # a plan's own runs are not the folder that it is in
        said = {name: value for name, value in flat(to_jsonable(self.config)).items() if name not in named}
        if isinstance(self.config, _NAMING):
            said |= {option: [self._named(ref) for ref in refs] for option, refs in models(self.config).items()}
        return digest(said)

    def _named(self, ref: str) -> str:
        root = self.folder.parent
        return Path(ref).relative_to(root).as_posix() if Path(ref).is_relative_to(root) else ref

    @property
    def reads(self) -> tuple[tuple[str, str], ...]:
        """Models, data and folders that it reads, each with the option that names it."""
        named = {**models(self.config), **{option: (text,) for option, text in texts(self.config).items()}}
        return tuple((option, ref) for option, refs in named.items() for ref in refs)


def steps(recipe: Recipe) -> tuple[Step, ...]:
    """What is to be done, in order.

    Raises:
        UsageError: a step would read what is made later, or by itself.
    """
    found = [] if recipe.plan is None else [Step("plan", recipe.plan, ())]
    found += _students(recipe)
    variants: tuple[QuantizeConfig | ExportConfig, ...] = (*recipe.quantize, *recipe.export)
    for config in variants:
        found.append(_reading(f"{_STAGES[type(config)]} {config.output_dir.name}", config, found))
    for measured in (recipe.compare, recipe.fidelity, recipe.bench, recipe.report):
        if measured is not None:
            found.append(_reading(_STAGES[type(measured)], measured, found))
    _check_order(found)
    return tuple(found)


def _students(recipe: Recipe) -> Iterator[Step]:
    """The steps that make and train students."""
    teacher, start = recipe.teacher, recipe.student or ""
    needs: tuple[str, ...] = ()
    for link in recipe.links:
        before = f"{link.folder.name} " if link.size else ""
        if recipe.prepare is not None:
            start = str(link.prepared)
            target = link.size or recipe.prepare.target_params
            config = replace(recipe.prepare, teacher=teacher, target_params=target, output_dir=link.prepared)
            yield Step(f"{before}prepare", config, needs)
            needs = (f"{before}prepare",)
        trained = _training(recipe, link, teacher, start)
        if trained is None:
            continue
        if recipe.cache_teacher is not None:
            cache = replace(recipe.cache_teacher, teacher=teacher, student=start, output_dir=link.teacher_cache)
            yield Step(f"{before}cache-teacher", cache, needs)
            needs = (*needs, f"{before}cache-teacher")
        yield Step(f"{before}distill", trained, needs)
        if recipe.baseline and link == recipe.links[-1]:
            untaught = replace(trained.loss, alpha=LossConfig().alpha)  # it is not used: a change of it changes nothing
            yield Step("baseline", replace(trained, loss=untaught, baseline=True, output_dir=link.baseline), needs)
        teacher, needs = str(link.student), (f"{before}distill",)


def _training(recipe: Recipe, link: Link, teacher: str, student: str) -> DistillConfig | None:
    if recipe.distill is None:
        return None
    if recipe.cache_teacher is not None:
        return replace(recipe.distill, student=student, cached_teacher=link.teacher_cache, output_dir=link.student)
    return replace(recipe.distill, student=student, teacher=(teacher,), output_dir=link.student)


def _reading(name: str, config: Config, before: Sequence[Step]) -> Step:
    """A step that needs whatever makes what it reads."""
    made = {str(step.folder): step.name for step in before}
    step = Step(name, config, ())
    return step._replace(needs=tuple(dict.fromkeys(made[ref] for _, ref in step.reads if ref in made)))


def _check_order(found: Sequence[Step]) -> None:
    """Refuse a cycle: an input of the recipe that is one of its results."""
    made = {step.folder.resolve(): step for step in found}
    for step in found:
        for option, ref in step.reads:
            maker = made.get(Path(ref).expanduser().resolve())
            require(
                maker is None or found.index(maker) < found.index(step),
                f"{step.name} reads {ref} ({option}), which {maker.name if maker else ''} makes in this run: a cycle. "
                "Name another model or text, or another output_dir",
            )
