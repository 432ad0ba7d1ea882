"""Everything that a training needs before its first step: models that fit each other, data, and live teachers."""

from __future__ import annotations

from typing import Any, NamedTuple

from distill_eval.distill import data, models
from distill_eval.distill.config import DistillConfig
from distill_eval.schema.model import ModelRef


class Ready(NamedTuple):
    """What trainings share that differ in their loss and schedule alone."""

    student: models.Located
    teachers: tuple[Any, ...]
    """Live, on the device."""
    texts: data.TrainingData


def make_ready(config: DistillConfig, num_processes: int = 1) -> Ready:
    """Find the models, see that they fit, read the data and load the teachers.

    Raises:
        UsageError: options that do not fit the models or the data.
        ModelError: a model cannot be had or loaded.
        DataError: the data cannot be had.
    """
    device = models.choose_device(config.training.device)
    student = models.locate(ModelRef.parse(config.student), role="student")
    teachers = [models.locate(ModelRef.parse(name), role="teacher") for name in config.teacher]
    for teacher in teachers:
        models.check_vocabulary(student, teacher)
        models.check_size(student, teacher)
    step_rows = config.training.batch_size * config.training.accumulate * num_processes
    texts = data.load(config.data, student.tokenizer, seed=config.training.seed, batch_blocks=step_rows)
    live = tuple(models.load_teacher(teacher, config.teacher_dtype, device) for teacher in teachers)
    return Ready(student, live, texts)
