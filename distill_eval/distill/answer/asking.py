"""What an engine is given and gives back."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np

from distill_eval.distill.documents import Document
from distill_eval.schema.answers import Answer

Keep: TypeAlias = Callable[[Mapping[int, Answer]], None]
"""Takes answers, by the request's number, as soon as they are there."""


class Sampling(NamedTuple):
    """How tokens are chosen."""

    max_new_tokens: int
    temperature: float
    """0: the most likely token each time."""
    top_p: float
    seed: int

    def derived_seed(self, number: int) -> int:
        """A seed of its own, of 31 bits, for request or batch `number`."""
        return int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0] >> 1)


class Engine(Protocol):
    """Who answers."""

    @property
    def facts(self) -> dict[str, Any]:
        """The fields of `AnswersKey` that it alone knows."""

    def answer(self, requests: Sequence[Document], done: Container[int], keep: Keep) -> None:
        """Answer the requests that are not done.

        Args:
            requests: Prompts, each as often as it is to be answered; numbered from 0.
            done: Numbers of those that an earlier run answered.
            keep: Takes the answers.

        Raises:
            ModelError: the teacher cannot be had, or fails for a reason that will not pass.
        """
