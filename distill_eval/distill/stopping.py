"""Callbacks: when training ends before its last step, and what it says while it runs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from distill_eval.schema.distill import Validation

OnValidation = Callable[[int, int, Mapping[str, float]], None]
"""Hears of a validation: its step, the steps of the whole run, and `eval_loss` and, with a live teacher, `eval_kl`."""


def told(perplexity: float, bits_per_byte: float | None, accuracy: float | None = None) -> str:
    """What compares with another model, in words: bits per byte across tokenizers; a classifier's accuracy."""
    if accuracy is not None:
        return f"accuracy {accuracy:.4f}, perplexity {perplexity:.3f}"
    return f"perplexity {perplexity:.2f}" if bits_per_byte is None else f"bits per byte {bits_per_byte:.3f}"


def told_of(found: Validation) -> str:
    """As `told`."""
    return told(found.perplexity, found.bits_per_byte, found.accuracy)


class StopEarly(TrainerCallback):
    """Reads the log alone, so that a resumed run decides as an uninterrupted one."""

    def __init__(
        self,
        *,
        patience: int | None,
        stop_within: float | None,
        teacher_perplexity: float | None,
        teacher_bits_per_byte: float | None = None,
    ) -> None:
        """Prepare.

        Args:
            patience: Validations without a better perplexity; `None` never stops for that.
            stop_within: Share of the teacher's perplexity within which the student's is near enough.
            teacher_perplexity: On the same text; `None` without a live teacher.
            teacher_bits_per_byte: On the same text, of a teacher with another tokenizer: compared instead, for
                perplexities of different tokens are of different things.
        """
        self._patience = patience
        self._figure = "perplexity" if teacher_bits_per_byte is None else "bits_per_byte"
        theirs = teacher_perplexity if teacher_bits_per_byte is None else teacher_bits_per_byte
        self._near = None if stop_within is None or theirs is None else theirs * (1 + stop_within)
        self.reason: str | None = None

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Decide after each validation."""
        del args, kwargs
        validations = [entry for entry in state.log_history if "eval_perplexity" in entry]
        seen = [entry["eval_perplexity"] for entry in validations]
        now = validations[-1][f"eval_{self._figure}"]
        if self._near is not None and now <= self._near:
            figure = told(now, None) if self._figure == "perplexity" else told(seen[-1], now)
            self.reason = f"validation {figure} is within --stop-within of the teacher's"
        elif self._patience is not None and len(seen) - 1 - seen.index(min(seen)) >= self._patience:
            self.reason = f"{self._patience} validations without a better perplexity than {min(seen):.2f} (--patience)"
        if self.reason is not None:
            control.should_training_stop = True
            control.should_save = True
        return control


class Tell(TrainerCallback):
    """One line per validation, with an estimate of the time left."""

    def __init__(self, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        """Prepare.

        Args:
            say: Takes lines for the reader.
            clock: Seconds.
        """
        self._say, self._clock = say, clock
        self._began, self._first_step = clock(), 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the clock."""
        del args, control, kwargs
        self._began, self._first_step = self._clock(), state.global_step

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Say where training is."""
        del args, control
        metrics = kwargs["metrics"]
        done = state.global_step - self._first_step
        left = (self._clock() - self._began) * (state.max_steps - state.global_step) / done if done else 0.0
        near = f", KL {metrics['eval_kl']:.3f}" if "eval_kl" in metrics else ""
        near += f", ULD {metrics['eval_uld']:.3f}" if "eval_uld" in metrics else ""
        figure = told(metrics["eval_perplexity"], metrics.get("eval_bits_per_byte"), metrics.get("eval_accuracy"))
        place = f"step {state.global_step} of {state.max_steps}"
        rest = f", about {left:.0f} s left" if done else ""
        self._say(f"{place}: validation {figure}{near}{rest}")


class Report(TrainerCallback):
    """Hands each validation on; what the listener raises ends the training."""

    def __init__(self, listener: OnValidation) -> None:
        """Take who listens."""
        self._listener = listener

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Tell the listener."""
        del args, control
        self._listener(state.global_step, state.max_steps, kwargs["metrics"])


class Clock(TrainerCallback):
    """How long optimizer steps take, without what lies between them: validations, checkpoints, loading."""

    def __init__(self) -> None:
        """Begin with none."""
        self._seconds: list[float] = []
        self._began = 0.0

    @property
    def seconds_per_step(self) -> float | None:
        """The mean; `None` before the first step."""
        return statistics.mean(self._seconds) if self._seconds else None

    def on_step_begin(self, *given: Any, **kwargs: Any) -> None:
        """A step's first batch is there."""
        del given, kwargs
        self._began = time.perf_counter()

    def on_step_end(self, *given: Any, **kwargs: Any) -> None:
        """Its weights are changed."""
        del given, kwargs
        self._seconds.append(time.perf_counter() - self._began)
