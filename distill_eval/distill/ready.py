"""Everything that a training needs before its first step: models that fit each other, data, and live teachers."""

from __future__ import annotations

from typing import Any, NamedTuple

from distill_eval.device import choose_device
from distill_eval.distill import data, models, settings, two_tokenizers
from distill_eval.distill.config import DistillConfig
from distill_eval.schema.model import ModelRef


class Ready(NamedTuple):
    """What trainings share that differ in their loss and schedule alone."""

    student: models.Located
    teachers: tuple[Any, ...]
    """Live, on the device; empty with a cached one."""
    teacher_digest: str | None
    """Of the weights that the cached teacher must have; `None` when that is not said."""
    texts: data.TrainingData


def make_ready(config: DistillConfig, num_processes: int = 1) -> Ready:
    """Find the models, see that they fit, read the data and load the teachers.

    Raises:
        UsageError: options that do not fit the models or the data.
        ModelError: a model cannot be had or loaded.
        DataError: the data cannot be had.
    """
    settings.require_tracker(config.training.report_to)
    device = choose_device(config.training.device)
    student = models.locate(ModelRef.parse(config.student), role="student")
    teachers = [models.locate(ModelRef.parse(name), role="teacher") for name in config.teacher]
    across = config.loss.loss == "uld"
    for teacher in teachers:
        if not across:
            models.check_vocabulary(student, teacher)
        models.check_size(student, teacher)
    step_rows = config.training.batch_size * config.training.accumulate * num_processes
    texts = data.load(
        config.data,
        student.tokenizer,
        seed=config.training.seed,
        batch_blocks=step_rows,
        teacher=two_tokenizers.between(student, teachers[0]) if across else None,
    )
    if config.cached_teacher is not None:
        return Ready(student, (), models.weights_digest(teachers[0].folder) if teachers else None, texts)
    live = tuple(models.load_teacher(teacher, config.teacher_dtype, device) for teacher in teachers)
    return Ready(student, live, None, texts)
