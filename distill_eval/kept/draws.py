"""Draws from distributions over a vocabulary.

Shapes: C rows, V vocabulary, K draws.
"""

from __future__ import annotations

import torch
from torch import Tensor


def systematic(probs_CV: Tensor, offsets_C: Tensor, num_draws: int) -> Tensor:
    """Draw ids [C, K] of each row with replacement, ascending, by systematic sampling of its cumulative distribution.

    The points (i + offset) / K, i = 0 .. K-1, are inverted. With an offset uniform in [0, 1), an id of probability p
    comes floor(K p) or ceil(K p) times, K p on average: count / K is an unbiased estimate of p, with the least variance
    that an unbiased count can have. A row of zeros gives its last id.

    Args:
        probs_CV: Not negative; their sum need not be 1.
        offsets_C: Uniform in [0, 1), float64.
        num_draws: K.
    """
    sums_CV = probs_CV.cumsum(-1, dtype=torch.float64)
    total_C1 = sums_CV[:, -1:]
    steps_K = torch.arange(num_draws, dtype=torch.float64, device=sums_CV.device)
    points_CK = (offsets_C[:, None] + steps_K) / num_draws * total_C1
    points_CK = torch.minimum(points_CK, torch.nextafter(total_C1, torch.zeros_like(total_C1)))
    ids_CK = torch.searchsorted(sums_CV, points_CK, right=True)  # never an id of probability zero
    return ids_CK.clamp_(max=probs_CV.shape[-1] - 1)
