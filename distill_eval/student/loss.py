"""The loss of a model on calibration text.

Shapes: T tokens of a sample, N scored positions, V vocabulary, L labels of a classifier.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from distill_eval.errors import ModelError, require
from distill_eval.student.teacher import Kind

_ROWS = 256
"""Positions whose log-probabilities exist at once in float32."""


class Loss(NamedTuple):
    """What a pass over the calibration text gave."""

    mean: float
    """Nats per token, or for a classifier nats per text from its teacher's answers."""
    num_scored: int
    answers_L: list[Tensor]
    """A classifier's log-probabilities per sample, float32; empty for a language model."""


def measure_loss(
    model: PreTrainedModel, samples_T: Iterable[Tensor], kind: Kind, teacher_answers_L: Sequence[Tensor] = ()
) -> Loss:
    """The mean loss over the samples.

    A language model's is the cross-entropy of the next token. A classifier's is KL(teacher || model) of its answers;
    without a teacher's answers the model is the teacher, and its loss 0.

    Raises:
        ModelError: the loss is not a number.
    """
    total, scored = 0.0, 0
    answers_L: list[Tensor] = []
    with torch.inference_mode():
        for index, sample_T in enumerate(samples_T):
            ids_BT = sample_T[None].to(model.device)
            if kind == "causal":
                total += _cross_entropy(model(ids_BT, use_cache=False).logits[0, :-1], ids_BT[0, 1:])
                scored += len(sample_T) - 1
            else:
                answer_L = model(ids_BT).logits[0].float().log_softmax(-1)
                answers_L.append(answer_L)
                teacher_L = teacher_answers_L[index] if teacher_answers_L else answer_L
                total += float((teacher_L.exp() * (teacher_L - answer_L)).sum())
                scored += 1
    if not math.isfinite(total):
        raise ModelError(f"the loss of {type(model).__name__} on the calibration text is {total}: not a number")
    return Loss(total / scored, scored, answers_L)


def _cross_entropy(logits_NV: Tensor, labels_N: Tensor) -> float:
    """Summed over the positions, in nats."""
    parts = zip(logits_NV.split(_ROWS), labels_N.split(_ROWS), strict=True)
    return sum(float(F.cross_entropy(part_NV.float(), part_N, reduction="sum")) for part_NV, part_N in parts)


def require_answers(config: Any, kind: Kind) -> None:
    """Refuse a classifier whose answer is not one distribution over labels.

    Raises:
        UsageError: it has one label (regression), or several at once.
    """
    problem = getattr(config, "problem_type", None)
    require(
        kind == "causal" or (problem in {None, "single_label_classification"} and config.num_labels > 1),
        f"--calibration: this classifier gives {config.num_labels} labels ({problem}), and what is measured is how far "
        "the student's distribution over labels is from the teacher's. Type --keep-layers or --drop-layers alone",
    )
