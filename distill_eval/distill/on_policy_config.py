"""The options of training on the student's own text."""

from __future__ import annotations

import math

from distill_eval.errors import require
from distill_eval.record import record


@record
class OnPolicyConfig:
    """Steps whose rows are the student's own continuations of the data's prompts, which the teacher scores."""

    on_policy: float = 0.0
    """Share of the steps that train on what the student writes itself (GKD); needs a live --teacher."""
    prompt_length: int = 64
    """Tokens of a text that the student continues, at most half of it; of a conversation, all before an answer."""
    max_new_tokens: int = 128
    """Tokens that the student writes at most; prompt and continuation together are at most --max-length."""
    sampling_temperature: float = 1.0
    """Divides the logits that the student samples from; 1 samples what it would say."""

    def __post_init__(self) -> None:
        require(0 <= self.on_policy <= 1, f"--on-policy {self.on_policy:g}: expected a share from 0 to 1, e.g. 0.5")
        for name in ("prompt_length", "max_new_tokens"):
            value = getattr(self, name)
            require(value >= 1, f"--{name.replace('_', '-')} {value}: expected 1 or more")
        require(
            0 < self.sampling_temperature < math.inf,
            f"--sampling-temperature {self.sampling_temperature:g}: expected a number above 0, e.g. 1",
        )
