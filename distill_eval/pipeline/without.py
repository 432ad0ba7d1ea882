"""A measurement of fewer models, where a variant of the recipe could not be made (pure)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import NamedTuple

from distill_eval.bench.config import BenchConfig
from distill_eval.compare_config import CompareConfig
from distill_eval.fidelity.config import FidelityConfig
from distill_eval.pipeline.plan import Step
from distill_eval.pipeline.reads import Config
from distill_eval.recipe.known import VARIANTS


class _Several(NamedTuple):
    """Which option names the models that a stage measures."""

    option: str
    one_each: tuple[str, ...]
    """Options that may have a value for each of them, in the same order."""
    least: int
    """Models without which there is nothing to measure."""
    has_first: bool
    """Whether the others are held against the first, which therefore cannot be missing."""


_SEVERAL: dict[type[Config], _Several] = {
    CompareConfig: _Several("student", ("baseline", "engine"), least=1, has_first=False),
    FidelityConfig: _Several("candidate", (), least=1, has_first=False),
    BenchConfig: _Several("model", ("engine",), least=2, has_first=True),
}


def without(step: Step, lost: Collection[Step]) -> Step | None:
    """The step for the models that are there.

    Args:
        step: Of the recipe.
        lost: Steps that it needs and that are not done.

    Returns:
        The step as it is if nothing is lost; `None` where it cannot go on: more than variants is lost, or what is left
        is nothing to measure.
    """
    if not lost:
        return step
    several = _SEVERAL.get(type(step.config))
    if several is None or any(one.stage not in VARIANTS for one in lost):
        return None
    folders = {str(one.folder) for one in lost}
    models: tuple[str, ...] = getattr(step.config, several.option)
    kept = [place for place, ref in enumerate(models) if ref not in folders]
    if len(kept) < several.least or (several.has_first and kept[0] != 0):
        return None
    given = {option: getattr(step.config, option) for option in several.one_each}
    changes = {option: _at(kept, values) for option, values in given.items() if len(values) == len(models)}
    changes[several.option] = _at(kept, models)
    config = replace(step.config, **changes)  # type: ignore[arg-type]
    names = {one.name for one in lost}
    left = Step(step.name, config, tuple(name for name in step.needs if name not in names))
    return None if any(ref in folders for _, ref in left.reads) else left


def _at(places: Collection[int], values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(values[place] for place in places)
