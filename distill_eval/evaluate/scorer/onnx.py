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
                targets = [requests[index].targets for index in new]
                on_scores(dict(zip(new, _scores(walk, inputs, targets), strict=True)))
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
            ((logits_V,),) = walk.to(read, first=len(read) - 1)
            token = int(logits_V.argmax())
            if not math.isfinite(float(logits_V[token])):  # NaN counts as the largest
                raise NonFiniteError(index)
            text.append(token)
        return text


def _scores(walk: Walk, inputs: tuple[int, ...], targets: Sequence[tuple[int, ...]]) -> list[LogLikelihood]:
    """Those of targets that the last of the same inputs predict; each piece of logits is reduced before the next."""
    begins = [len(inputs) - len(one) for one in targets]
    begin = min(begins)
    padded = [torch.tensor([0] * (own - begin) + list(one)) for own, one in zip(begins, targets, strict=True)]
    wanted_RT, place = torch.stack(padded), 0

    def reduce(logits_PV: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        nonlocal place
        logprobs_PV = logits_PV.log_softmax(-1)
        wanted_PR = wanted_RT[:, place : place + len(logits_PV)].T
        place += len(logits_PV)
        return logprobs_PV.gather(-1, wanted_PR).T, logprobs_PV.argmax(-1)

    pieces = list(map(reduce, walk.to(inputs, first=begin)))
    picked_RT, best_T = (torch.cat(column, dim=-1) for column in zip(*pieces, strict=True))
    same_RT = best_T == wanted_RT
    return [
        LogLikelihood(math.fsum(picked_T[own - begin :].tolist()), bool(same_T[own - begin :].all()))
        for own, picked_T, same_T in zip(begins, picked_RT, same_RT, strict=True)
    ]
