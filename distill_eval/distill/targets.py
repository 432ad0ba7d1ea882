"""What the teacher says about each scored row: all its probabilities, the most likely ones, or a sample of them.

Shapes: N scored rows, C rows of a chunk, B rows of a block inside it, V the student's vocabulary, D hidden size, K kept
tokens.

Every target opens a chunk of rows; what that gives measures blocks of them against the student's log-probabilities,
which it overwrites.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from distill_eval.distill.divergence import Divergence, Measured
from distill_eval.errors import require
from distill_eval.head import Head

LOWEST = -1e30
"""A log-probability of minus infinity is raised to this, so that 0 * log 0 is 0 and not NaN."""


def log_probs(logits_BV: Tensor, temperature: float, out: Tensor | None = None) -> Tensor:
    """Log-softmax of logits / temperature, in `out` or as a new tensor."""
    soft_BV = logits_BV if temperature == 1 else logits_BV / temperature
    return torch.log_softmax(soft_BV, -1, out=out).clamp_(min=LOWEST)


class LiveTeacher(NamedTuple):
    """A teacher that was run on the same batch."""

    hidden_ND: Tensor
    """Its last hidden states on the scored rows, behind the final norm."""
    head: Head


@dataclass(frozen=True)
class DenseTarget:
    """All probabilities of one live teacher, or the weighted mean of several teachers' probabilities.

    A teacher whose vocabulary is padded to more than the student's V entries is compared on the first V, renormalized.
    """

    teachers: tuple[LiveTeacher, ...]
    weights: tuple[float, ...] = (1.0,)
    """Of each teacher; their sum is 1."""

    def __post_init__(self) -> None:
        assert len(self.weights) == len(self.teachers) > 0

    def open(self, rows: slice, vocab_size: int) -> DensePiece:
        """Project these rows onto the vocabulary, in the dtype of each teacher's weights.

        Raises:
            UsageError: a teacher's vocabulary is smaller than the student's.
        """
        raw = []
        for hidden_ND, head in self.teachers:
            size = head.weight_VD.shape[0]
            require(
                size >= vocab_size,
                f"the teacher's vocabulary has {size} entries, the student's {vocab_size}: expected the same tokenizer",
            )
            bias_V = None if head.bias_V is None else head.bias_V[:vocab_size]
            first = head._replace(weight_VD=head.weight_VD[:vocab_size], bias_V=bias_V)
            raw.append(first.project(hidden_ND[rows].to(first.weight_VD.dtype)))
        return DensePiece(raw, [head for _, head in self.teachers], self.weights)


class DensePiece:
    """A chunk of rows of a `DenseTarget`."""

    def __init__(self, projected_CV: Sequence[Tensor], heads: Sequence[Head], weights: Sequence[float]) -> None:
        self._parts = list(zip(projected_CV, heads, weights, strict=True))

    def log_probs(self, rows: slice, temperature: float) -> Tensor:
        """The teacher's log-probabilities [B, V], float32 (float64 from float64), as a new tensor."""
        raw_CV, head, _ = self._parts[0]
        if len(self._parts) == 1:
            return log_probs(head.shape(raw_CV[rows]), temperature)
        mixed_BV: Tensor | None = None
        for raw_CV, head, weight in self._parts:
            part_BV = log_probs(head.shape(raw_CV[rows]), temperature).exp_().mul_(weight)
            mixed_BV = part_BV if mixed_BV is None else mixed_BV.add_(part_BV)
        assert mixed_BV is not None
        return mixed_BV.clamp_(min=torch.finfo(mixed_BV.dtype).tiny).log_()

    def measure(
        self, student_log_probs_BV: Tensor, rows: slice, divergence: Divergence, temperature: float
    ) -> Measured:
        """The divergence of these rows."""
        return divergence(student_log_probs_BV, self.log_probs(rows, temperature))

    def best(self, rows: slice) -> Tensor:
        """The most likely token [B]."""
        return self.log_probs(rows, 1.0).argmax(-1)

    def entropy(self, rows: slice, temperature: float) -> Tensor:
        """Entropy of the teacher [B], in nats, at a temperature."""
        log_probs_BV = self.log_probs(rows, temperature)
        return -(log_probs_BV.exp() * log_probs_BV).sum(-1)


@dataclass(frozen=True)
class AlignedTarget:
    """A live teacher with another tokenizer: known on the rows at which it has read the same text, for `uld` alone.

    The other rows have neither value nor gradient.
    """

    teacher: LiveTeacher
    """Its hidden states on the P rows that have a partner, in the order of those rows."""
    has_N: Tensor
    """Which rows these are."""

    def open(self, rows: slice, vocab_size: int) -> AlignedPiece:
        """Project the partners of these rows onto the teacher's whole vocabulary."""
        del vocab_size
        hidden_PD, head = self.teacher
        first = int(self.has_N[: rows.start].sum())
        has_C = self.has_N[rows]
        raw_PW = head.project(hidden_PD[first : first + int(has_C.sum())].to(head.weight_VD.dtype))
        return AlignedPiece(DensePiece([raw_PW], [head], (1.0,)), has_C)


class AlignedPiece:
    """A chunk of rows of an `AlignedTarget`."""

    def __init__(self, partners: DensePiece, has_C: Tensor) -> None:
        self._partners, self._has_C = partners, has_C
        self._end_C = has_C.cumsum(0)

    def _inside(self, rows: slice) -> tuple[Tensor, slice]:
        """Which of these rows have a partner, and where the partners are."""
        has_B = self._has_C[rows]
        end = int(self._end_C[rows.stop - 1])
        return has_B, slice(end - int(has_B.sum()), end)

    def measure(
        self, student_log_probs_BV: Tensor, rows: slice, divergence: Divergence, temperature: float
    ) -> Measured:
        """The distance of these rows; 0 without a partner."""
        has_B, partners = self._inside(rows)
        ours_PV = student_log_probs_BV[has_B]
        value_B = student_log_probs_BV.new_zeros(len(has_B))
        grad_BV = student_log_probs_BV.zero_()
        if len(ours_PV):
            value_B[has_B], grad_BV[has_B] = divergence(ours_PV, self._partners.log_probs(partners, temperature))
        return Measured(value_B, grad_BV)

    def best(self, rows: slice) -> None:
        """Tokens of two vocabularies cannot be the same."""
        del rows

    def entropy(self, rows: slice, temperature: float) -> Tensor:
        """Of the teacher's own distribution [B], in nats; 0 without a partner."""
        has_B, partners = self._inside(rows)
        entropy_P = self._partners.entropy(partners, temperature)
        return torch.zeros(len(has_B), dtype=entropy_P.dtype, device=entropy_P.device).masked_scatter_(has_B, entropy_P)


@dataclass(frozen=True)
class TopKTarget:
    """The teacher's K most likely tokens, and one bucket for all the others.

    Forward KL between the K + 1 probabilities; it is at most the KL of all V (data processing). How the tail's mass is
    shared out among its tokens is left to the student: the bias of top-k that arXiv 2503.16870 measures.
    """

    ids_NK: Tensor
    """Different tokens in each row."""
    log_probs_NK: Tensor
    """At the temperature of the loss: those at another one do not follow from them, for the bucket's do not."""
    tail_N: Tensor
    """Probability of all other tokens together. What rounding left of the sum is divided out."""

    def open(self, rows: slice, vocab_size: int) -> TopKTarget:
        """These rows."""
        del vocab_size
        return TopKTarget(self.ids_NK[rows], self.log_probs_NK[rows], self.tail_N[rows])

    def _probs(self, rows: slice, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Probabilities [B, K] and of the bucket [B, 1], which sum to 1."""
        kept_BK, tail_B1 = self.log_probs_NK[rows].to(dtype).exp(), self.tail_N[rows, None].to(dtype)
        total_B1 = kept_BK.sum(-1, keepdim=True) + tail_B1
        return kept_BK / total_B1, tail_B1 / total_B1

    def measure(
        self, student_log_probs_BV: Tensor, rows: slice, divergence: Divergence, temperature: float
    ) -> Measured:
        """Forward KL of the buckets; for a token j of the tail its gradient is p_j - tail * p_j / student's tail."""
        del divergence, temperature
        dtype = student_log_probs_BV.dtype
        ids_BK = self.ids_NK[rows].long()
        kept_BK, tail_B1 = self._probs(rows, dtype)
        student_log_BK = student_log_probs_BV.gather(1, ids_BK)
        student_BV = student_log_probs_BV.exp_()
        student_BV.scatter_(1, ids_BK, 0)  # the tail is summed itself: 1 - sum(kept) would have no digits left
        student_tail_B1 = student_BV.sum(-1, keepdim=True).clamp_(min=torch.finfo(dtype).tiny)
        value_B = (torch.xlogy(kept_BK, kept_BK) - kept_BK * student_log_BK).sum(-1)
        value_B += (torch.xlogy(tail_B1, tail_B1) - tail_B1 * student_tail_B1.log())[:, 0]
        grad_BV = student_BV.mul_(1 - tail_B1 / student_tail_B1)
        return Measured(value_B, grad_BV.scatter_(1, ids_BK, student_log_BK.exp_().sub_(kept_BK)))

    def best(self, rows: slice) -> Tensor:
        """The most likely token [B]."""
        best_B1 = self.log_probs_NK[rows].argmax(-1, keepdim=True)
        return self.ids_NK[rows].long().gather(1, best_B1)[:, 0]

    def entropy(self, rows: slice, temperature: float) -> Tensor:
        """Entropy of the K + 1 buckets [B], in nats: at most the teacher's own."""
        del temperature
        kept_BK, tail_B1 = self._probs(rows, torch.float32)
        return -(torch.xlogy(kept_BK, kept_BK).sum(-1) + torch.xlogy(tail_B1, tail_B1)[:, 0])


@dataclass(frozen=True)
class SampleTarget:
    """K tokens drawn from the teacher's distribution at the temperature of the loss, each of weight 1 / K.

    Over the draws, value and gradient of the forward KL have the right mean (arXiv 2503.16870, section 4); a single
    value may be below zero.
    """

    ids_NK: Tensor
    """A token may come more than once."""
    entropy_N: Tensor
    """Of the whole distribution that was drawn from, in nats."""

    def open(self, rows: slice, vocab_size: int) -> SampleTarget:
        """These rows."""
        del vocab_size
        return SampleTarget(self.ids_NK[rows], self.entropy_N[rows])

    def measure(
        self, student_log_probs_BV: Tensor, rows: slice, divergence: Divergence, temperature: float
    ) -> Measured:
        """Cross-entropy of the drawn tokens minus the entropy; the gradient is p - counts / K."""
        del divergence, temperature
        ids_BK = self.ids_NK[rows].long()
        cross_B = -student_log_probs_BV.gather(1, ids_BK).mean(-1)
        share_BK = torch.full_like(ids_BK, -1, dtype=cross_B.dtype).div_(ids_BK.shape[1])
        grad_BV = student_log_probs_BV.exp_().scatter_add_(1, ids_BK, share_BK)
        return Measured(cross_B - self.entropy_N[rows].to(cross_B.dtype), grad_BV)

    def best(self, rows: slice) -> None:
        """Not known from a few draws."""
        del rows

    def entropy(self, rows: slice, temperature: float) -> Tensor:
        """Entropy [B] of the distribution that was drawn from, in nats."""
        del temperature
        return self.entropy_N[rows].float()


Target = DenseTarget | AlignedTarget | TopKTarget | SampleTarget
Piece = DensePiece | AlignedPiece | TopKTarget | SampleTarget
