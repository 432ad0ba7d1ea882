"""A classifier's run before it begins: models, texts and labels, found, checked and brought into one order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from transformers import AutoModelForSequenceClassification

from distill_eval.distill import models
from distill_eval.distill.classifier import models as classifiers
from distill_eval.distill.classifier.labeled import Labeled
from distill_eval.distill.classifier.labels import Order, agree
from distill_eval.distill.classifier.lesson import ClassifierLesson, validate_teacher
from distill_eval.distill.classifier.measure import Exam
from distill_eval.distill.classifier.parts import Parts, read_parts
from distill_eval.distill.classifier.signal import ClassifierSignal
from distill_eval.distill.classifier.texts import TextCollator, TextRows, longest_row
from distill_eval.distill.classifier.trainer import ClassifierTrainer
from distill_eval.distill.config import DistillConfig
from distill_eval.distill.course import Course, locate_all
from distill_eval.distill.craft import Craft
from distill_eval.errors import ModelError, UsageError, require
from distill_eval.schema.distill import DataFacts


class LabeledData(NamedTuple):
    """What the trainer reads."""

    train: TextRows
    validation: TextRows
    collate: TextCollator


def classifier_course(config: DistillConfig, say: Callable[[str], None], step_rows: int) -> Course:
    """A student, its teachers if any, and labeled texts.

    Args:
        config: With a --label-column.
        say: Takes lines for the reader.
        step_rows: Texts of an optimizer step, over all processes: there must be as many.

    Raises:
        UsageError: models, labels or data that do not fit together.
        ModelError: a model cannot be had, or its tokenizer cannot pad.
        DataError: the data cannot be had.
    """
    student, teachers = locate_all(config)
    ours = classifiers.read_labels(student, "student")
    known = [classifiers.read_labels(teacher, "teacher") for teacher in teachers]
    for teacher in teachers:
        models.check_vocabulary(student, teacher)
        models.check_size(student, teacher, AutoModelForSequenceClassification)
    parts = read_parts(config.data, config.labels, config.training.seed)
    order = agree(parts.train.data_labels(), ours, [labels for labels in known if labels is not None])
    length = longest_row(config.data.max_length, student.tokenizer, [model.config for model in (student, *teachers)])
    rows = [None if part is None else _rows(part, order, student, length) for part in parts[:3]]
    train, validation, test = rows
    assert train is not None
    assert validation is not None
    _tell(parts, order, train, length, say)
    pad_id = _pad_id(student)
    data = LabeledData(train, validation, TextCollator(pad_id))
    require(
        len(train) >= step_rows,
        f"{parts.train.name} gives {len(train):,} texts to train on, less than one batch of {step_rows}. Give more, or "
        "lower --batch-size or --accumulate",
    )
    tested = parts.test or parts.validation
    exam = Exam(tested.name, tested.texts, test or validation, test is None, length, pad_id)
    return Course(
        student,
        teachers,
        data,
        _craft(config, order),
        partial(_facts, config, parts, data, length),
        partial(exam.measure, student, teachers, order, _counts(train, order)),
    )


def _craft(config: DistillConfig, order: Order) -> Craft:
    return Craft(
        lambda student, device: classifiers.load_student(student, order.names, config.training.seed, device),
        classifiers.load_teacher,
        partial(ClassifierSignal, orders=order.of_teachers),
        ClassifierLesson,
        partial(validate_teacher, order=order.of_teachers[0] if order.of_teachers else ()),
        ClassifierTrainer,
    )


def _rows(part: Labeled, order: Order, student: models.Located, length: int) -> TextRows:
    strange = sorted(set(part.labels) - order.of_data.keys())
    if strange:
        raise UsageError(
            f"{part.name} has the label {strange[0]!r}, which no training text has; they have "
            f"{', '.join(map(repr, order.of_data))}"
        )
    return TextRows(part.texts, [order.of_data[label] for label in part.labels], student.tokenizer, length)


def _pad_id(student: models.Located) -> int:
    """Of the tokenizer.

    Raises:
        ModelError: it has none, or the model does not know it.
    """
    found = student.tokenizer.pad_token_id
    if found is None or getattr(student.config, "pad_token_id", None) is None:
        raise ModelError(
            f"{student.ref} has no padding token, and texts of different lengths share a batch. Add "
            '"pad_token" to its tokenizer_config.json and "pad_token_id" to its config.json'
        )
    return int(found)


def _tell(parts: Parts, order: Order, train: TextRows, length: int, say: Callable[[str], None]) -> None:
    counts = _counts(train, order)
    shares = ", ".join(f"{name} {count:,}" for name, count in zip(order.names, counts, strict=True))
    say(f"{len(train):,} texts to train on ({shares}); validation on {len(parts.validation.texts):,}")
    left = {
        "without text": parts.train.num_empty,
        "without a label": parts.train.num_unlabeled,
        "held out, or validated or tested on too": parts.num_held_out,
    }
    found = ", ".join(f"{count:,} {why}" for why, count in left.items() if count)
    if found:
        say(f"left out of training: {found}")
    if train.num_truncated:
        say(f"{train.num_truncated:,} texts are longer than {length} tokens and lose their end")


def _counts(train: TextRows, order: Order) -> tuple[int, ...]:
    """Training texts of each label."""
    seen = Counter(train.labels)
    return tuple(seen[number] for number in range(len(order.names)))


def _facts(config: DistillConfig, parts: Parts, data: LabeledData, length: int) -> DataFacts:
    train = data.train
    return DataFacts(
        data=config.data.data,
        packing="none",
        max_length=length,
        num_documents=len(train),
        num_split_documents=train.num_truncated,
        num_unscored_documents=parts.train.num_empty + parts.train.num_unlabeled,
        padding_share=1 - train.num_tokens / (len(train) * length),
        num_blocks=len(train),
        num_tokens=train.num_tokens,
        num_scored_tokens=len(train),
        digest=train.digest,
        num_validation_blocks=len(data.validation),
        num_validation_scored_tokens=len(data.validation),
    )
