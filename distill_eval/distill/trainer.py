"""transformers' Trainer with a teacher: our loss, its parts in the log, validation by tokens, and whole checkpoints."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Trainer

from distill_eval.distill import checkpoints
from distill_eval.distill.lesson import Lesson
from distill_eval.distill.processes import Processes
from distill_eval.errors import StoreError, TrainingError, boundary

IGNORED = -100
"""A label that is not scored, as in transformers."""
SKIPPED = "skipped_batches"


def _with_labels(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """The batch with the key by which the Trainer knows that there is something to count in `shift_labels`."""
    return batch | {"labels": batch["shift_labels"]}


class DistillTrainer(Trainer):
    """Trains `model` with a `Lesson`; everything else is transformers' own.

    A batch holds `input_ids`, `position_ids` and `shift_labels` [B, T] (the token to predict at each position, -100
    where nothing is scored), and `attention_mask` [B, T] when rows are padded.
    """

    def __init__(
        self,
        *,
        lesson: Lesson,
        validation: Callable[[], Iterable[Mapping[str, Tensor]]],
        processes: Processes,
        alpha: Callable[[int], float],
        max_skipped: int,
        keep_checkpoints: int,
        **kwargs: Any,
    ) -> None:
        """Prepare.

        Args:
            lesson: The loss of a batch and its parts, and validation.
            validation: This process's batches of the validation data.
            processes: Who trains together.
            alpha: Weight of the soft term at a step.
            max_skipped: Batches without a finite gradient after which training stops.
            keep_checkpoints: Whole checkpoints to keep.
            kwargs: What `transformers.Trainer` takes.
        """
        collate = kwargs.pop("data_collator")
        super().__init__(data_collator=lambda rows: _with_labels(collate(rows)), **kwargs)
        self.lesson, self.alpha = lesson, alpha
        self.validation, self.processes = validation, processes
        self.max_skipped, self.keep_checkpoints = max_skipped, keep_checkpoints
        self.model_accepts_loss_kwargs = True  # `num_items_in_batch` comes to compute_loss, which divides by it
        self._sums: dict[str, Tensor] = {}
        self._first_step = 0
        self._batches: list[Any] = []

    # ---- the loss

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Tensor | int | None]:
        """The micro-batches of one optimizer step, and how many tokens they score together."""
        self._batches, num_items = super().get_batch_samples(epoch_iterator, num_batches, device)
        return self._batches, num_items

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Mapping[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The batch's share of the mean loss over all scored tokens of the optimizer step."""
        denominator = (inputs["shift_labels"] != IGNORED).sum() if num_items_in_batch is None else num_items_in_batch
        found = self.lesson(model, inputs, alpha=self.alpha(self.state.global_step), denominator=denominator)
        if model.training:
            if not self._sums:
                self._first_step = self.state.global_step
            for name, value in found.parts.items():
                self._sums[name] = self._sums.get(name, torch.zeros_like(value)) + value
        loss = found.loss
        if self.args.average_tokens_across_devices and num_items_in_batch is not None:
            loss = loss * self.accelerator.num_processes  # DDP averages gradients; the denominator is of all processes
        return (loss, {}) if return_outputs else loss

    # ---- what goes wrong

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        """The norm over all processes; when it is not finite, the whole step is left out and counted."""
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)  # type: ignore[no-untyped-call]
        if not math.isfinite(float(norm)):
            assert self.optimizer is not None
            self.optimizer.zero_grad(set_to_none=True)  # AdamW leaves out what has no gradient
            self._skip()
        return norm

    def _skip(self) -> None:
        count = 1 + sum(SKIPPED in entry for entry in self.state.log_history)
        place = self._save_batches()
        self.log({SKIPPED: float(count)})
        if count > self.max_skipped:
            raise TrainingError(
                f"{count} batches had a loss or gradient that is not a number (--max-skipped {self.max_skipped}); the "
                f"last one is {place}. Lower --learning-rate, raise --accumulate, or train in --dtype float32"
            )

    def _save_batches(self) -> Path:
        from safetensors.torch import save_file

        place = f"-process-{self.processes.number}" if self.processes.num_processes > 1 else ""
        output = Path(str(self.args.output_dir)) / f"skipped-step-{self.state.global_step}{place}.safetensors"
        tensors = {
            f"{number}.{name}": value.contiguous()
            for number, batch in enumerate(self._batches)
            for name, value in batch.items()
            if name != "labels"
        }
        save_file(tensors, output)
        return output

    # ---- the log

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the parts of the loss, each the mean over the steps since the last line."""
        if "loss" in logs and self._sums:
            steps = max(1, self.state.global_step - self._first_step)
            for name, value in self._sums.items():
                total = self.accelerator.reduce(value, reduction="sum")
                logs[name] = float(total) / steps
            self._sums = {}
        super().log(logs, start_time)

    # ---- validation

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Means over the scored tokens of the validation data: nats, perplexity, and how near the teacher is."""
        del eval_dataset, ignore_keys
        found = self.lesson.validate(self.validation(), self.processes.total)
        values = {"loss": found.hard_loss, "perplexity": found.perplexity}
        for name in ("kl", "top1_agreement", "teacher_entropy"):
            if getattr(found, name) is not None:
                values[name] = getattr(found, name)
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in values.items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    # ---- checkpoints

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """As transformers does, then sealed; older ones go only after that. A half-written one is removed."""
        output = Path(str(self.args.output_dir))
        folder = output / f"{checkpoints.PREFIX}{self.state.global_step}"
        is_saved = False
        try:
            advice = "Free space, then add --resume: it goes on from the checkpoint before"
            with boundary(StoreError, f"cannot write {folder}. {advice}"):
                super()._save_checkpoint(model, trial)
                self.accelerator.wait_for_everyone()
                if self.args.should_save:
                    checkpoints.seal(folder)
            is_saved = True
        finally:
            if not is_saved:
                shutil.rmtree(folder, ignore_errors=True)
        if self.args.should_save:
            checkpoints.keep_last(output, self.keep_checkpoints)
        self.accelerator.wait_for_everyone()
