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
from distill_eval.distill.own_text import OwnText
from distill_eval.distill.processes import Processes
from distill_eval.distill.tally import Tally
from distill_eval.errors import StoreError, TrainingError, boundary
from distill_eval.schema.distill import Validation

IGNORED = -100
"""A label that is not scored, as in transformers."""
SKIPPED = "skipped_batches"


def _with_labels(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """The batch with the key by which the Trainer knows that there is something to count in `shift_labels`."""
    return batch | {"labels": batch["shift_labels"]}


class DistillTrainer(Trainer):
    """Trains `model` with a `Lesson`; everything else is transformers' own.

    A batch holds `input_ids`, `position_ids` and `shift_labels` [B, T] (the token to predict at each position, -100
    where nothing is scored), and `attention_mask` [B, T] when rows are padded. A classifier's holds its labels as
    `shift_labels` [B], the key by which the Trainer counts what is scored.
    """

    def __init__(
        self,
        *,
        lesson: Lesson,
        validation: Callable[[], Iterable[Mapping[str, Tensor]]],
        processes: Processes,
        alpha: Callable[[int], float | None],
        max_skipped: int,
        keep_checkpoints: int,
        own_text: OwnText | None = None,
        **kwargs: Any,
    ) -> None:
        """Prepare.

        Args:
            lesson: The loss of a batch and its parts, and validation.
            validation: This process's batches of the validation data.
            processes: Who trains together.
            alpha: Weight of the soft term at a step; `None`: the labels alone.
            max_skipped: Batches without a finite gradient after which training stops.
            keep_checkpoints: Whole checkpoints to keep.
            own_text: Replaces the batches of some steps by the student's own text; `None` never does.
            kwargs: What `transformers.Trainer` takes.
        """
        collate = kwargs.pop("data_collator")
        super().__init__(data_collator=lambda rows: _with_labels(collate(rows)), **kwargs)
        self.lesson, self.alpha, self.own_text = lesson, alpha, own_text
        self.validation, self.processes = validation, processes
        self.max_skipped, self.keep_checkpoints = max_skipped, keep_checkpoints
        self.model_accepts_loss_kwargs = True  # `num_items_in_batch` comes to compute_loss, which divides by it
        self._tally = Tally()
        self._is_own = False
        self._batches: list[Any] = []
        self._validated: tuple[int, Validation] | None = None

    # ---- the loss

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Tensor | int | None]:
        """The micro-batches of one optimizer step, and how many tokens they score together, in all processes."""
        self._batches, num_items = super().get_batch_samples(epoch_iterator, num_batches, device)
        step, self._is_own = self.state.global_step, False
        if self.own_text is None or not self._batches or not (self.alpha(step) and self.own_text.is_chosen(step)):
            return self._batches, num_items
        with self.accelerator.autocast():
            written = [self.own_text.write(batch, step) for batch in self._batches]
        own = [_with_labels(batch) for batch, _ in written]
        num_own = self._get_num_items_in_batch(own, device)  # what is scored now is other text
        if num_own:
            self._batches, num_items, self._is_own = own, num_own, True
            self._tally.own_step([length for _, lengths in written for length in lengths if length])
        return self._batches, num_items

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Mapping[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The batch's share of the mean loss over all scored tokens of the optimizer step.

        On the student's own text it is the divergence alone: its tokens are no labels to learn.
        """
        denominator = (inputs["shift_labels"] != IGNORED).sum() if num_items_in_batch is None else num_items_in_batch
        step = self.state.global_step
        alpha = 1.0 if self._is_own else self.alpha(step)
        found = self.lesson(model, inputs, alpha=alpha, denominator=denominator)
        if model.training:
            self._tally.add(found.parts, step=step, own=self._is_own)
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
        if "loss" in logs:
            logs |= self._tally.means(self.state.global_step, self.processes.total, mixed=self.own_text is not None)
            self._tally = Tally()
        super().log(logs, start_time)

    # ---- validation

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Means over the scored tokens of the validation data: nats, perplexity, and how near the teacher is."""
        del eval_dataset, ignore_keys
        found = self.validated()
        values = {"loss": found.hard_loss, "perplexity": found.perplexity}
        for name in ("kl", "top1_agreement", "teacher_entropy", "uld", "bits_per_byte", "accuracy", "macro_f1"):
            if getattr(found, name) is not None:
                values[name] = getattr(found, name)
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in values.items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def validated(self) -> Validation:
        """The student as it is now; nothing is measured again when it has not learned since."""
        step = self.state.global_step
        if self._validated is None or self._validated[0] != step:
            self._validated = step, self.lesson.validate(self.validation(), self.processes.total)
        return self._validated[1]

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
