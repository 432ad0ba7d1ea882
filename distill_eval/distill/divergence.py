"""How far a student's next-token distribution is from its teacher's: five distances with closed-form gradients.

Shapes: N rows (scored positions), V vocabulary.

All take log-probabilities of both, softened by the same temperature, and give nats (`tv` and `uld`:
differences of probabilities), one value per row. Gradients are
with respect to the student's softened logits (logits / T), whose softmax the probabilities are.

To save passes over memory, every function overwrites both of its arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from distill_eval.errors import require, unknown


class Measured(NamedTuple):
    """A divergence of N rows, and its gradient."""

    value_N: Tensor
    """Nats, at the temperature of the distributions; not multiplied by its square."""
    grad_NV: Tensor
    """d value / d (student logits / T)."""


Divergence = Callable[[Tensor, Tensor], Measured]
"""Of the student's and the teacher's log-probabilities [N, V], both overwritten."""


def forward_kl(student_log_probs_NV: Tensor, teacher_log_probs_NV: Tensor) -> Measured:
    """KL(teacher || student); its gradient is softmax(student) - softmax(teacher) (Hinton et al. 2015, section 2)."""
    teacher_NV = teacher_log_probs_NV.exp()
    value_N = teacher_log_probs_NV.sub_(student_log_probs_NV).mul_(teacher_NV).sum(-1)
    return Measured(value_N, student_log_probs_NV.exp_().sub_(teacher_NV))


def reverse_kl(student_log_probs_NV: Tensor, teacher_log_probs_NV: Tensor) -> Measured:
    """KL(student || teacher) (Gu et al. 2024, MiniLLM, arXiv 2306.08543)."""
    ratio_NV = torch.sub(student_log_probs_NV, teacher_log_probs_NV, out=teacher_log_probs_NV)
    return _expected(student_log_probs_NV.exp_(), ratio_NV)


def jensen_shannon(beta: float) -> Divergence:
    """Generalized Jensen-Shannon divergence: beta KL(teacher || m) + (1 - beta) KL(student || m).

    The mixture m is beta * teacher + (1 - beta) * student (Agarwal et al. 2024, GKD, arXiv 2306.13649, section 2).
    With p the student, the gradient is (1 - beta) p (log(p / m) - KL(p || m)): the other terms cancel.
    """

    def measure(student_log_probs_NV: Tensor, teacher_log_probs_NV: Tensor) -> Measured:
        student_NV, teacher_NV = student_log_probs_NV.exp(), teacher_log_probs_NV.exp()
        # In float32 the mixture of two probabilities below 1e-38 is zero: such tokens weigh nothing either way.
        tiny = torch.finfo(student_NV.dtype).tiny
        log_mixture_NV = torch.lerp(student_NV, teacher_NV, beta).clamp_(min=tiny).log_()
        theirs_N = teacher_log_probs_NV.sub_(log_mixture_NV).mul_(teacher_NV).sum(-1)
        own = _expected(student_NV, student_log_probs_NV.sub_(log_mixture_NV))
        return Measured(beta * theirs_N + (1 - beta) * own.value_N, own.grad_NV.mul_(1 - beta))

    return measure


def total_variation(student_log_probs_NV: Tensor, teacher_log_probs_NV: Tensor) -> Measured:
    """Half of the sum of absolute differences: the largest difference in the probability of any set of tokens.

    Where both are equal, the gradient is that of zero.
    """
    student_NV = student_log_probs_NV.exp_()
    apart_NV = torch.sub(student_NV, teacher_log_probs_NV.exp_(), out=teacher_log_probs_NV)
    value_N = torch.linalg.vector_norm(apart_NV, ord=1, dim=-1).mul_(0.5)
    return Measured(value_N, _expected(student_NV, apart_NV.sign_().mul_(0.5)).grad_NV)


def universal(student_log_probs_NV: Tensor, teacher_log_probs_NW: Tensor) -> Measured:
    """Universal logit distillation: the distance between sorted probabilities, which need not be of the same tokens.

    The sum over ranks i of |p_(i) - q_(i)|, the shorter list filled up with zeros (Boizard et al. 2024, arXiv
    2402.12030, section 3). No divergence: it is 0 for every permutation. With s the sign of a token's difference at its
    rank, the gradient is p (s - sum(p s)).
    """
    student_NV, theirs_NW = student_log_probs_NV.exp_(), _sorted(teacher_log_probs_NW.exp_())
    order_NV = _order(student_NV)
    apart_NV = student_NV.gather(-1, order_NV)
    common = min(apart_NV.shape[-1], theirs_NW.shape[-1])
    apart_NV[:, -common:] -= theirs_NW[:, -common:]  # both ascend: the most likely come last
    value_N = apart_NV.abs().sum(-1) + theirs_NW[:, :-common].sum(-1)
    signs_NV = torch.empty_like(apart_NV).scatter_(-1, order_NV, apart_NV.sign_())
    return Measured(value_N, _expected(student_NV, signs_NV).grad_NV)


def _sorted(values_NV: Tensor) -> Tensor:
    """Each row in ascending order; on a CPU numpy's sort has vector instructions, torch's not (20 times faster)."""
    if values_NV.device.type != "cpu":
        return values_NV.sort(-1).values
    values_NV.numpy().sort(-1)  # in place
    return values_NV


def _order(values_NV: Tensor) -> Tensor:
    """Where each row's values stand in ascending order; numpy as in `_sorted` (4 times faster)."""
    if values_NV.device.type != "cpu":
        return values_NV.argsort(-1)
    return torch.from_numpy(np.argsort(values_NV.numpy(), -1))


def _expected(probs_NV: Tensor, values_NV: Tensor) -> Measured:
    """The mean of the values under p = softmax(u), and p * (values - mean), its gradient by u at constant values.

    That of `values = log p + constant` is the same, since the mean of d log p / du is zero. Overwrites the values.
    """
    weighted_NV = values_NV.mul_(probs_NV)
    value_N = weighted_NV.sum(-1)
    return Measured(value_N, weighted_NV.addcmul_(probs_NV, value_N[:, None], value=-1))


DIVERGENCES: dict[str, Divergence] = {
    "forward_kl": forward_kl,
    "reverse_kl": reverse_kl,
    "tv": total_variation,
    "uld": universal,
}
NAMES = (*DIVERGENCES, "jsd")


def choose(name: str, *, beta: float = 0.5) -> Divergence:
    """The divergence of that name.

    Args:
        name: One of `NAMES`.
        beta: The teacher's weight in the mixture of `jsd`, inside (0, 1).

    Raises:
        UsageError: the name is unknown, or beta is not inside (0, 1).
    """
    if name == "jsd":
        require(0 < beta < 1, f"--beta {beta:g}: expected a number between 0 and 1, e.g. 0.5")
        return jensen_shannon(beta)
    return DIVERGENCES[name] if name in DIVERGENCES else unknown("divergence", name, NAMES)
