"""What a live teacher with another tokenizer says about a batch, where it has read the same text as the student.

Shapes: B batch, T positions of the student, K of the teacher, N scored rows, P of them with a partner, D hidden size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from distill_eval.distill.isolation import Isolation, find_isolation, forward_inputs
from distill_eval.distill.objective import Inside
from distill_eval.distill.paired_batches import teacher_view
from distill_eval.distill.signals import Taught, own_dtype
from distill_eval.distill.targets import AlignedTarget, LiveTeacher
from distill_eval.head import read_head


class AlignedSignal:
    """A teacher that runs beside the student, on its own tokens for the same text."""

    is_exact = True
    distance = "uld"

    def __init__(self, teacher: Any) -> None:
        """Prepare.

        Args:
            teacher: A causal language model in evaluation mode, on its device.
        """
        self._teacher = teacher
        self._isolation: Isolation = find_isolation(teacher)

    def __call__(self, batch: Mapping[str, Tensor], scored_BT: Tensor) -> Taught:
        """Run the teacher on its tokens, without gradients, and look the partners of the scored positions up."""
        with torch.no_grad(), own_dtype(self._teacher):
            output = self._teacher.base_model(**forward_inputs(teacher_view(batch), self._isolation))
        partner_N = batch["partner"][scored_BT]
        row_N = scored_BT.nonzero()[:, 0]
        has_N = partner_N >= 0
        hidden_PD = output[0][row_N[has_N], partner_N[has_N]]
        return Taught(AlignedTarget(LiveTeacher(hidden_PD, read_head(self._teacher)), has_N), Inside())
