import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from unit.distill.rows import make_rows, plain_divergence, plain_logits, relative

from distill_eval.distill.projection import Soft, row_loss
from distill_eval.distill.targets import DenseTarget, LiveTeacher, SampleTarget, TopKTarget, log_probs
from distill_eval.errors import UsageError
from distill_eval.head import Head


def teacher_log_probs(rows, temperature=1.0):
    return (plain_logits(*rows.teacher) / temperature).log_softmax(-1)


def top_k(full_NV, count):
    kept = full_NV.topk(count)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))  # no order is asked for
    tail_N = full_NV.exp().scatter(1, kept.indices, 0).sum(-1)
    return TopKTarget(kept.indices[:, order], kept.values[:, order], tail_N)


def soft_part(rows, target, temperature=1.0, **options):
    """(value, gradients) of the soft term alone."""
    soft = Soft(target, "forward_kl", temperature, alpha=1.0)
    found = row_loss(rows.hidden, rows.head, rows.labels, soft=soft, denominator=1, **options)
    return found.soft_sum.item(), torch.autograd.grad(found.loss, rows.inputs)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("count", [1, 5, 49])
@pytest.mark.parametrize("chunk_rows", [4, None])
def test_top_k_is_the_kl_of_buckets(temperature, count, chunk_rows):
    rows = make_rows()
    target = top_k(teacher_log_probs(rows, temperature), count)
    value, gradients = soft_part(rows, target, temperature, chunk_rows=chunk_rows)
    student = (plain_logits(rows.hidden, rows.head) / temperature).softmax(-1)
    is_tail = torch.ones_like(student, dtype=torch.bool).scatter(1, target.ids_NK, False)
    theirs = torch.cat([target.log_probs_NK.exp(), target.tail_N[:, None]], 1)
    ours = torch.cat([student.gather(1, target.ids_NK), (student * is_tail).sum(-1, keepdim=True)], 1)
    expected = (theirs * (theirs / ours).log()).sum()
    assert value == pytest.approx(expected.item(), rel=1e-5)
    for found, plain in zip(gradients, torch.autograd.grad(temperature**2 * expected, rows.inputs), strict=True):
        assert relative(found, plain) < 1e-5


@given(st.integers(0, 10_000), st.integers(1, 49), st.sampled_from([1.0, 3.0]))
def test_buckets_lose_divergence_and_never_gain_it(seed, count, temperature):
    rows = make_rows(num_rows=3, seed=seed)
    full, _ = soft_part(rows, rows.target, temperature)
    kept, _ = soft_part(rows, top_k(teacher_log_probs(rows, temperature), count), temperature)
    assert kept <= full + 1e-5 * abs(full)


def test_all_tokens_kept_is_the_full_divergence():
    rows = make_rows()
    full, expected = soft_part(rows, rows.target)
    value, gradients = soft_part(rows, top_k(teacher_log_probs(rows), 50))
    assert value == pytest.approx(full, rel=1e-5)
    assert all(relative(found, plain) < 1e-5 for found, plain in zip(gradients, expected, strict=True))


def test_what_rounding_left_of_the_sum_is_divided_out():
    rows = make_rows()
    exact = top_k(teacher_log_probs(rows), 5)
    rounded = TopKTarget(exact.ids_NK.int(), exact.log_probs_NK + 0.01, exact.tail_N * torch.tensor(0.01).exp())
    assert soft_part(rows, rounded)[0] == pytest.approx(soft_part(rows, exact)[0], rel=1e-4)


def test_a_certain_student_gives_finite_numbers():
    """All of its mass on one kept token: what is left of the tail underflows."""
    rows = make_rows(num_rows=1)
    head = Head(rows.head.weight_VD * 1e4, None)
    target = TopKTarget(torch.tensor([[3, 4]]), torch.tensor([[0.5, 0.25]]).log(), torch.tensor([0.25]))
    found = row_loss(rows.hidden, head, rows.labels, soft=Soft(target, "forward_kl", 1.0, 1.0), denominator=1)
    (gradient,) = torch.autograd.grad(found.loss, rows.hidden)
    assert torch.isfinite(found.loss)
    assert torch.isfinite(gradient).all()


def test_samples_are_cross_entropy_minus_entropy():
    rows = make_rows()
    full = teacher_log_probs(rows, 2.0)
    entropy = -(full.exp() * full).sum(-1)
    ids = torch.multinomial(full.exp(), 12, replacement=True, generator=torch.Generator().manual_seed(0))
    value, gradients = soft_part(rows, SampleTarget(ids, entropy), 2.0, chunk_rows=5)
    student = (plain_logits(rows.hidden, rows.head) / 2).log_softmax(-1)
    expected = (-student.gather(1, ids).mean(-1) - entropy).sum()
    assert value == pytest.approx(expected.item(), rel=1e-5)
    for found, plain in zip(gradients, torch.autograd.grad(4 * expected, rows.inputs), strict=True):
        assert relative(found, plain) < 1e-5


def test_samples_are_unbiased_where_top_k_is_not():
    """12 draws, 4,000 times: the mean of value and gradient is that of the whole distribution."""
    rows, draws = make_rows(num_rows=4), 4000
    full = teacher_log_probs(rows)
    value, expected = soft_part(rows, rows.target)
    many = rows._replace(
        hidden=rows.hidden.detach().repeat(draws, 1).requires_grad_(), labels=rows.labels.repeat(draws)
    )
    generator = torch.Generator().manual_seed(0)
    ids = torch.multinomial(full.exp().repeat(draws, 1), 12, replacement=True, generator=generator)
    entropy = -(full.exp() * full).sum(-1)
    total, gradients = soft_part(many, SampleTarget(ids, entropy.repeat(draws)))
    each = gradients[0].view(draws, 4, -1)
    deviations = (each.mean(0) - expected[0]) / (each.std(0) / draws**0.5)
    assert deviations.abs().max() < 4  # the largest of 32 normal variables, 8 of which depend on each other
    assert 0.3 < deviations.square().mean() < 2
    cross = -plain_logits(many.hidden, rows.head).log_softmax(-1).gather(1, ids).mean(-1).view(draws, 4).sum(-1)
    assert abs(total / draws - value) < 4 * cross.std().item() / draws**0.5
    _, kept = soft_part(rows, top_k(full, 12))
    assert relative(kept[0], expected[0]) > 5 * relative(each.mean(0), expected[0])


@pytest.mark.parametrize(
    "make", [lambda rows: top_k(teacher_log_probs(rows), 3), lambda rows: SampleTarget(*[rows.labels[:, None]] * 2)]
)
@pytest.mark.parametrize("name", ["reverse_kl", "jsd", "tv"])
def test_a_part_of_the_distribution_has_forward_kl_alone(make, name):
    with pytest.raises(UsageError, match=f"{name} needs the teacher's whole distribution; a (TopK|Sample)Target"):
        Soft(make(make_rows()), name)


@pytest.mark.parametrize("name", ["forward_kl", "jsd"])
def test_several_teachers_are_mixed_by_their_probabilities(name):
    rows, other = make_rows(), make_rows(seed=1, teacher_width=5).teacher
    target = DenseTarget((rows.teacher, other), (0.3, 0.7))
    soft = Soft(target, name, 2.0, alpha=1.0)
    found = row_loss(rows.hidden, rows.head, rows.labels, soft=soft, denominator=1, chunk_rows=5)
    mixed = 0.3 * teacher_log_probs(rows, 2.0).exp() + 0.7 * (plain_logits(*other) / 2).softmax(-1)
    student = (plain_logits(rows.hidden, rows.head) / 2).log_softmax(-1)
    expected = plain_divergence(name, student, mixed.log()).sum()
    assert found.soft_sum.item() == pytest.approx(expected.item(), rel=1e-5)
    (gradient,), (plain,) = (torch.autograd.grad(x, rows.hidden) for x in (found.loss, 4 * expected))
    assert relative(gradient, plain) < 1e-5


def test_a_padded_teacher_is_compared_on_the_students_vocabulary():
    rows = make_rows()
    extra = torch.randn(14, 6, generator=torch.Generator().manual_seed(5))
    padded = LiveTeacher(rows.teacher.hidden_ND, Head(torch.cat([rows.teacher.head.weight_VD, extra])))
    assert soft_part(rows, DenseTarget((padded,)))[0] == soft_part(rows, rows.target)[0]
    small = LiveTeacher(rows.teacher.hidden_ND, Head(rows.teacher.head.weight_VD[:40]))
    with pytest.raises(UsageError, match="the teacher's vocabulary has 40 entries, the student's 50"):
        soft_part(rows, DenseTarget((small,)))


def test_a_teacher_may_compute_in_another_precision():
    rows = make_rows()
    teacher = LiveTeacher(rows.teacher.hidden_ND, Head(rows.teacher.head.weight_VD.bfloat16()))
    assert soft_part(rows, DenseTarget((teacher,)))[0] == pytest.approx(soft_part(rows, rows.target)[0], rel=2e-2)


def test_tokens_that_both_models_rule_out_weigh_nothing():
    rows = make_rows(bias=True)
    mask = torch.zeros(50).index_fill_(0, torch.tensor([7, 9]), float("-inf"))
    labels = rows.labels.clone().fill_(3)
    head = rows.head._replace(bias_V=rows.head.bias_V.detach() + mask)
    teacher = LiveTeacher(rows.teacher.hidden_ND, rows.teacher.head._replace(bias_V=mask))
    for name in ("forward_kl", "reverse_kl", "jsd", "tv"):
        soft = Soft(DenseTarget((teacher,)), name, 2.0, 0.5)
        found = row_loss(rows.hidden, head, labels, soft=soft, denominator=1)
        keep = [i for i in range(50) if i not in (7, 9)]
        student, theirs = ((plain_logits(h, x) / 2)[:, keep].log_softmax(-1) for h, x in ((rows.hidden, head), teacher))
        assert found.soft_sum.item() == pytest.approx(plain_divergence(name, student, theirs).sum().item(), rel=1e-5)
        (gradient,) = torch.autograd.grad(found.loss, rows.hidden)
        assert torch.isfinite(gradient).all()


def test_validation_measures_agreement_and_entropy():
    rows = make_rows(num_rows=40)
    full = teacher_log_probs(rows)
    agree = (plain_logits(rows.hidden, rows.head).argmax(-1) == full.argmax(-1)).sum().item()
    assert 0 < agree < 40
    at_two = teacher_log_probs(rows, 2.0)
    entropy = -(at_two.exp() * at_two).sum().item()
    kept = top_k(full, 5)
    probs = torch.cat([kept.log_probs_NK.exp(), kept.tail_N[:, None]], 1)
    drawn = SampleTarget(torch.zeros(40, 3, dtype=torch.long), torch.full((40,), 0.5))
    expected = {rows.target: (agree, entropy), kept: (agree, -(probs * probs.log()).sum().item()), drawn: (None, 20.0)}
    for target, (num_agree, entropy_sum) in expected.items():
        soft = Soft(target, "forward_kl", 1.0, 1.0)
        with torch.no_grad():
            found = row_loss(
                rows.hidden, rows.head, rows.labels, soft=soft, denominator=1, chunk_rows=7, entropy_temperature=2.0
            )
        assert (None if found.num_agree is None else found.num_agree.item()) == num_agree
        assert found.entropy_sum.item() == pytest.approx(entropy_sum, rel=1e-5)
    plain = row_loss(rows.hidden, rows.head, rows.labels, soft=None, denominator=1)
    assert (plain.num_agree, plain.entropy_sum, plain.soft_sum) == (None, None, None)


def test_log_probs_leave_the_logits_alone():
    logits = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    before = logits.clone()
    torch.testing.assert_close(log_probs(logits, 2.0), (before / 2).log_softmax(-1))
    assert torch.equal(logits, before)
