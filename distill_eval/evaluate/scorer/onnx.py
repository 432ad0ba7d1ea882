"""Token requests on ONNX Runtime GenAI: one sequence at a time, each shared beginning run once.

The runtime rewinds its keys and values, so requests in lexicographic order cost only what follows the prefix that they
share with the one before. The logits behind a rewound prefix are the same bits as without it (docs/design/variants.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import groupby

import torch

from distill_eval.engine.genai import GenaiModel, Walk
from distill_eval.evaluate.scorer.generate import GenerateRequest, NonFiniteError, is_finished, stop_lengths
from distill_eval.evaluate.scorer.packed import LogLikelihood
from distill_eval.evaluate.scorer.tree import TokenRequest


class OnnxEngine:
    """Scores and continues token requests (an `engine_lm.TokenEngine`)."""

    plain_reason: str | None = None

    def __init__(self, model: GenaiModel, max_length: int) -> None:
        self.max_length = max_length
        self._model = model

    def score(
        self,
        requests: Sequence[TokenRequest],
        *,
        done: frozenset[int],
        on_scores: Callable[[dict[int, LogLikelihood]], None],
        on_tokens: Callable[[int, int], None],
    ) -> None:
        """Score every request that is not `done`; requests that read the same tokens are run once."""
        order = sorted(range(len(requests)), key=lambda i: requests[i].inputs)
        num_tokens, num_seen = sum(len(request.inputs) for request in requests), 0
        walk = self._model.walk(max((len(request.inputs) for request in requests), default=1))
        for inputs, group in groupby(order, key=lambda i: requests[i].inputs):
            indices = list(group)
            new = [index for index in indices if index not in done]
            if new:
                first = min(len(inputs) - len(requests[index].targets) for index in new)
                logprobs_TV = walk.to(inputs, first=first).log_softmax(-1)
                on_scores({index: _score(logprobs_TV, requests[index].targets) for index in new})
            num_seen += len(inputs) * len(indices)
            on_tokens(num_seen, num_tokens)

    def generate(
        self,
        requests: Sequence[GenerateRequest],
        *,
        done: frozenset[int],
        on_batch: Callable[[dict[int, list[int]]], None],
    ) -> None:
        """Greedy continuations of the requests that are not `done`, as token ids.

        Raises:
            NonFiniteError: with the index of a request whose logits are NaN or infinite.
        """
        longest = max((len(request.inputs) + request.max_new_tokens for request in requests), default=1)
        walk = self._model.walk(longest)
        for index in sorted(range(len(requests)), key=lambda i: requests[i].inputs):
            if index not in done:
                on_batch({index: self._continue(walk, index, requests[index])})

    def _continue(self, walk: Walk, index: int, request: GenerateRequest) -> list[int]:
        tokenizer, text = self._model.tokenizer, list[int]()
        lookback = stop_lengths(tokenizer, request)
        while not text or not is_finished(tokenizer, text, request, self._model.end_ids, lookback):
            read = (*request.inputs, *text)
            logits_V = walk.to(read, first=len(read) - 1)[0]
            token = int(logits_V.argmax())
            if not math.isfinite(float(logits_V[token])):  # NaN counts as the largest
                raise NonFiniteError(index)
            text.append(token)
        return text


def _score(logprobs_TV: torch.Tensor, targets: tuple[int, ...]) -> LogLikelihood:
    """The last rows predict the targets."""
    rows = logprobs_TV[-len(targets) :]
    wanted = torch.tensor(targets)
    picked = rows.gather(-1, wanted[:, None])[:, 0].tolist()
    return LogLikelihood(math.fsum(picked), bool((rows.argmax(-1) == wanted).all()))
