"""The distance between hidden states of student and teacher at chosen layers.

Shapes: N scored rows, S hidden size of the student, T hidden size of the teacher.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Pairs = Sequence[tuple[int, int]]
"""Layers of the student and of the teacher, from 0 (see `layer_map.layer_pairs`)."""


def layer_rows(hidden_states: Sequence[Tensor], layers: Sequence[int], scored_BT: Tensor) -> dict[int, Tensor]:
    """Outputs of these layers on the scored positions: layer -> [N, hidden size].

    Args:
        hidden_states: transformers' `output_hidden_states`: the embeddings, then the output [B, T, hidden size] of
            every layer; that of the last one is behind the final norm.
        layers: From 0.
        scored_BT: True where a position counts.
    """
    return {layer: hidden_states[layer + 1][scored_BT] for layer in layers}


class FeatureLoss(nn.Module):
    """Mean squared error or cosine distance of hidden states; where the widths differ, behind a learned projection.

    The projection (FitNets, Romero et al. 2015, arXiv 1412.6550) is trained with the student and no part of it: its
    parameters go to the optimizer and into checkpoints, and are thrown away at the end.
    """

    def __init__(
        self, pairs: Pairs, student_width: int, teacher_width: int, kind: Literal["mse", "cosine"] = "mse"
    ) -> None:
        super().__init__()
        self.pairs, self.kind = tuple(pairs), kind
        differ = student_width != teacher_width
        self.projections = nn.ModuleList(
            nn.Linear(student_width, teacher_width, bias=False) if differ else nn.Identity() for _ in self.pairs
        )

    def forward(self, student: Mapping[int, Tensor], teacher: Mapping[int, Tensor]) -> Tensor:
        """Summed over the rows, the mean over the pairs of layers; both from `layer_rows`, the teacher's detached.

        Per row, `mse` is the mean over the components and `cosine` is 1 - cos, in float32.
        """
        total = torch.zeros((), device=next(iter(student.values())).device)
        for (student_layer, teacher_layer), projection in zip(self.pairs, self.projections, strict=True):
            ours_NT = projection(student[student_layer].float()).float()  # autocast projects in its own dtype
            theirs_NT = teacher[teacher_layer].detach().float()
            if self.kind == "mse":
                total = total + (ours_NT - theirs_NT).square().mean(-1).sum()
            else:
                total = total + (1 - F.cosine_similarity(ours_NT, theirs_NT, dim=-1)).sum()
        return total / len(self.pairs)
