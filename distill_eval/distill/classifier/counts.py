"""Accuracy and macro F1 from counts per label, which add up over batches and processes.

Shapes: B texts, L labels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

Counts = Sequence[Sequence[int]]
"""Per label: texts labeled right, texts that have it, texts that were given it."""


def count_labels(labels_B: Tensor, found_B: Tensor, num_labels: int) -> Tensor:
    """The counts [3, L] of a batch.

    Args:
        labels_B: The right ones.
        found_B: Those that were given.
        num_labels: L.
    """
    right_R = labels_B[labels_B == found_B]
    return torch.stack([torch.bincount(values, minlength=num_labels) for values in (right_R, labels_B, found_B)])


def accuracy(counts: Counts) -> float:
    """Share of texts labeled right."""
    return sum(counts[0]) / sum(counts[1])


def macro_f1(counts: Counts) -> float:
    """Mean of F1 = 2 TP / (2 TP + FP + FN) over the labels that a text has or was given, as in scikit-learn.

    The denominator is the number of texts that have the label plus that of texts that were given it.
    """
    scores = [2 * right / (have + given) for right, have, given in zip(*counts, strict=True) if have + given]
    return math.fsum(scores) / len(scores)
