"""What a student is measured on: its forward pass becomes the loss of a batch, and its validation.

Shapes: B batch, T positions, N scored rows, D hidden size.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig

from distill_eval.distill.attention_maps import Tap
from distill_eval.distill.features import layer_rows
from distill_eval.distill.isolation import Isolation, find_isolation, forward_inputs
from distill_eval.distill.objective import InnerLosses, Inside, Losses, Terms, combine, scored_rows
from distill_eval.distill.projection import Soft, row_loss
from distill_eval.distill.signals import Signal, Taught
from distill_eval.distill.targets import AlignedTarget
from distill_eval.distill.validation import ValidationSums
from distill_eval.head import read_head
from distill_eval.schema.distill import Validation

Batch = Mapping[str, Tensor]


class Lesson(ABC):
    """The loss of a batch for one student, its teacher and the weights of the terms; a class per kind of model."""

    def __init__(
        self,
        student: Any,
        signal: Signal | None,
        *,
        divergence: str,
        temperature: float,
        beta: float,
        inner: InnerLosses | None = None,
        tap: Tap | None = None,
    ) -> None:
        """Put the loss in the place of the student's forward pass, where DDP, FSDP and autocast expect it.

        Args:
            student: A model of transformers.
            signal: Its teacher; `None` trains on the labels alone.
            divergence: Of the soft term.
            temperature: Of the soft term.
            beta: Of `jsd`.
            inner: The terms that compare layers.
            tap: On the student, when attention is compared.
        """
        self.signal, self.inner, self._tap = signal, inner, tap
        self._divergence, self._temperature, self._beta = divergence, temperature, beta
        self._student = student
        self._native: Callable[..., Any] = student.forward
        # Not the bound method: accelerate's mixed precision takes a method's function and binds it to the student.
        student.forward = partial(self._forward)

    def detach(self) -> None:
        """Give the student its own forward pass back."""
        self._student.forward = self._native

    def __call__(self, model: Any, batch: Batch, *, alpha: float | None, denominator: float | Tensor) -> Losses:
        """The micro-batch's share of the mean over `denominator` scored tokens, or a classifier's texts.

        Args:
            model: The student, perhaps wrapped for several processes.
            batch: Of the collator of its kind.
            alpha: Weight of the soft term; at 0 the teacher is not asked, unless layers are compared. `None`: the
                labels alone, whatever the terms are.
            denominator: What is scored in the whole accumulated batch.
        """
        asked = self.signal is not None and alpha is not None and (alpha > 0 or self.inner is not None)
        taught = self._ask(batch) if asked else None
        found: Losses = model(batch=batch, taught=taught, alpha=alpha or 0.0, denominator=denominator)
        return found

    @abstractmethod
    def validate(self, batches: Iterable[Batch], total: Callable[[Tensor], float] = float) -> Validation:
        """The student on text that it is not trained on; with a live teacher, how near it is.

        Args:
            batches: Of the collator of its kind, on the student's device.
            total: Sums a number over all processes.
        """

    @abstractmethod
    def _ask(self, batch: Batch) -> Taught:
        """What the teacher says about a batch."""

    @abstractmethod
    def _forward(self, *, batch: Batch, taught: Taught | None, alpha: float, denominator: float | Tensor) -> Losses:
        """The student's forward pass while it learns."""

    def _soft(self, taught: Taught | None, alpha: float) -> Soft | None:
        """The soft term; there is none where the teacher's labels are not known or do not count."""
        if taught is None or taught.target is None or alpha == 0:
            return None
        return Soft(taught.target, self._divergence, self._temperature, alpha, self._beta)

    def _terms(self, inside: Inside, taught: Taught | None, positions_BT: Tensor) -> Terms:
        """The terms that compare layers; without a teacher's answer they are nothing."""
        if self.inner is None:
            return {}
        return self.inner(inside, taught.inside, positions_BT) if taught else self.inner.idle()

    def _watched(self, run: Callable[..., Any], inputs: Mapping[str, Any]) -> tuple[Any, Callable[[Tensor], Inside]]:
        """A forward pass, and what is compared of it once it is known at which positions."""
        inner = self.inner
        layers = [ours for ours, _ in inner.pairs] if inner and inner.feature_weight > 0 else []
        if self._tap is not None:
            self._tap.open()
        output = run(**inputs, output_hidden_states=bool(layers))

        def inside(scored_BT: Tensor) -> Inside:
            features = layer_rows(output.hidden_states, layers, scored_BT) if layers else {}
            return Inside(features, self._tap.take() if self._tap is not None else {})

        return output, inside


class TextLesson(Lesson):
    """Of a causal language model; a batch is one of `blocks.Collator`."""

    def __init__(self, student: Any, signal: Signal | None, **how: Any) -> None:
        """As `Lesson`."""
        super().__init__(student, signal, **how)
        self._isolation: Isolation = find_isolation(student)

    @contextmanager
    def native(self) -> Iterator[Any]:
        """The student as transformers knows it, to generate with: its own forward pass, no dropout, no habits.

        A generation config of the model's files would change what is sampled (repetition penalties, for instance).
        """
        student = self._student
        kept = student.forward, student.generation_config, student.training
        student.forward, student.generation_config = self._native, GenerationConfig()
        student.eval()
        try:
            yield student
        finally:
            student.forward, student.generation_config = kept[:2]
            student.train(kept[2])

    def _ask(self, batch: Batch) -> Taught:
        assert self.signal is not None
        return self.signal(batch, batch["shift_labels"] != -100)

    def _forward(self, *, batch: Batch, taught: Taught | None, alpha: float, denominator: float | Tensor) -> Losses:
        hidden_ND, labels_N, inside, scored_BT = self._run(batch)
        soft = self._soft(taught, alpha)
        rows = row_loss(hidden_ND, read_head(self._student), labels_N, soft=soft, denominator=denominator)
        found = combine(rows, denominator, self._terms(inside, taught, scored_BT))
        if soft is not None and isinstance(soft.target, AlignedTarget):
            found.parts["paired_share"] = soft.target.has_N.sum() / denominator
        return found

    def _run(self, batch: Batch) -> tuple[Tensor, Tensor, Inside, Tensor]:
        """The student's last hidden states and labels on the scored rows, and what its layers are compared by."""
        output, inside = self._watched(self._student.base_model, forward_inputs(batch, self._isolation))
        hidden_ND, labels_N, scored_BT = scored_rows(output[0], batch["shift_labels"])
        return hidden_ND, labels_N, inside(scored_BT), scored_BT

    # ---- validation

    def validate(self, batches: Iterable[Batch], total: Callable[[Tensor], float] = float) -> Validation:
        """Means over the scored tokens; see `Lesson`."""
        distance = self.signal.distance if self.signal is not None and self.signal.is_exact else None
        was_training = self._student.training
        self._student.eval()
        sums = ValidationSums()
        with torch.no_grad():
            for batch in batches:
                taught = self._ask(batch) if distance else None
                hidden_ND, labels_N, _, scored_BT = self._run(batch)
                soft = (
                    Soft(taught.target, distance, 1.0, 1.0)
                    if taught and distance and taught.target is not None
                    else None
                )
                rows = row_loss(
                    hidden_ND,
                    read_head(self._student),
                    labels_N,
                    soft=soft,
                    denominator=max(1, len(labels_N)),
                    entropy_temperature=self._temperature if taught else None,
                )
                sums.add(rows, batch, scored_BT)
        self._student.train(was_training)
        return sums.validation(distance, total)
