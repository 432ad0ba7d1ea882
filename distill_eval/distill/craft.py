"""What a kind of model needs of the trainer: the one thing that differs between language models and classifiers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from distill_eval.distill import models
from distill_eval.distill.lesson import TextLesson
from distill_eval.distill.signals import LiveSignal
from distill_eval.distill.trainer import DistillTrainer
from distill_eval.distill.validation import validate_teacher
from distill_eval.schema.distill import Validation


class Craft(NamedTuple):
    """How models of a kind are loaded, asked, taught and validated."""

    load_student: Callable[[models.Located, str], Any]
    """To train, on a device."""
    load_teacher: Callable[[models.Located, str, str], Any]
    """In a dtype, on a device."""
    signal: Callable[..., Any]
    """`signals.LiveSignal`, or a class with its arguments."""
    lesson: Callable[..., Any]
    """A class of `lesson.Lesson`."""
    validate_teacher: Callable[..., Validation]
    """Of a teacher, batches, and what sums over all processes."""
    trainer: type[DistillTrainer] = DistillTrainer


LANGUAGE = Craft(models.load_student, models.load_teacher, LiveSignal, TextLesson, validate_teacher)
