"""The trainer of classifiers: it also counts tokens, over which layers are compared."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from distill_eval.distill.trainer import DistillTrainer


class ClassifierTrainer(DistillTrainer):
    """`DistillTrainer`, for a `ClassifierLesson`: one label per text, and hidden states of all its tokens."""

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Tensor | int | None]:
        """The micro-batches of one optimizer step; their tokens are counted over all processes."""
        batches, num_items = super().get_batch_samples(epoch_iterator, num_batches, device)
        count = torch.stack([batch["attention_mask"].sum() for batch in batches]).sum().to(device) if batches else None
        lesson: Any = self.lesson
        lesson.num_positions = None if count is None else self.accelerator.reduce(count, reduction="sum")
        return batches, num_items
