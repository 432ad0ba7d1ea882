"""Log-probabilities of given tokens from hidden states, without the [tokens, vocabulary] matrix.

Shapes: R rows (positions whose next token is asked for), V vocabulary, N targets (several may share a row).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from distill_eval.head import read_shape, shape_logits

MAX_LOGITS = {"cpu": 1 << 22, "cuda": 1 << 27}
"""Logits that exist at once: on a CPU 16 MiB of float32, which its caches hold; on a GPU 512 MiB, for long kernels."""


class TargetScores(NamedTuple):
    """Per target, in the order asked: its log-probability in nats, and whether it is the most likely token."""

    logprobs_N: Tensor
    is_greedy_N: Tensor


class Head:
    """A causal model's vocabulary projection with what its architecture does to the logits afterwards."""

    def __init__(self, model: Any) -> None:
        self.projection: Any = model.get_output_embeddings()
        self.scale, self.softcap = read_shape(model)

    def logits(self, hidden_RD: Tensor) -> Tensor:
        """Logits [R, V] of these rows, in the model's dtype as transformers has them."""
        return shape_logits(self.projection(hidden_RD), self.scale, self.softcap)

    def score(self, hidden_RD: Tensor, rows_N: Tensor, targets_N: Tensor) -> TargetScores:
        """Score `targets_N[i]` as the next token of row `rows_N[i]`; `rows_N` ascends.

        The softmax is in float32 whatever the model's dtype is (lm-eval takes it in the model's). It is torch's
        `log_softmax`, as in lm-eval: `logsumexp` rounds better, by about 1e-6 per token, and so would differ.
        """
        num_rows, vocab_size = hidden_RD.shape[0], int(self.projection.out_features)
        piece = max(1, MAX_LOGITS.get(hidden_RD.device.type, 1 << 27) // vocab_size)
        logprobs = torch.empty(len(rows_N), dtype=torch.float32)
        greedy = torch.empty(len(rows_N), dtype=torch.bool)
        bounds = torch.searchsorted(rows_N, torch.arange(0, num_rows + piece, piece)).tolist()
        for number, start in enumerate(range(0, num_rows, piece)):
            low, high = bounds[number], bounds[number + 1]
            logits = self.logits(hidden_RD[start : start + piece]).float()
            rows = (rows_N[low:high] - start).to(logits.device)
            targets = targets_N[low:high].to(logits.device)
            best = logits[rows, targets] == logits.amax(-1)[rows]
            ties = best.nonzero()[:, 0]  # equal to the largest: the first of equals is the greedy one
            best[ties] = logits[rows[ties]].argmax(-1) == targets[ties]
            greedy[low:high] = best.cpu()
            logprobs[low:high] = torch.log_softmax(logits, -1)[rows, targets].cpu()
        return TargetScores(logprobs, greedy)
