"""The loss of a batch straight from hidden states: projection, softmax, divergence and gradients, chunk by chunk.

Shapes: N scored rows, C rows of a chunk, B rows of a block inside it, V vocabulary, D hidden size.

No [N, V] matrix of student or teacher ever exists. A chunk is projected, turned into d loss / d logits in its own
place, and multiplied back into the gradients of hidden states and head, all within the forward pass, so that nothing is
left to recompute; the backward pass hands those gradients out. Inside a chunk the softmax and the divergence
run over blocks of a few rows, which stay in a CPU's caches from one operation to the next.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from distill_eval.distill import divergence as divergences
from distill_eval.distill.targets import Piece, SampleTarget, Target, TopKTarget, log_probs
from distill_eval.errors import require
from distill_eval.head import Head

MAX_CHUNK_BYTES = 1 << 28
"""Of one [C, V] matrix. The head's gradient is read and written once per chunk, so that small chunks are slow."""
BLOCK_ELEMENTS = {"cpu": 1 << 20}
"""Elements of one [B, V] matrix: 4 MiB of float32, several of which fit the caches of a CPU."""
GPU_BLOCK_ELEMENTS = 1 << 26


@dataclass(frozen=True)
class Soft:
    """The soft term: alpha * T^2 * D(teacher_T, student_T), beside (1 - alpha) * CE (Hinton et al. 2015, section 2)."""

    target: Target
    divergence: str = "forward_kl"
    """One of `divergence.NAMES`; a sparse target has `forward_kl` alone."""
    temperature: float = 2.0
    alpha: float = 0.7
    beta: float = 0.5
    """The teacher's weight in the mixture of `jsd`."""

    def __post_init__(self) -> None:
        require(0 <= self.alpha <= 1, f"--alpha {self.alpha:g}: expected a number from 0 to 1, e.g. 0.7")
        require(
            0 < self.temperature < math.inf, f"--temperature {self.temperature:g}: expected a number above 0, e.g. 2"
        )
        divergences.choose(self.divergence, beta=self.beta)
        require(
            not isinstance(self.target, TopKTarget | SampleTarget) or self.divergence == "forward_kl",
            f"{self.divergence} needs the teacher's whole distribution; a {type(self.target).__name__} keeps a part",
        )


class RowLoss(NamedTuple):
    """The loss of N rows; everything but `loss` is detached."""

    loss: Tensor
    """(alpha * T^2 * soft_sum + (1 - alpha) * hard_sum) / denominator, with its gradients."""
    soft_sum: Tensor | None
    """Divergence at the temperature of the loss, in nats, summed over the rows; `None` without a teacher."""
    hard_sum: Tensor
    """Cross-entropy of the labels, in nats, summed over the rows."""
    num_agree: Tensor | None
    """Rows on which both models' most likely token is the same; `None`: not asked for, or not known of a sample."""
    entropy_sum: Tensor | None
    """Entropy of the teacher in nats, summed over the rows; `None`: not asked for."""
    hard_N: Tensor
    """What `hard_sum` is the sum of."""


def row_loss(
    hidden_ND: Tensor,
    head: Head,
    labels_N: Tensor,
    *,
    soft: Soft | None,
    denominator: float | Tensor,
    chunk_rows: int | None = None,
    entropy_temperature: float | None = None,
) -> RowLoss:
    """Loss of the scored rows, with gradients for `hidden_ND` and for the head's weight and bias.

    Projections run in autocast's dtype where it is on, else in that of `hidden_ND`; softmax and divergence in float32
    (float64 from float64). A gradient has the dtype of what it belongs to. Without a gradient to compute, none is.
    After a backward pass through a scaled loss the gradients are gone: a second one is an error.

    Args:
        hidden_ND: The student's last hidden states on the scored rows, behind the final norm; rows that are
            not scored have been dropped.
        head: The student's.
        labels_N: The token to predict at each row, inside 0..V-1.
        soft: The teacher's part; `None` trains on the labels alone.
        denominator: Number of scored tokens of the whole accumulated batch, over all micro-batches and processes.
        chunk_rows: Rows whose logits exist at once; by default as `even_chunk_rows` has it.
        entropy_temperature: For validation: also measure agreement, and the teacher's entropy at this temperature.

    Raises:
        UsageError: the teacher's vocabulary is smaller than the student's.
    """
    learns = torch.is_grad_enabled()
    inputs = (hidden_ND, head.weight_VD, head.bias_V)
    needs = tuple(learns and tensor is not None and tensor.requires_grad for tensor in inputs)
    num_scored = float(denominator)
    rows = _Rows(hidden_ND.detach(), head, labels_N, soft, needs, 1 / num_scored, entropy_temperature)
    with torch.no_grad(), torch.autocast(hidden_ND.device.type, enabled=False):
        rows.run(chunk_rows)
        soft_sum, hard_sum = rows.soft_N.sum(), rows.hard_N.sum()
        value = (rows.alpha * rows.temperature**2 * soft_sum + (1 - rows.alpha) * hard_sum) / num_scored
    loss = value
    if any(needs):
        loss = _WithGradients.apply(value, rows.gradients(), rows.pending, *inputs)  # type: ignore[no-untyped-call]
    return RowLoss(
        loss,
        None if soft is None else soft_sum,
        hard_sum,
        None if rows.agree_N is None else rows.agree_N.sum(),
        None if rows.entropy_N is None else rows.entropy_N.sum(),
        rows.hard_N,
    )


class _WithGradients(torch.autograd.Function):
    """A value whose gradients are known already."""

    @staticmethod
    def forward(
        ctx: Any, value: Tensor, gradients: tuple[Tensor | None, ...], pending: float, *inputs: Tensor
    ) -> Tensor:
        del inputs  # they are here to be given their gradients
        ctx.save_for_backward(*gradients)
        ctx.pending = pending
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        factor, gradients = float(grad) * ctx.pending, ctx.saved_tensors
        if factor != 1.0:  # in place: the head's gradient is the largest tensor of a small model's training
            for gradient in gradients:
                if gradient is not None:
                    gradient.mul_(factor)
        return None, None, None, *gradients


class _Rows:
    """The scored rows of a batch: what is measured of each, and the gradients that the chunks add to."""

    def __init__(
        self,
        hidden_ND: Tensor,
        head: Head,
        labels_N: Tensor,
        soft: Soft | None,
        needs: tuple[bool, ...],
        unit: float,
        entropy_temperature: float | None,
    ) -> None:
        device, num_rows = hidden_ND.device, len(hidden_ND)
        dtype = torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else hidden_ND.dtype
        self.labels_N1, self.soft, self.needs = labels_N[:, None], soft, needs
        self.alpha, self.temperature = (soft.alpha, soft.temperature) if soft else (0.0, 1.0)
        self.divergence = divergences.choose(soft.divergence, beta=soft.beta) if soft else divergences.forward_kl
        # In float16 the gradients of a mean over many tokens underflow: they wait for the scale of the backward pass.
        self.unit, self.pending = (1.0, unit) if dtype == torch.float16 else (unit, 1.0)
        self.hidden_dtype, self.weight_dtype = hidden_ND.dtype, head.weight_VD.dtype
        self.hidden_ND = hidden_ND.to(dtype)
        self.head = head._replace(
            weight_VD=head.weight_VD.detach().to(dtype),
            bias_V=None if head.bias_V is None else head.bias_V.detach().to(dtype),
        )
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        self.soft_N = torch.zeros(num_rows, dtype=wide, device=device)
        self.hard_N = torch.zeros_like(self.soft_N)
        self.entropy_temperature = entropy_temperature
        validates = soft is not None and entropy_temperature is not None
        self.entropy_N = torch.zeros_like(self.soft_N) if validates else None
        self.agree_N: Tensor | None = None
        self.grad_hidden_ND = torch.empty_like(hidden_ND) if needs[0] else None
        self.grad_weight_VD: Tensor | None = None
        self._rooms: dict[int, Tensor] = {}
        self.grad_bias_V = torch.zeros(head.weight_VD.shape[0], dtype=wide, device=device) if needs[2] else None

    def run(self, chunk_rows: int | None) -> None:
        """Measure all rows."""
        vocab_size, element_size = self.head.weight_VD.shape[0], self.head.weight_VD.element_size()
        size = chunk_rows or even_chunk_rows(len(self.hidden_ND), vocab_size, element_size)
        for rows in _split(len(self.hidden_ND), size):
            self._chunk(rows)

    def _chunk(self, rows: slice) -> None:
        vocab_size = self.head.weight_VD.shape[0]
        raw_CV = self.head.project(self.hidden_ND[rows])
        piece = self.soft.target.open(rows, vocab_size) if self.soft else None
        block_rows = max(1, BLOCK_ELEMENTS.get(raw_CV.device.type, GPU_BLOCK_ELEMENTS) // vocab_size)
        for inside in _split(len(raw_CV), block_rows):
            self._block(raw_CV[inside], piece, inside, slice(rows.start + inside.start, rows.start + inside.stop))
        del piece  # the teacher's logits are not needed any more
        if any(self.needs):
            self._multiply_back(raw_CV, rows)

    def _block(self, raw_BV: Tensor, piece: Piece | None, inside: slice, rows: slice) -> None:
        """Measure these rows, and overwrite what was projected with the gradient by it."""
        logits_BV, labels_B1 = self.head.shape(raw_BV), self.labels_N1[rows]
        log_probs_BV = log_probs(logits_BV, 1.0, self._room(0, logits_BV))
        self.hard_N[rows] = log_probs_BV.gather(1, labels_B1)[:, 0].neg_()
        if piece is not None and self.entropy_temperature is not None:
            self._validate(log_probs_BV, piece, inside, rows, self.entropy_temperature)
        grad_BV: Tensor | None = None
        if any(self.needs) and self.alpha < 1:
            kept = piece is not None and self.temperature == 1  # the soft term still reads them
            grad_BV = torch.exp(log_probs_BV, out=self._room(1, logits_BV) if kept else log_probs_BV)
            grad_BV.scatter_add_(1, labels_B1, torch.full_like(labels_B1, -1, dtype=grad_BV.dtype))
            grad_BV.mul_((1 - self.alpha) * self.unit)
        if piece is not None:
            softened_BV = log_probs_BV
            if self.temperature != 1:
                whole = self.head.softcap is not None  # then the chain rule needs the logits as they are
                cooled_BV = logits_BV / self.temperature if whole else logits_BV.div_(self.temperature)
                softened_BV = log_probs(cooled_BV, 1.0, self._room(1, logits_BV))
            value_B, soft_grad_BV = piece.measure(softened_BV, inside, self.divergence, self.temperature)
            self.soft_N[rows] = value_B
            weight = self.alpha * self.temperature * self.unit  # T^2, of which d(logits / T) takes one
            grad_BV = soft_grad_BV.mul_(weight) if grad_BV is None else grad_BV.add_(soft_grad_BV, alpha=weight)
        if any(self.needs) and grad_BV is not None:
            raw_BV.copy_(self.head.chain(grad_BV, logits_BV))

    def _room(self, number: int, like_BV: Tensor) -> Tensor:
        """Memory that every block uses again: to a CPU, fresh pages cost more than the arithmetic on them."""
        room = self._rooms.get(number)
        if room is None or len(room) < len(like_BV):
            room = self._rooms[number] = torch.empty_like(like_BV)
        return room[: len(like_BV)]

    def _validate(self, log_probs_BV: Tensor, piece: Piece, inside: slice, rows: slice, temperature: float) -> None:
        assert self.entropy_N is not None
        self.entropy_N[rows] = piece.entropy(inside, temperature).to(self.entropy_N.dtype)
        best_B = piece.best(inside)
        if best_B is not None:
            if self.agree_N is None:
                self.agree_N = torch.zeros(len(self.hard_N), dtype=torch.bool, device=log_probs_BV.device)
            self.agree_N[rows] = log_probs_BV.argmax(-1) == best_B

    def _multiply_back(self, grad_CV: Tensor, rows: slice) -> None:
        if self.grad_hidden_ND is not None:
            self.grad_hidden_ND[rows] = (grad_CV @ self.head.weight_VD).to(self.hidden_dtype)
        if self.needs[1]:
            hidden_CD = self.hidden_ND[rows]
            if self.grad_weight_VD is None:
                self.grad_weight_VD = (grad_CV.T @ hidden_CD).to(self.weight_dtype)
            elif self.weight_dtype == grad_CV.dtype:
                self.grad_weight_VD.addmm_(grad_CV.T, hidden_CD)
            else:
                self.grad_weight_VD.add_(grad_CV.T @ hidden_CD)
        if self.grad_bias_V is not None:
            self.grad_bias_V += grad_CV.sum(0, dtype=self.grad_bias_V.dtype)

    def gradients(self) -> tuple[Tensor | None, ...]:
        """Of hidden states, weight and bias, as far as they are needed."""
        if self.needs[1] and self.grad_weight_VD is None:  # not one row is scored
            self.grad_weight_VD = torch.zeros_like(self.head.weight_VD, dtype=self.weight_dtype)
        bias = None if self.grad_bias_V is None else self.grad_bias_V.to(self.weight_dtype)
        return self.grad_hidden_ND, self.grad_weight_VD, bias


def even_chunk_rows(num_rows: int, vocab_size: int, element_size: int) -> int:
    """Rows of a chunk: as few chunks as `MAX_CHUNK_BYTES` allows, all alike but the last.

    Args:
        num_rows: Of the batch.
        vocab_size: Columns of the logits.
        element_size: Bytes of one.
    """
    largest = max(1, MAX_CHUNK_BYTES // (vocab_size * element_size))
    return math.ceil(num_rows / math.ceil(num_rows / largest)) if num_rows else 1


def _split(num_rows: int, size: int) -> Iterator[slice]:
    for start in range(0, num_rows, size):
        yield slice(start, min(start + size, num_rows))
