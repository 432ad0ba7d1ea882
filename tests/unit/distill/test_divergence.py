import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from unit.distill.rows import plain_divergence, relative

from distill_eval.distill.divergence import NAMES, choose
from distill_eval.errors import UsageError


def log_probs(seed, num_rows=7, vocab=40, dtype=torch.float32, spread=2.0):
    generator = torch.Generator().manual_seed(seed)
    return (spread * torch.randn(num_rows, vocab, generator=generator, dtype=torch.float64)).log_softmax(-1).to(dtype)


def measure(name, student, teacher, beta=0.5):
    """Without losing the arguments, which a divergence overwrites."""
    return choose(name, beta=beta)(student.clone(), teacher.clone())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("beta", [0.1, 0.5, 0.9])
def test_value_and_gradient_are_the_plain_formulas(name, beta):
    logits = log_probs(1).requires_grad_()
    teacher = log_probs(2)
    expected = plain_divergence(name, logits.log_softmax(-1), teacher, beta)
    (gradient,) = torch.autograd.grad(expected.sum(), logits)
    found = measure(name, logits.detach(), teacher, beta)
    assert relative(found.value_N, expected.detach()) < 1e-5
    assert relative(found.grad_NV, gradient) < 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_gradient_is_that_of_finite_differences(name):
    logits, teacher = log_probs(1, 3, 6, torch.float64), log_probs(2, 3, 6, torch.float64)
    found, step = measure(name, logits, teacher, 0.3), 1e-6
    for column in range(6):
        values = []
        for sign in (1, -1):
            moved = logits.clone()
            moved[:, column] += sign * step
            values.append(measure(name, moved.log_softmax(-1), teacher, 0.3).value_N)
        torch.testing.assert_close(found.grad_NV[:, column], (values[0] - values[1]) / (2 * step), atol=1e-8, rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_equal_models_are_at_distance_zero(name):
    same = log_probs(1)
    found = measure(name, same, same)
    assert found.value_N.abs().max() < 1e-6
    assert found.grad_NV.abs().max() < 1e-6
    if name != "jsd":  # whose mixture is rounded
        assert found.value_N.eq(0).all()
        assert found.grad_NV.eq(0).all()


@given(st.integers(0, 10_000), st.integers(0, 10_000), st.floats(0.1, 20), st.integers(2, 64))
def test_bounds(first, second, spread, vocab):
    student, teacher = (log_probs(seed, 3, vocab, spread=spread) for seed in (first, second))
    values = {name: measure(name, student, teacher).value_N for name in NAMES}
    assert all(value.min() > -1e-5 for value in values.values())
    assert values["tv"].max() <= 1 + 1e-5
    assert values["jsd"].max() <= torch.tensor(2.0).log() + 1e-5
    # Pinsker's inequality, for both directions
    assert (values["tv"] <= (values["forward_kl"] / 2).clamp(min=0).sqrt() + 1e-3).all()
    assert (values["tv"] <= (values["reverse_kl"] / 2).clamp(min=0).sqrt() + 1e-3).all()
    for name in NAMES:  # a constant added to all logits changes nothing
        assert measure(name, student, teacher).grad_NV.sum(-1).abs().max() < 1e-4


def test_jsd_is_symmetric_at_one_half_and_generalizes():
    student, teacher = log_probs(1), log_probs(2)
    there, back = measure("jsd", student, teacher), measure("jsd", teacher, student)
    torch.testing.assert_close(there.value_N, back.value_N, rtol=1e-5, atol=0)
    # beta -> 0: JSD / beta -> KL(teacher || student); beta -> 1: JSD / (1 - beta) -> KL(student || teacher)
    student, teacher = student.double(), teacher.double()
    near = measure("jsd", student, teacher, 1e-6).value_N / 1e-6
    torch.testing.assert_close(near, measure("forward_kl", student, teacher).value_N, rtol=1e-3, atol=0)
    near = measure("jsd", student, teacher, 1 - 1e-6).value_N / 1e-6
    torch.testing.assert_close(near, measure("reverse_kl", student, teacher).value_N, rtol=1e-3, atol=0)


def test_reverse_kl_is_forward_kl_with_the_models_exchanged():
    student, teacher = log_probs(1), log_probs(2)
    forward, reverse = measure("forward_kl", teacher, student), measure("reverse_kl", student, teacher)
    torch.testing.assert_close(forward.value_N, reverse.value_N)


@pytest.mark.parametrize("name", NAMES)
def test_probabilities_that_underflow_weigh_nothing(name):
    student, teacher = torch.tensor([[0.0, -200.0, -300.0]]), torch.tensor([[-200.0, 0.0, -300.0]])
    found = measure(name, student, teacher)
    assert torch.isfinite(found.value_N).all()
    assert torch.isfinite(found.grad_NV).all()
    expected = {"forward_kl": 200.0, "reverse_kl": 200.0, "jsd": 0.6931472, "tv": 1.0, "uld": 0.0}
    assert found.value_N.item() == pytest.approx(expected[name], rel=1e-6)


def test_refuses():
    with pytest.raises(UsageError, match=r"unknown divergence 'forward-kl'\. Did you mean 'forward_kl'"):
        choose("forward-kl")
    for beta in (0.0, 1.0, -1.0):
        with pytest.raises(UsageError, match=f"--beta {beta:g}: expected a number between 0 and 1, e.g. 0.5"):
            choose("jsd", beta=beta)
