"""Everything that a training needs before its first step: models that fit each other, data, and live teachers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from distill_eval.device import choose_device
from distill_eval.distill import models, settings
from distill_eval.distill.classifier.course import classifier_course
from distill_eval.distill.config import DistillConfig
from distill_eval.distill.course import Course, language_course
from distill_eval.distill.held import resident_at_rest


class Ready(NamedTuple):
    """What trainings share that differ in their loss and schedule alone."""

    course: Course
    teachers: tuple[Any, ...]
    """Live, on the device; empty with a cached one."""
    teacher_digest: str | None
    """Of the weights that the cached teacher must have; `None` when that is not said."""
    resident_bytes: int
    """Of this process, before any model was loaded."""


def make_ready(config: DistillConfig, say: Callable[[str], None], num_processes: int = 1) -> Ready:
    """Find the models, see that they fit, read the data and load the teachers.

    Args:
        config: What to learn from whom.
        say: Takes lines for the reader.
        num_processes: Each takes a batch of its own.

    Raises:
        UsageError: options that do not fit the models or the data.
        ModelError: a model cannot be had or loaded.
        DataError: the data cannot be had.
    """
    settings.require_tracker(config.training.report_to)
    device = choose_device(config.training.device)
    step_rows = config.training.batch_size * config.training.accumulate * num_processes
    has_labels = config.labels.label_column is not None
    course = classifier_course(config, say, step_rows) if has_labels else language_course(config, step_rows)
    before = resident_at_rest()
    if config.cached_teacher is not None:
        return Ready(course, (), models.weights_digest(course.teachers[0].folder) if course.teachers else None, before)
    load = course.craft.load_teacher
    live = tuple(load(teacher, config.teacher_dtype, device) for teacher in course.teachers)
    return Ready(course, live, None, before)
