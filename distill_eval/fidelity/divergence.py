"""How far a candidate's distribution is from a reference's, of which the head and a sample of the tail are kept.

Every divergence here is an f-divergence, sum of p f(q / p) with a convex f that is 0 at 1. Over the kept ids it is
summed as it stands. With r = q / p, the tail's probabilities P and Q, and R = Q / P,

    sum over the tail of p f(r) = P f(R) + sum over the tail of p (f(r) - f(R) - f'(R) (r - R))

since the slope's part sums to zero. P f(R) is known. It is the divergence when the tail counts as a single token, and
a lower bound (data processing). The last sum is estimated from the sample; convexity makes each of its terms at least
0, so that the estimate is unbiased, never below that bound, and exactly 0 for equal distributions. For the forward KL
the term is p (r / R - 1 - log(r / R)).

Shapes: N scored positions, V vocabulary, K most likely ids, M draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from distill_eval.errors import ModelError
from distill_eval.fidelity.rows import ROWS_AT_ONCE, KeptRows, tail

NUM_BEST = 5
_LN2 = math.log(2)
Function = Callable[[Tensor], Tensor]


class Convex(NamedTuple):
    """f of an f-divergence, and its derivative."""

    value: Function
    slope: Function


FORWARD_KL = Convex(lambda r: -r.log(), lambda r: -1 / r)
"""KL(reference || candidate)."""
REVERSE_KL = Convex(lambda r: r * r.log(), lambda r: r.log() + 1)
"""KL(candidate || reference)."""
JSD = Convex(
    lambda r: 0.5 * (_LN2 - torch.log1p(r) + r * (_LN2 + r.log() - torch.log1p(r))),
    lambda r: 0.5 * (_LN2 + r.log() - torch.log1p(r)),
)
"""Jensen-Shannon divergence with equal weights; at most ln 2."""


class Measured(NamedTuple):
    """A candidate beside the reference at each scored position, in nats, float64."""

    kl_N: Tensor
    reverse_kl_N: Tensor
    jsd_N: Tensor
    same_top1_N: Tensor
    """1 where the most likely token is the same, else 0; of equally likely ones the first counts."""
    top5_overlap_N: Tensor
    """Share of the five most likely tokens that are the same."""
    reference_log_prob_N: Tensor
    """Of the token that the text goes on with."""
    log_prob_N: Tensor


def measure(kept: KeptRows, log_probs_NV: Tensor, true_N: Tensor) -> Measured:
    """Compare.

    Args:
        kept: Of the reference.
        log_probs_NV: Of the candidate, as `rows.log_probs` makes them.
        true_N: Ids that the text goes on with.

    Raises:
        ModelError: a divergence is infinite or not a number.
    """
    blocks = [part.split(ROWS_AT_ONCE) for part in (*kept, log_probs_NV, true_N)]
    found = [_measure(KeptRows(*block[:-2]), *block[-2:]) for block in zip(*blocks, strict=True)]
    return Measured(*(torch.cat(column) for column in zip(*found, strict=True)))


def _measure(kept: KeptRows, log_probs_NV: Tensor, true_N: Tensor) -> Measured:
    tail_N = tail(log_probs_NV, kept.top_ids_NK)
    ours_NK = log_probs_NV.gather(-1, kept.top_ids_NK)
    ratio_NK = (ours_NK.double() - kept.top_log_probs_NK.double()).exp()
    drawn_NM = log_probs_NV.gather(-1, kept.drawn_ids_NM)
    drawn_ratio_NM = (drawn_NM.double() - kept.drawn_log_probs_NM.double()).exp()
    divergences = []
    for convex in (FORWARD_KL, REVERSE_KL, JSD):
        head_N = (kept.top_log_probs_NK.double().exp() * convex.value(ratio_NK)).sum(-1)
        rest_N = _tail_part(convex, kept, tail_N, drawn_ratio_NM)
        divergences.append(head_N + rest_N)
    if not torch.stack(divergences).isfinite().all():
        raise ModelError("the divergence is not a finite number: a model gives a token no probability at all")
    theirs_N5, ours_N5 = _best(kept.top_ids_NK, kept.top_log_probs_NK), _best_of_all(log_probs_NV)
    common_N = (theirs_N5[:, :, None] == ours_N5[:, None]).sum((1, 2))
    kl_N, reverse_kl_N, jsd_N = divergences
    return Measured(
        kl_N,
        reverse_kl_N,
        jsd_N,
        (theirs_N5[:, 0] == ours_N5[:, 0]).double(),
        common_N.double() / ours_N5.shape[1],
        kept.true_log_probs_N.double(),
        log_probs_NV.gather(-1, true_N[:, None])[:, 0].double(),
    )


def _tail_part(convex: Convex, kept: KeptRows, tail_N: Tensor, ratio_NM: Tensor) -> Tensor:
    """The tail's share of a divergence [N]."""
    whole_N = tail_N / kept.tail_N
    lumped_N = kept.tail_N * convex.value(whole_N)
    if not ratio_NM.shape[1]:
        return lumped_N
    whole_N1 = whole_N[:, None]
    gap_NM = convex.value(ratio_NM) - convex.value(whole_N1) - convex.slope(whole_N1) * (ratio_NM - whole_N1)
    return lumped_N + (kept.weights() * gap_NM).mean(-1)


def _best_of_all(log_probs_NV: Tensor) -> Tensor:
    width = min(log_probs_NV.shape[1], 8 * NUM_BEST)  # room for ties, which topk orders as it likes
    ids_NK = log_probs_NV.topk(width, dim=-1).indices.sort(-1).values
    return _best(ids_NK, log_probs_NV.gather(-1, ids_NK))


def _best(ids_NK: Tensor, log_probs_NK: Tensor) -> Tensor:
    """The most likely ids [N, 5], the first among equals first.

    Args:
        ids_NK: Ascending.
        log_probs_NK: Theirs.
    """
    order_NK = log_probs_NK.sort(dim=-1, descending=True, stable=True).indices
    return ids_NK.gather(-1, order_NK[:, :NUM_BEST])
