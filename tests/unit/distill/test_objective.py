import pytest
import torch
import torch.nn.functional as F
from unit.distill.rows import make_rows

from distill_eval.distill.attention_maps import LayerAttention
from distill_eval.distill.features import FeatureLoss
from distill_eval.distill.objective import InnerLosses, Inside, combine, scored_rows
from distill_eval.distill.projection import Soft, row_loss


def test_scored_rows_are_in_row_major_order():
    hidden = torch.arange(12.0).view(2, 3, 2)
    labels = torch.tensor([[-100, 5, 6], [7, -100, -100]])
    rows, found, scored = scored_rows(hidden, labels)
    assert rows.tolist() == [[2.0, 3.0], [4.0, 5.0], [6.0, 7.0]]
    assert found.tolist() == [5, 6, 7]
    assert scored.tolist() == [[False, True, True], [True, False, False]]


def inside(width, seed, num_heads=2):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(3, width, generator=generator).requires_grad_()
    scores = torch.randn(1, num_heads, 3, 3, generator=generator).requires_grad_()
    return Inside({0: features}, {0: LayerAttention(scores, None, None)})


SCORED = torch.ones(1, 3, dtype=torch.bool)


def test_parts_are_weighted_summed_and_reported_without_their_weights():
    rows = make_rows(num_rows=3)
    base = row_loss(rows.hidden, rows.head, rows.labels, soft=Soft(rows.target, "jsd", 2.0, 0.6), denominator=6)
    ours, theirs = inside(4, 1), inside(4, 2)
    terms = InnerLosses(((0, 0),), 0.5, FeatureLoss(((0, 0),), 4, 4), 3.0, "kl")
    losses = combine(base, 6, terms(ours, theirs, SCORED))
    features = (ours.features[0] - theirs.features[0].detach()).square().mean(-1).sum() / 6
    q, p = (x.attention[0].scores_BHTS.log_softmax(-1) for x in (theirs, ours))
    attention = F.kl_div(p, q.detach(), reduction="none", log_target=True).sum(-1).mean(1).sum() / 6
    assert sorted(losses.parts) == ["attention_loss", "feature_loss", "hard_loss", "soft_loss"]
    assert losses.parts["feature_loss"].item() == pytest.approx(features.item(), rel=1e-5)
    assert losses.parts["attention_loss"].item() == pytest.approx(attention.item(), rel=1e-5)
    assert losses.parts["soft_loss"].item() == pytest.approx(base.soft_sum.item() / 6, rel=1e-6)
    parts = losses.parts
    total = 0.6 * 4 * parts["soft_loss"] + 0.4 * parts["hard_loss"]
    total += 0.5 * parts["feature_loss"] + 3 * parts["attention_loss"]
    assert losses.loss.item() == pytest.approx(total.item(), rel=1e-5)
    assert not any(part.requires_grad for part in parts.values())
    losses.loss.backward()
    assert rows.hidden.grad.norm() > 0
    (expected,) = torch.autograd.grad(0.5 * features, ours.features[0])
    torch.testing.assert_close(ours.features[0].grad, expected)
    (expected,) = torch.autograd.grad(3.0 * attention, ours.attention[0].scores_BHTS)
    torch.testing.assert_close(ours.attention[0].scores_BHTS.grad, expected)
    assert theirs.features[0].grad is None


def test_a_weight_of_zero_leaves_a_term_out():
    rows = make_rows(num_rows=3)
    base = row_loss(rows.hidden, rows.head, rows.labels, soft=None, denominator=3)
    losses = combine(base, 3, InnerLosses()(Inside(), Inside(), SCORED))
    assert sorted(losses.parts) == ["hard_loss"]  # nor is a divergence that nobody measured
    assert torch.equal(losses.loss, base.loss)


def test_tokens_and_rows_may_have_their_own_counts():
    rows = make_rows(num_rows=1)
    base = row_loss(rows.hidden, rows.head, rows.labels, soft=None, denominator=1)
    terms = InnerLosses(((0, 0),), 1.0, FeatureLoss(((0, 0),), 4, 4))(inside(4, 1), inside(4, 2), SCORED)
    found = combine(base, 1, terms, inner_denominator=torch.tensor(3)).parts["feature_loss"]
    assert found.item() == pytest.approx(combine(base, 3, terms).parts["feature_loss"].item())
