"""Random scored rows of a student and a teacher, and the loss by the textbook's formula with autograd."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from distill_eval.distill.targets import DenseTarget, LiveTeacher
from distill_eval.head import Head


class Rows(NamedTuple):
    hidden: Tensor
    head: Head
    labels: Tensor
    teacher: LiveTeacher

    @property
    def inputs(self):
        return [t for t in (self.hidden, self.head.weight_VD, self.head.bias_V) if t is not None]

    @property
    def target(self):
        return DenseTarget((self.teacher,))


def make_rows(
    num_rows=13, vocab=50, width=8, teacher_width=6, dtype=torch.float32, bias=False, scale=1.0, softcap=None, seed=0
):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    hidden = normal(num_rows, width).requires_grad_()
    head = Head(normal(vocab, width).requires_grad_(), normal(vocab).requires_grad_() if bias else None, scale, softcap)
    teacher = LiveTeacher(normal(num_rows, teacher_width), Head(normal(vocab, teacher_width)))
    return Rows(hidden, head, torch.randint(0, vocab, (num_rows,), generator=generator), teacher)


def plain_logits(hidden, head):
    logits = F.linear(hidden, head.weight_VD, head.bias_V) * head.scale
    return logits if head.softcap is None else head.softcap * torch.tanh(logits / head.softcap)


def plain_divergence(name, student_log, teacher_log, beta=0.5):
    """Per row, from log-probabilities."""
    p, q = student_log.exp(), teacher_log.exp()
    mixture = (beta * q + (1 - beta) * p).log()
    return {
        "forward_kl": lambda: F.kl_div(student_log, teacher_log, reduction="none", log_target=True),
        "reverse_kl": lambda: F.kl_div(teacher_log, student_log, reduction="none", log_target=True),
        "jsd": lambda: beta * q * (teacher_log - mixture) + (1 - beta) * p * (student_log - mixture),
        "tv": lambda: (p - q).abs() / 2,
        "uld": (p.sort(-1, descending=True).values - q.sort(-1, descending=True).values).abs,
    }[name]().sum(-1)


def plain_loss(rows, name, temperature, alpha, denominator, beta=0.5):
    logits, theirs = plain_logits(rows.hidden, rows.head), plain_logits(*rows.teacher).detach()
    soft = plain_divergence(name, (logits / temperature).log_softmax(-1), (theirs / temperature).log_softmax(-1), beta)
    hard = F.cross_entropy(logits, rows.labels, reduction="sum")
    return (alpha * temperature**2 * soft.sum() + (1 - alpha) * hard) / denominator


def relative(found, expected):
    return ((found - expected).norm() / expected.norm()).item()
