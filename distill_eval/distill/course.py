"""What is trained: the student, its teachers and the data, found and checked before any weight is loaded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from distill_eval.distill import data, models, two_tokenizers
from distill_eval.distill.blocks import Blocks
from distill_eval.distill.config import DistillConfig
from distill_eval.distill.craft import LANGUAGE, Craft
from distill_eval.schema.distill import Classification, DataFacts
from distill_eval.schema.model import ModelRef


class Course(NamedTuple):
    """A run before it begins."""

    student: models.Located
    teachers: list[models.Located]
    texts: Any
    """With `train` and `validation` (torch data sets) and `collate`."""
    craft: Craft
    facts: Callable[[], DataFacts]
    measure: Callable[[DistillConfig, str, Callable[[str], None]], Classification] | None = None
    """Of the finished classifier in a run's output folder, on a device, saying what it does."""


def language_course(config: DistillConfig, step_rows: int) -> Course:
    """Causal language models on text.

    Args:
        config: What to learn from whom.
        step_rows: Rows of an optimizer step, over all processes: there must be as many.

    Raises:
        UsageError: models or data that do not fit together.
        ModelError: a model cannot be had.
        DataError: the data cannot be had.
    """
    student, teachers = locate_all(config)
    for model in (student, *teachers):
        models.require_language_model(model)
    across = config.loss.loss == "uld"
    for teacher in teachers:
        if not across:
            models.check_vocabulary(student, teacher)
        models.check_size(student, teacher)
    texts = data.load(
        config.data,
        student.tokenizer,
        seed=config.training.seed,
        batch_blocks=step_rows,
        teacher=two_tokenizers.between(student, teachers[0]) if across else None,
    )
    return Course(student, teachers, texts, LANGUAGE, lambda: _facts(config, texts))


def locate_all(config: DistillConfig) -> tuple[models.Located, list[models.Located]]:
    """The student and its teachers."""
    student = models.locate(ModelRef.parse(config.student), role="student")
    return student, [models.locate(ModelRef.parse(name), role="teacher") for name in config.teacher]


def _facts(config: DistillConfig, texts: data.TrainingData) -> DataFacts:
    train, held = texts.train, texts.validation
    known = train if isinstance(train, Blocks) else None
    return DataFacts(
        data=config.data.data,
        packing=config.data.packing,
        max_length=config.data.max_length,
        num_documents=known.counts.num_documents if known else None,
        num_split_documents=known.counts.num_split if known else None,
        num_unscored_documents=known.counts.num_unscored if known else None,
        padding_share=known.padding_share if known else None,
        num_blocks=len(known) if known else None,
        num_tokens=known.num_tokens if known else None,
        num_scored_tokens=known.num_scored_tokens if known else None,
        digest=known.digest if known else None,
        num_validation_blocks=len(held),
        num_validation_scored_tokens=held.num_scored_tokens,
        paired_share=known.paired_share if known else None,
    )
