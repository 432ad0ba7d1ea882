"""From our options to transformers' TrainingArguments, and the settings that a resumed run must share."""

from __future__ import annotations

import math
from importlib.util import find_spec
from typing import Any, NamedTuple

from transformers import TrainingArguments

from distill_eval.distill.config import DistillConfig, TrainingConfig
from distill_eval.errors import UsageError
from distill_eval.record import changed, flat

POINTS = 20
"""Validations in a run that does not say how often."""
FREE = frozenset(
    {
        "resume",
        "output_dir",
        "training.report_to",
        "training.keep_checkpoints",
        "training.device",
        "labels.measure_speed",
    }
)
"""Settings that a resumed run may change: they do not change the weights (a GPU's are not bit-identical anyway)."""


class Batching(NamedTuple):
    """How an optimizer step is cut into forward passes; their product stays the same."""

    batch_size: int
    accumulate: int

    def halved(self) -> Batching:
        """At most half as many sequences at once, as often as it takes for the same step."""
        size = next(size for size in range(self.batch_size // 2, 0, -1) if self.batch_size % size == 0)
        return Batching(size, self.accumulate * self.batch_size // size)


def num_steps(training: TrainingConfig, num_blocks: int | None, num_processes: int) -> int:
    """Optimizer steps of the whole run.

    Args:
        training: The schedule.
        num_blocks: Rows of the training data; `None` when it streams.
        num_processes: Each takes its own batch.

    Raises:
        UsageError: streamed data without --steps.
    """
    if training.steps is not None:
        return training.steps
    if num_blocks is None:
        raise UsageError("--streaming: the data has no known size. Say how long to train with --steps")
    per_step = training.batch_size * training.accumulate * num_processes
    return max(1, math.ceil((training.epochs or 1.0) * num_blocks / per_step))


def require_tracker(name: str) -> None:
    """Refuse a tracker that is not installed.

    Raises:
        UsageError: it is not.
    """
    packages = {"tensorboard": ("tensorboard", "tensorboardX"), "none": ()}.get(name, (name,))
    if packages and not any(find_spec(package) for package in packages):
        raise UsageError(f"--report-to {name}: it is not installed. Type: pip install {packages[0]}")


def steps_per_validation(training: TrainingConfig, steps: int) -> int:
    """Optimizer steps between two validations of a run of so many."""
    return training.eval_every or max(1, steps // POINTS)


def arguments(config: DistillConfig, batching: Batching, steps: int, *, use_cpu: bool) -> TrainingArguments:
    """What transformers.Trainer is told."""
    training = config.training
    every = steps_per_validation(training, steps)
    return TrainingArguments(
        output_dir=str(config.output_dir),
        max_steps=steps,
        per_device_train_batch_size=batching.batch_size,
        per_device_eval_batch_size=batching.batch_size,
        gradient_accumulation_steps=batching.accumulate,
        learning_rate=training.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=math.ceil(training.warmup * steps),
        weight_decay=training.weight_decay,
        max_grad_norm=training.max_grad_norm,
        bf16=training.dtype == "bfloat16",
        use_cpu=use_cpu,
        gradient_checkpointing=training.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False} if training.gradient_checkpointing else None,
        eval_strategy="steps",
        eval_steps=every,
        save_strategy="steps",
        save_steps=training.save_every or every,
        save_total_limit=None,  # checkpoints.keep_last removes the old ones, after the new one is whole
        logging_steps=max(1, every // 5),
        report_to=training.report_to,
        seed=training.seed,
        data_seed=training.seed,
        remove_unused_columns=False,
        dataloader_pin_memory=not use_cpu,
        disable_tqdm=True,
        ddp_find_unused_parameters=config.labels.label_column is not None,  # a language model has none
        accelerator_config={"dispatch_batches": False},  # else streamed rows of other lengths are put into one batch
        include_num_input_tokens_seen="all",
    )


def settings(config: DistillConfig) -> dict[str, str]:
    """Every option that is not its default, by the name of its flag."""
    return {
        _flag(name): _text(value) for name, value in changed(config).items() if name not in ("resume", "output_dir")
    }


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Options that a resumed run has otherwise, as flags with both values."""
    old, new = flat(before), flat(now)
    names = [name for name in sorted(old.keys() | new.keys()) if name not in FREE and old.get(name) != new.get(name)]
    return [f"{_flag(name)} was {_text(old.get(name))} and is {_text(new.get(name))}" for name in names]


def _flag(name: str) -> str:
    return f"--{name.rpartition('.')[2].replace('_', '-')}"


def _text(value: Any) -> str:
    return ",".join(map(str, value)) or "empty" if isinstance(value, list) else str(value)
