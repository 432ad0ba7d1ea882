"""What is asked of every kind of prompts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from distill_eval.bench.prompt_config import DEFAULT_OUTPUT_LEN, PromptConfig
from distill_eval.errors import UsageError
from distill_eval.schema.timing import Prompt


class Asked(NamedTuple):
    """A number of prompts from one draw."""

    config: PromptConfig
    tokenizer: Any
    """Of the first model; it counts."""
    num: int
    seed: int
    say: Callable[[str], Any]

    @property
    def said(self) -> str:
        """How messages name the data."""
        return f"--dataset-path {self.config.dataset_path}"

    @property
    def output_len(self) -> int:
        """Tokens of an answer, where the data do not say."""
        return self.config.output_len or DEFAULT_OUTPUT_LEN

    def rng(self, *what: int) -> np.random.Generator:
        """Draws for one purpose: those of a prompt are the same however many are drawn before it."""
        return np.random.default_rng([self.seed, *what])

    def prompt(self, text: str, max_tokens: int, offset_s: float | None = None) -> Prompt:
        """A prompt, counted."""
        return Prompt(text=text, num_tokens=count(self.tokenizer, text), max_tokens=max_tokens, offset_s=offset_s)

    def too_few(self, found: int, what: str) -> UsageError:
        """Fewer than asked for are there."""
        hint = f"type --num-prompts {found}, or name more data" if found else "name other data"
        return UsageError(f"{self.said} has {found} {what}, and {self.num} are to be sent: {hint}")


def count(tokenizer: Any, text: str) -> int:
    """Tokens of a text as the completions endpoint counts them: with those that the tokenizer adds, e.g. BOS."""
    return len(tokenizer(text, verbose=False)["input_ids"])
