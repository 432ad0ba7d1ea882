"""Run a plan of batches through a causal model and collect each request's log-likelihood."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from distill_eval.evaluate.scorer.attention import NAME, TreeAttention
from distill_eval.evaluate.scorer.head import Head
from distill_eval.evaluate.scorer.tree import Batch, TokenRequest, build_tree, plan

if TYPE_CHECKING:
    from collections.abc import Iterator


class LogLikelihood(NamedTuple):
    """What lm-eval expects for a request: the continuation's log-probability in nats, and whether it is greedy."""

    logprob: float
    is_greedy: bool


class PackedScorer:
    """Scores token requests of one causal model; the model's own attention is swapped only while it runs."""

    def __init__(self, model: Any, batch_tokens: int) -> None:
        self.model = model
        self.body: Any = getattr(model, model.base_model_prefix)
        self.head = Head(model)
        self.batch_tokens = batch_tokens
        self.device = next(model.parameters()).device
        self.attention = TreeAttention(native=model.config._attn_implementation)

    def score(
        self,
        requests: Sequence[TokenRequest],
        *,
        done: frozenset[int] = frozenset(),
        on_scores: Callable[[dict[int, LogLikelihood]], None],
        on_tokens: Callable[[int, int], None],
    ) -> None:
        """Score every request that is not `done`.

        Args:
            requests: Inputs not longer than the model's context.
            done: Indices of requests whose scores are known; the others are computed in the same batches, hence with
                the same float32 bits, as if none were.
            on_scores: Called after each batch with the requests that it completed.
            on_tokens: Called after each batch with the tokens dealt with so far and in all (for progress).

        Raises:
            UnsupportedAttentionError: the model's attention cannot be expressed as a tree mask.
        """
        collected = _Collected(requests, done)
        waiting: list[Batch] = []
        with self._tree_attention(), torch.inference_mode():
            tree, num_seen = build_tree(requests), 0
            for batch in plan(tree, self.batch_tokens):
                waiting = [piece for piece in waiting if piece.num_past < batch.num_past]
                if any(request not in done for _, request, _ in batch.scores):
                    for piece in waiting:
                        self._forward(piece)
                    waiting = []
                    on_scores(collected.add(self._score_rows(batch, requests)))
                elif batch.keep:
                    waiting.append(batch)
                num_seen += batch.num_tokens
                on_tokens(num_seen, max(num_seen, tree.num_subtree_tokens))

    def _forward(self, batch: Batch) -> Tensor:
        """Hidden states [T, D] of the batch's tokens after the last norm."""
        tokens = [token for segment in batch.segments for token in segment.tokens]
        depths = [depth for segment in batch.segments for depth in segment.depths]
        self.attention.begin(batch)
        output = self.body(
            input_ids=torch.tensor([tokens], device=self.device),
            position_ids=torch.tensor([depths], device=self.device),
            use_cache=False,
        )
        hidden: Tensor = output.last_hidden_state[0]
        return hidden

    def _score_rows(self, batch: Batch, requests: Sequence[TokenRequest]) -> list[tuple[int, int, float, bool]]:
        """(request, index in its targets, log-probability, greedy) of every target predicted in this batch."""
        scores = sorted(batch.scores)
        hidden = self._forward(batch)
        rows, slots = torch.unique(torch.tensor([row for row, _, _ in scores]), return_inverse=True)
        targets = torch.tensor([requests[request].targets[target] for _, request, target in scores])
        found = self.head.score(hidden[rows.to(hidden.device)], slots, targets)
        logprobs, greedy = found.logprobs_N.tolist(), found.is_greedy_N.tolist()
        return [
            (request, target, logprob, is_greedy)
            for (_, request, target), logprob, is_greedy in zip(scores, logprobs, greedy, strict=True)
        ]

    @contextmanager
    def _tree_attention(self) -> Iterator[None]:
        from transformers import AttentionInterface

        AttentionInterface.register(NAME, self.attention)
        self.model.set_attn_implementation(NAME)
        try:
            yield
        finally:
            self.model.set_attn_implementation(self.attention.native)
            self.attention.release()


class _Collected:
    """Adds up targets until their requests are complete."""

    def __init__(self, requests: Sequence[TokenRequest], done: frozenset[int]) -> None:
        self._missing = {i: len(r.targets) for i, r in enumerate(requests) if i not in done}
        self._parts: dict[int, dict[int, float]] = {}
        self._greedy: dict[int, bool] = {}

    def add(self, scores: list[tuple[int, int, float, bool]]) -> dict[int, LogLikelihood]:
        """Take one batch's scores; returns the requests that are now complete.

        A request is summed in the order of its targets, so the sum does not depend on where its batches were cut.
        """
        complete: dict[int, LogLikelihood] = {}
        for request, target, logprob, is_greedy in scores:
            if request not in self._missing:
                continue
            parts = self._parts.setdefault(request, {})
            parts[target] = logprob
            self._greedy[request] = self._greedy.get(request, True) and is_greedy
            if len(parts) == self._missing[request]:
                total = math.fsum(parts[i] for i in range(len(parts)))
                complete[request] = LogLikelihood(total, self._greedy.pop(request))
                del self._parts[request]
        return complete
