"""The arithmetic of parity, against closed forms."""

import math

import pytest
import torch

from distill_eval.errors import ModelError
from distill_eval.export.agreement import TIE, Tally, first_difference, fp32_problem


def agreement(original, exported, length=5):
    tally = Tally()
    tally.add(torch.tensor(original), torch.tensor(exported), length=length)
    return tally.finish()


def test_equal_logits_have_no_differences():
    found = agreement([[1.0, 2.0, -3.0]], [[1.0, 2.0, -3.0]])
    assert (found.max_abs_diff, found.mean_abs_diff, found.max_relative_diff, found.mean_kl) == (0, 0, 0, 0)
    assert (found.top1_agreement, found.num_ties, found.num_positions) == (1, 0, 1)
    assert fp32_problem(found) is None


def test_differences_are_of_logits_and_relative_to_the_largest_of_all():
    found = agreement([[1.0, -8.0], [2.0, 0.0]], [[1.5, -8.0], [2.0, 1.0]])
    assert found.max_abs_diff == 1.0
    assert found.mean_abs_diff == pytest.approx(1.5 / 4)
    assert found.max_relative_diff == pytest.approx(1 / 8)


def test_kl_is_of_the_original_to_the_exported():
    original, exported = [0.75, 0.25], [0.5, 0.5]
    found = agreement([[math.log(p) for p in original]], [[math.log(q) for q in exported]])
    assert found.mean_kl == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5), rel=1e-6)
    assert found.mean_kl != pytest.approx(0.5 * math.log(1 / 1.5) + 0.5 * math.log(2), rel=1e-2)


def test_a_constant_added_to_all_logits_changes_no_prediction():
    found = agreement([[1.0, 2.0]], [[4.0, 5.0]])
    assert found.mean_kl == pytest.approx(0, abs=1e-12)
    assert found.max_abs_diff == 3.0


def test_texts_are_added_up_by_position():
    tally = Tally()
    tally.add(torch.zeros(3, 2), torch.zeros(3, 2), length=10)
    tally.add(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]), length=4)
    found = tally.finish()
    assert (found.num_texts, found.shortest, found.longest, found.num_positions) == (2, 4, 10, 4)
    assert found.top1_agreement == 0.75
    assert found.mean_abs_diff == pytest.approx(2 / 8)


def test_more_positions_than_are_computed_at_once_give_the_same_figures():
    original = torch.randn(600, 7, generator=torch.Generator().manual_seed(0))
    exported = original + 0.1 * torch.randn(600, 7, generator=torch.Generator().manual_seed(1))
    tally = Tally()
    tally.add(original, exported, length=600)
    found = tally.finish()
    kl = torch.nn.functional.kl_div(
        exported.double().log_softmax(-1), original.double().softmax(-1), reduction="batchmean"
    )
    assert found.mean_kl == pytest.approx(kl.item(), rel=1e-9)
    assert found.max_abs_diff == (original - exported).abs().max().item()
    assert found.top1_agreement == (original.argmax(-1) == exported.argmax(-1)).double().mean().item()


@pytest.mark.parametrize(("gap", "ties"), [(0.5 * TIE * 10, 1), (3 * TIE * 10, 0)], ids=["within", "beyond"])
def test_a_tie_is_what_the_original_itself_does_not_decide(gap, ties):
    found = agreement([[10.0, 10.0 - gap, 0.0]], [[10.0 - gap, 10.0, 0.0]])
    assert found.top1_agreement == 0
    assert found.num_ties == ties
    assert (fp32_problem(found) is None) == bool(ties)


def test_one_other_top_logit_is_not_the_same_model():
    found = agreement([[1000.0, 1.0, 0.9], [0.0, 1.0, 0.95]], [[1000.0, 1.0, 0.9], [0.0, 1.0, 1.05]])
    assert found.max_relative_diff < 1e-3
    assert fp32_problem(found) == "the largest logit is another at 1 of 2 positions"


def test_a_large_difference_is_not_the_same_model():
    found = agreement([[1.0, 0.0]], [[1.0, 0.002]])
    assert "logits differ by up to 0.002, 0.002 of the largest" in fp32_problem(found)


@pytest.mark.parametrize(("exported", "same"), [(2.0001, True), (2.1, False)])
def test_numbers_that_are_no_choice_have_no_top_1_and_no_kl(exported, same):
    tally = Tally(is_choice=False)
    tally.add(torch.tensor([[2.0, 1.0]]), torch.tensor([[exported, 1.0]]), length=5)
    found = tally.finish()
    assert (found.top1_agreement, found.num_ties, found.mean_kl) == (None, None, None)
    assert found.max_relative_diff == pytest.approx((exported - 2) / 2, rel=1e-2)
    assert (fp32_problem(found) is None) == same


def test_the_largest_label_may_be_another_where_labels_are_decided_by_themselves():
    tally = Tally(is_choice=False)
    tally.add(torch.tensor([[10.0, 9.9995]]), torch.tensor([[9.9995, 10.0]]), length=5)
    assert fp32_problem(tally.finish()) is None


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_what_is_no_number_is_refused(wrong):
    with pytest.raises(ModelError, match="not all finite"):
        agreement([[1.0, 0.0]], [[1.0, wrong]])


@pytest.mark.parametrize(
    ("one", "other", "place"),
    [([1, 2, 3], [1, 2, 3], None), ([1, 2, 3], [1, 5, 3], 1), ([1, 2], [1, 2, 3], 2), ([], [4], 0), ([], [], None)],
)
def test_the_first_difference_of_two_texts(one, other, place):
    assert first_difference(one, other) == place
    assert first_difference(other, one) == place
