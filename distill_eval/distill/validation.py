"""Means over the tokens of the validation text, of a student beside its teacher and of a teacher alone.

Shapes: B batch, T positions, N scored rows, D hidden size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from distill_eval.distill.isolation import find_isolation, forward_inputs
from distill_eval.distill.objective import scored_rows
from distill_eval.distill.paired_batches import teacher_view
from distill_eval.distill.projection import RowLoss, row_loss
from distill_eval.head import read_head
from distill_eval.schema.distill import Validation


def validate_teacher(
    teacher: Any, batches: Iterable[Mapping[str, Tensor]], total: Callable[[Tensor], float] = float
) -> Validation:
    """The teacher's own loss on the validation text, in its own tokens; the arguments are as for `Lesson.validate`."""
    isolation = find_isolation(teacher)
    sums = ValidationSums()
    with torch.no_grad():
        for batch in map(teacher_view, batches):
            output = teacher.base_model(**forward_inputs(batch, isolation))
            hidden_ND, labels_N, scored_BT = scored_rows(output[0], batch["shift_labels"])
            rows = row_loss(hidden_ND, read_head(teacher), labels_N, soft=None, denominator=max(1, len(labels_N)))
            sums.add(rows, batch, scored_BT)
    return sums.validation(None, total)


class ValidationSums:
    """Sums over the rows of all batches."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._sums = torch.zeros(8, dtype=torch.float64)

    def add(self, rows: RowLoss, batch: Mapping[str, Tensor], scored_BT: Tensor) -> None:
        """Add a batch.

        Args:
            rows: Its scored rows.
            batch: Where the tokenizers differ with `counted`, `num_bytes` and, for a student, `partner`.
            scored_BT: Where the scored rows are.
        """
        measured = rows.soft_sum, rows.num_agree, rows.entropy_sum
        has_bytes = "num_bytes" in batch
        found = (
            len(rows.hard_N),
            rows.hard_sum,
            *(0.0 if value is None else value for value in measured),
            (batch["partner"][scored_BT] >= 0).sum() if "partner" in batch else 0.0,
            rows.hard_N[batch["counted"][scored_BT]].sum() if has_bytes else 0.0,
            batch["num_bytes"].sum() if has_bytes else 0.0,
        )
        self._sums += torch.tensor(list(map(float, found)), dtype=torch.float64)

    def validation(self, distance: str | None, total: Callable[[Tensor], float]) -> Validation:
        """The means.

        Args:
            distance: What the soft term was: `forward_kl`, `uld`, or none.
            total: Sums a number over all processes.
        """
        num, hard, soft, agree, entropy, paired, counted, num_bytes = (total(value) for value in self._sums.unbind())
        across = distance == "uld"
        compared = paired if across else num
        return Validation(
            hard_loss=hard / num,
            perplexity=math.exp(min(hard / num, 700.0)),
            kl=soft / num if distance == "forward_kl" else None,
            top1_agreement=agree / num if distance == "forward_kl" else None,
            teacher_entropy=entropy / compared if distance and compared else None,
            num_tokens=round(num),
            uld=soft / paired if across and paired else None,
            paired_share=paired / num if across else None,
            bits_per_byte=counted / math.log(2) / num_bytes if num_bytes else None,
        )
