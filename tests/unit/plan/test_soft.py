import math

import pytest
import torch

from distill_eval.distill import divergence as whole
from distill_eval.plan.soft import dark_share, divergence, entropy, soft_loss, softened

TEACHER, STUDENT = [5.0, 1.0, 0.5], [3.0, 1.5, 0.5]


def test_softened_is_the_softmax_of_the_logits_over_the_temperature():
    powers = [math.exp(one / 2) for one in TEACHER]
    assert softened(TEACHER, 2) == pytest.approx([one / sum(powers) for one in powers], rel=1e-12)
    assert softened(TEACHER, 1) == pytest.approx([0.97137, 0.01779, 0.01079], abs=6e-5)
    assert softened([1000.0, 0.0], 1) == [1.0, 0.0]  # no overflow


def test_entropy_and_what_a_hard_label_lacks():
    assert entropy([1.0, 0.0]) == 0
    assert entropy([0.25] * 4) == pytest.approx(math.log(4))
    assert dark_share([0.7, 0.2, 0.1]) == pytest.approx(0.3)
    shares = [dark_share(softened(TEACHER, one)) for one in (1, 2, 4, 1e9)]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(2 / 3)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_the_loss_is_that_of_the_training(temperature):
    softer = [
        torch.log_softmax(torch.tensor([one], dtype=torch.float64) / temperature, -1) for one in (STUDENT, TEACHER)
    ]
    measured = whole.forward_kl(*softer)
    expected = float(measured[0][0])
    assert divergence(TEACHER, STUDENT, temperature) == pytest.approx(expected, rel=1e-12)
    assert soft_loss(TEACHER, STUDENT, temperature) == pytest.approx(temperature**2 * expected, rel=1e-12)
    assert divergence(TEACHER, TEACHER, temperature) == 0


def test_the_loss_keeps_its_size_where_the_temperature_is_high():
    limit = sum((t - s - (sum(TEACHER) - sum(STUDENT)) / 3) ** 2 for t, s in zip(TEACHER, STUDENT, strict=True)) / 6
    assert soft_loss(TEACHER, STUDENT, 1e4) == pytest.approx(limit, rel=1e-3)  # Hinton et al. 2015, section 2.1
