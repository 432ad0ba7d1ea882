"""What a classifier is measured on: its forward pass becomes the loss of a batch, and its validation.

Shapes: B texts, T positions, L labels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from distill_eval.distill.classifier.counts import accuracy, count_labels, macro_f1
from distill_eval.distill.classifier.signal import as_rows, forward_inputs
from distill_eval.distill.lesson import Batch, Lesson
from distill_eval.distill.objective import Inside, Losses, combine
from distill_eval.distill.projection import RowLoss, Soft, row_loss
from distill_eval.distill.signals import Taught
from distill_eval.schema.distill import Validation


class ClassifierLesson(Lesson):
    """Of a sequence classifier; a batch is one of `texts.TextCollator`."""

    num_positions: float | Tensor | None = None
    """Tokens of the whole accumulated batch, which the terms that compare layers are means over."""

    def _ask(self, batch: Batch) -> Taught:
        assert self.signal is not None
        return self.signal(batch, batch["attention_mask"].bool())

    def _forward(self, *, batch: Batch, taught: Taught | None, alpha: float, denominator: float | Tensor) -> Losses:
        logits_BL, inside = self._run(batch)
        rows = _loss(logits_BL, batch, soft=self._soft(taught, alpha), denominator=denominator)
        terms = self._terms(inside, taught, batch["attention_mask"].bool())
        return combine(rows, denominator, terms, self.num_positions)

    def _run(self, batch: Batch) -> tuple[Tensor, Inside]:
        """The student's logits, and what its layers are compared by."""
        output, inside = self._watched(self._native, forward_inputs(batch))
        return output.logits, inside(batch["attention_mask"].bool())

    # ---- validation

    def validate(self, batches: Iterable[Batch], total: Callable[[Tensor], float] = float) -> Validation:
        """Means over the texts, with accuracy and macro F1; see `Lesson`."""
        was_training = self._student.training
        self._student.eval()
        sums = _Sums(self._student.config.num_labels)
        with torch.no_grad():
            for batch in batches:
                taught = self._ask(batch) if self.signal is not None else None
                target = taught.target if taught else None
                soft = Soft(target, "forward_kl", 1.0, 1.0) if target is not None else None
                logits_BL, _ = self._run(batch)
                sums.add(logits_BL, batch, soft, self._temperature)
        self._student.train(was_training)
        return sums.validation(total, compares=self.signal is not None)


def validate_teacher(
    teacher: Any, batches: Iterable[Batch], total: Callable[[Tensor], float] = float, *, order: tuple[int, ...]
) -> Validation:
    """The teacher's own accuracy and loss on the validation texts.

    Args:
        teacher: A classifier.
        batches: Of `texts.TextCollator`.
        total: Sums a number over all processes.
        order: Its number of each of the student's labels.
    """
    sums = _Sums(len(order))
    with torch.no_grad():
        for batch in batches:
            sums.add(teacher(**forward_inputs(batch)).logits[:, list(order)], batch, None, 1.0)
    return sums.validation(total, compares=False)


def _loss(
    logits_BL: Tensor,
    batch: Batch,
    *,
    soft: Soft | None,
    denominator: float | Tensor,
    entropy_temperature: float | None = None,
) -> RowLoss:
    """A text is a row, and a label a token, of the loss of language models."""
    with torch.autocast(logits_BL.device.type, enabled=False):
        rows_BL, head = as_rows(logits_BL)
        return row_loss(
            rows_BL,
            head,
            batch["shift_labels"],
            soft=soft,
            denominator=denominator,
            entropy_temperature=entropy_temperature,
        )


class _Sums:
    """Sums over the texts of all batches."""

    def __init__(self, num_labels: int) -> None:
        self._sums = torch.zeros(4, dtype=torch.float64)
        self._counts_3L = torch.zeros(3, num_labels, dtype=torch.long)

    def add(self, logits_BL: Tensor, batch: Batch, soft: Soft | None, temperature: float) -> None:
        rows = _loss(logits_BL, batch, soft=soft, denominator=1, entropy_temperature=temperature if soft else None)
        nothing = torch.zeros(())
        found = (rows.hard_sum, rows.soft_sum, rows.num_agree, rows.entropy_sum)
        self._sums += torch.stack([(nothing if value is None else value).detach().double().cpu() for value in found])
        counts_3L = count_labels(batch["shift_labels"].cpu(), logits_BL.argmax(-1).cpu(), logits_BL.shape[1])
        self._counts_3L += counts_3L

    def validation(self, total: Callable[[Tensor], float], *, compares: bool) -> Validation:
        hard, kl, agree, entropy = (total(value) for value in self._sums.unbind())
        counts = [[round(total(value)) for value in row.unbind()] for row in self._counts_3L.unbind()]
        num = sum(counts[1])
        return Validation(
            hard_loss=hard / num,
            perplexity=math.exp(min(hard / num, 700.0)),
            kl=kl / num if compares else None,
            top1_agreement=agree / num if compares else None,
            teacher_entropy=entropy / num if compares else None,
            num_tokens=num,
            accuracy=accuracy(counts),
            macro_f1=macro_f1(counts),
        )
