"""The parts of the loss between two lines of the log: each the mean over the steps in which it was measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor


class Tally:
    """Sums over micro-batches; steps on the student's own text are told apart."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._sums: dict[str, Tensor] = {}
        self._steps: dict[str, set[int]] = {}
        self._first_step: int | None = None
        self._num_own_steps = 0
        self._own_lengths: list[int] = []

    def own_step(self, lengths: list[int]) -> None:
        """Count a step on the student's own text, with the lengths of its continuations in this process."""
        self._num_own_steps += 1
        self._own_lengths += lengths

    def add(self, parts: Mapping[str, Tensor], *, step: int, own: bool) -> None:
        """Add a micro-batch: its shares of means over the tokens of a step.

        Args:
            parts: Of `objective.Losses`.
            step: Number of steps before this one.
            own: Whether it is the student's own text: its divergence is `on_policy_loss`, and that the text is likely
                (its hard loss) says nothing.
        """
        if self._first_step is None:
            self._first_step = step
        for name, value in parts.items():
            if own and name == "hard_loss":
                continue
            key = "on_policy_loss" if own and name == "soft_loss" else name
            self._sums[key] = self._sums.get(key, torch.zeros_like(value)) + value
            self._steps.setdefault(key, set()).add(step)

    def means(self, step: int, total: Callable[[Tensor], float], *, mixed: bool) -> dict[str, float]:
        """What goes into the log.

        Args:
            step: Number of steps done.
            total: Sums a number over all processes.
            mixed: Whether some steps may be on the student's own text: then their share is told.
        """
        if self._first_step is None:
            return {}
        steps, own = max(1, step - self._first_step), self._num_own_steps
        found = {name: total(value) / len(self._steps[name]) for name, value in self._sums.items()}
        if mixed:
            found["on_policy_share"] = own / steps
            device = next(iter(self._sums.values())).device
            sums = [float(sum(self._own_lengths)), float(len(self._own_lengths))]
            length, num = (total(torch.tensor(value, device=device)) for value in sums)
            if num:
                found["on_policy_length"] = length / num
        return found
