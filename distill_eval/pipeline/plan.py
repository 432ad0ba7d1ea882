"""The steps of a recipe in their order, each with its whole config and what it needs (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from distill_eval.compare_config import CompareConfig
from distill_eval.distill.cache_config import CacheTeacherConfig
from distill_eval.distill.config import DistillConfig, LossConfig
from distill_eval.distill.data_config import DataConfig
from distill_eval.recipe import Recipe
from distill_eval.record import flat, to_jsonable
from distill_eval.schema.recipe import Link, Stage
from distill_eval.store import digest
from distill_eval.student.config import PrepareConfig

Config = PrepareConfig | CacheTeacherConfig | DistillConfig | CompareConfig
_STAGES: dict[type[Config], Stage] = {
    PrepareConfig: "prepare",
    CacheTeacherConfig: "cache-teacher",
    DistillConfig: "distill",
    CompareConfig: "compare",
}
_NOT_THE_RESULT = (
    "output_dir",
    "resume",
    "gate",
    "labels.measure_speed",
    "training.report_to",
    "training.keep_checkpoints",
    "training.device",
)
"""Options that do not change what a stage makes, as far as it can be repeated at all."""


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
        """SHA-256 over its options, without those that name what is known by its content."""
        named = {*models(self.config), *texts(self.config), *_NOT_THE_RESULT}
        said = flat(to_jsonable(self.config))
        return digest({name: value for name, value in said.items() if name not in named})


def steps(recipe: Recipe) -> tuple[Step, ...]:
    """What is to be done, in order."""
    return tuple(_steps(recipe))


def _steps(recipe: Recipe) -> Iterator[Step]:
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
    if recipe.compare is not None:
        yield _comparison(recipe, recipe.compare, start, needs)


def _training(recipe: Recipe, link: Link, teacher: str, student: str) -> DistillConfig | None:
    if recipe.distill is None:
        return None
    if recipe.cache_teacher is not None:
        return replace(recipe.distill, student=student, cached_teacher=link.teacher_cache, output_dir=link.student)
    return replace(recipe.distill, student=student, teacher=(teacher,), output_dir=link.student)


def _comparison(recipe: Recipe, config: CompareConfig, start: str, needs: tuple[str, ...]) -> Step:
    last = recipe.links[-1]
    if recipe.distill is None:
        return Step("compare", replace(config, student=(start,)), needs)
    if not recipe.baseline:
        return Step("compare", replace(config, student=(str(last.student),)), needs)
    both = replace(config, student=(str(last.student),), baseline=(str(last.baseline),))
    return Step("compare", both, (*needs, "baseline"))


def models(config: Config) -> Mapping[str, tuple[str, ...]]:
    """The models that a stage reads, by option."""
    if isinstance(config, PrepareConfig):
        return {"teacher": (config.teacher,)}
    if isinstance(config, CacheTeacherConfig):
        return {"teacher": (config.teacher,), "student": (config.student,)}
    if isinstance(config, CompareConfig):
        return {"teacher": (config.teacher,), "student": config.student, "baseline": config.baseline}
    return {"teacher": config.teacher, "student": (config.student,)}


def texts(config: Config) -> Mapping[str, str]:
    """Data and folders that a stage reads, by option."""
    found: dict[str, str | Path | None] = {}
    if isinstance(config, PrepareConfig):
        found = {"calibration": config.calibration}
    elif isinstance(config, CompareConfig):
        found = {"evaluation.include_path": config.evaluation.include_path}
    else:
        data: DataConfig = config.data
        found = {"data.data": data.data, "data.validation_data": data.validation_data}
        if isinstance(config, DistillConfig):
            found |= {"cached_teacher": config.cached_teacher, "labels.test_data": config.labels.test_data}
    return {option: str(value) for option, value in found.items() if value is not None}
