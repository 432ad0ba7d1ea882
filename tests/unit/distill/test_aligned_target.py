"""Universal logit distillation: sorted probabilities of two vocabularies, on the rows that have a partner alone."""

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck
from unit.distill.rows import plain_logits, relative

from distill_eval.distill.divergence import choose
from distill_eval.distill.projection import Soft, row_loss
from distill_eval.distill.targets import AlignedTarget, LiveTeacher
from distill_eval.head import Head

HAS = [True, False, True, True, False, True, True, False, True]


def models(student_vocab, teacher_vocab, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    hidden = normal(len(HAS), 6).requires_grad_()
    head = Head(normal(student_vocab, 6).requires_grad_(), normal(student_vocab).requires_grad_())
    labels = torch.randint(0, student_vocab, (len(HAS),), generator=generator)
    return hidden, head, labels, LiveTeacher(normal(sum(HAS), 5), Head(normal(teacher_vocab, 5)))


def plain(hidden, head, labels, teacher, temperature, alpha, denominator):
    """The formula of the paper with autograd: softmax, sort, fill up with zeros, sum of absolute differences."""
    logits = plain_logits(hidden, head)
    ours = (logits[torch.tensor(HAS)] / temperature).softmax(-1).sort(-1, descending=True).values
    theirs = (plain_logits(*teacher) / temperature).softmax(-1).sort(-1, descending=True).values
    size = max(ours.shape[1], theirs.shape[1])
    ours, theirs = (F.pad(probs, (0, size - probs.shape[1])) for probs in (ours, theirs))
    soft = (ours - theirs).abs().sum()
    hard = F.cross_entropy(logits, labels, reduction="sum")
    return (alpha * temperature**2 * soft + (1 - alpha) * hard) / denominator, soft


def ours(hidden, head, labels, teacher, temperature, alpha, denominator, chunk_rows=None, **options):
    target = AlignedTarget(teacher, torch.tensor(HAS))
    soft = Soft(target, "uld", temperature, alpha)
    return row_loss(hidden, head, labels, soft=soft, denominator=denominator, chunk_rows=chunk_rows, **options)


@pytest.mark.parametrize(("student_vocab", "teacher_vocab"), [(20, 31), (31, 20), (20, 20)])
@pytest.mark.parametrize("chunk_rows", [None, 1, 4])
def test_loss_and_gradients_are_those_of_the_plain_formula(student_vocab, teacher_vocab, chunk_rows):
    made = models(student_vocab, teacher_vocab)
    inputs = [made[0], made[1].weight_VD, made[1].bias_V]
    expected, distance = plain(*made, 2.0, 0.7, 20.0)
    found = ours(*made, 2.0, 0.7, 20.0, chunk_rows)
    assert found.loss.item() == pytest.approx(expected.item(), rel=1e-12)
    assert found.soft_sum.item() == pytest.approx(distance.item(), rel=1e-12)
    for mine, theirs in zip(
        torch.autograd.grad(found.loss, inputs), torch.autograd.grad(expected, inputs), strict=True
    ):
        assert relative(mine, theirs) < 1e-10


def test_gradcheck():
    hidden, head, labels, teacher = models(7, 9)

    def loss(hidden, weight, bias):
        return ours(hidden, Head(weight, bias), labels, teacher, 1.5, 0.6, 9.0, 4).loss

    assert gradcheck(loss, (hidden, head.weight_VD, head.bias_V))


def test_rows_without_a_partner_learn_their_labels_alone():
    hidden, head, labels, teacher = models(20, 31)
    [grad] = torch.autograd.grad(ours(hidden, head, labels, teacher, 1.0, 1.0, 9.0).loss, [hidden])
    assert (grad[~torch.tensor(HAS)] == 0).all()
    assert (grad[torch.tensor(HAS)].abs().sum(-1) > 0).all()
    nobody = AlignedTarget(teacher._replace(hidden_ND=teacher.hidden_ND[:0]), torch.zeros(9, dtype=torch.bool))
    alone = row_loss(hidden, head, labels, soft=Soft(nobody, "uld", 2.0, 0.7), denominator=9.0)
    hard = F.cross_entropy(plain_logits(hidden, head), labels)
    assert alone.loss.item() == pytest.approx(0.3 * hard.item(), rel=1e-12)


def test_validation_measures_the_teachers_entropy_and_no_agreement():
    hidden, head, labels, teacher = models(20, 31)
    with torch.no_grad():
        found = ours(hidden, head, labels, teacher, 1.0, 1.0, 9.0, 4, entropy_temperature=2.0)
    probs = (plain_logits(*teacher) / 2).softmax(-1)
    assert found.entropy_sum.item() == pytest.approx(-(probs * probs.log()).sum().item(), rel=1e-6)
    assert found.num_agree is None
    assert found.hard_N.sum() == found.hard_sum


def test_a_worked_example():
    """0.5 0.3 0.2 against 0.6 0.2 0.1 0.1: |0.1| + |0.1| + |0.1| + 0.1."""
    student, teacher = torch.tensor([[0.2, 0.5, 0.3]]).log(), torch.tensor([[0.1, 0.6, 0.1, 0.2]]).log()
    assert choose("uld")(student.clone(), teacher.clone()).value_N.item() == pytest.approx(0.4, abs=1e-6)
    assert choose("uld")(teacher, student).value_N.item() == pytest.approx(0.4, abs=1e-6)
