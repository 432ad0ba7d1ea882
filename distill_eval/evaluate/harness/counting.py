"""How many tokens a task's requests are, for a tokenizer: the same requests that would be scored, and no model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from lm_eval.api.instance import Instance

from distill_eval.evaluate.harness.engine_lm import EngineLM
from distill_eval.evaluate.scorer.generate import GenerateRequest
from distill_eval.evaluate.scorer.packed import LogLikelihood
from distill_eval.evaluate.scorer.tree import TokenRequest, build_tree


class Counted(NamedTuple):
    """Tokens that one model reads."""

    num_tokens: int
    """Of every request whole."""
    num_shared_tokens: int
    """What is left of them when a common beginning is read once, as `--scorer prefix` does."""
    num_new_tokens: int
    """That it writes at most."""


class _Counter:
    """Takes the place of an engine."""

    plain_reason: str | None = None

    def __init__(self, max_length: int) -> None:
        self.max_length = max_length
        self.found = Counted(0, 0, 0)

    def score(
        self,
        requests: Sequence[TokenRequest],
        *,
        done: frozenset[int],
        on_scores: Callable[[dict[int, LogLikelihood]], None],
        on_tokens: Callable[[int, int], None],
    ) -> None:
        """Count the tokens that a model would read."""
        del done, on_tokens
        whole = sum(len(request.inputs) for request in requests)
        self._add(whole, build_tree(requests).num_subtree_tokens, 0)
        on_scores(dict.fromkeys(range(len(requests)), LogLikelihood(0.0, is_greedy=False)))

    def generate(
        self,
        requests: Sequence[GenerateRequest],
        *,
        done: frozenset[int],
        on_batch: Callable[[dict[int, list[int]]], None],
    ) -> None:
        """Count the prompts' tokens, and those that a model may write."""
        del done
        whole = sum(len(request.inputs) for request in requests)
        self._add(whole, whole, sum(request.max_new_tokens for request in requests))
        on_batch({index: [] for index in range(len(requests))})

    def _add(self, *numbers: int) -> None:
        self.found = Counted(*(before + more for before, more in zip(self.found, numbers, strict=True)))


def count(instances: Sequence[Instance], tokenizer: Any, *, max_length: int) -> Counted:
    """The tokens of a task's rendered requests.

    Args:
        instances: Of one task.
        tokenizer: Of transformers.
        max_length: Tokens that the model reads at once: longer requests are cut, texts are read in windows.

    Raises:
        ModelError: a request wants more than greedy decoding.
    """
    counter = _Counter(max_length)
    model = EngineLM(counter, tokenizer)
    asked: dict[str, list[Instance]] = {}
    for instance in instances:
        asked.setdefault(instance.request_type, []).append(instance)
    for kind, requests in asked.items():
        getattr(model, kind)(requests)
    return counter.found
