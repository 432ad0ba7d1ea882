"""Divergences from what is kept of a reference, against scipy and sums over the whole vocabulary."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.special import rel_entr

from distill_eval.errors import ModelError
from distill_eval.fidelity.divergence import measure
from distill_eval.fidelity.rows import Shape, choose, log_probs

SAMPLED = Shape(400, 20, 32)


def pair(vocab_size=400, *, apart=1.0, num_rows=4, seed=0):
    """Log-probabilities of a reference, peaked as a language model's, and of a candidate near it."""
    draw = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(num_rows, vocab_size, generator=draw)
    return log_probs(logits), log_probs(logits + apart * torch.randn(num_rows, vocab_size, generator=draw))


def kept(reference, shape, seed=0):
    true = torch.arange(len(reference)) % reference.shape[1]
    return choose(reference, true, shape, (seed, 0)), true


def exact(reference, candidate):
    """Both KL divergences and the JSD by scipy, each [N]."""
    p, q = (rows.double().exp().numpy() for rows in (reference, candidate))
    p, q = p / p.sum(1, keepdims=True), q / q.sum(1, keepdims=True)
    return rel_entr(p, q).sum(1), rel_entr(q, p).sum(1), jensenshannon(p, q, axis=1) ** 2


def test_a_whole_vocabulary_gives_the_exact_divergences():
    reference, candidate = pair(40)
    rows, true = kept(reference, Shape(40, 40, 0))
    found = measure(rows, candidate, true)
    for value, expected in zip(found[:3], exact(reference, candidate), strict=True):
        assert value.numpy() == pytest.approx(expected, rel=1e-5)


def test_a_worked_example():
    reference, candidate = torch.tensor([[0.5, 0.25, 0.25]]).log(), torch.tensor([[0.25, 0.25, 0.5]]).log()
    found = measure(choose(reference, torch.tensor([2]), Shape(3, 3, 0), (0, 0)), candidate, torch.tensor([2]))
    assert float(found.kl_N) == pytest.approx(0.25 * math.log(2))
    assert float(found.reverse_kl_N) == pytest.approx(0.25 * math.log(2))
    # m = (3/8, 1/4, 3/8): half of (1/2 ln 4/3 + 1/4 ln 2/3), twice
    assert float(found.jsd_N) == pytest.approx(0.5 * math.log(4 / 3) + 0.25 * math.log(2 / 3))
    assert found.same_top1_N.tolist() == [0.0]
    assert found.top5_overlap_N.tolist() == [1.0]
    assert float(found.reference_log_prob_N) == pytest.approx(math.log(0.25))
    assert float(found.log_prob_N) == pytest.approx(math.log(0.5))


@pytest.mark.parametrize("apart", [0.05, 1.0])
def test_with_a_sample_of_the_tail_the_mean_is_the_exact_one(apart):
    reference, candidate = pair(apart=apart, num_rows=1)
    values = torch.stack(
        [torch.stack(measure(*_args(reference, candidate, seed))[:3]) for seed in range(400)]
    )  # [seeds, 3, 1]
    mean, stderr = values.mean((0, 2)), values.std((0, 2)) / math.sqrt(400)
    off = (mean.numpy() - np.array(exact(reference, candidate))[:, 0]) / stderr.numpy()
    assert (np.abs(off) < 4).all()
    assert (stderr / mean < 0.02).all()


def _args(reference, candidate, seed, shape=SAMPLED):
    rows, true = kept(reference, shape, seed)
    return rows, candidate, true


def test_the_head_and_a_lump_alone_are_too_low():
    reference, candidate = pair()
    lumped = measure(*_args(reference, candidate, 0, Shape(400, 20, 0)))
    for value, expected in zip(lumped[:3], exact(reference, candidate), strict=True):
        assert (value.numpy() < 0.98 * expected).all()


@given(seed=st.integers(0, 10_000), apart=st.floats(0, 5), num_draws=st.sampled_from([0, 1, 16]))
def test_divergences_are_never_below_the_lump_and_a_jsd_is_at_most_ln_2_when_exact(seed, apart, num_draws):
    reference, candidate = pair(30, apart=apart, seed=seed)
    found = measure(*_args(reference, candidate, seed, Shape(30, 8, num_draws)))
    lumped = measure(*_args(reference, candidate, seed, Shape(30, 8, 0)))
    for value, least in zip(found[:3], lumped[:3], strict=True):
        assert (value >= least - 1e-9).all()
        assert (least >= -1e-6).all()
    whole = measure(*_args(reference, candidate, seed, Shape(30, 30, 0)))
    assert (whole.jsd_N <= math.log(2) + 1e-9).all()


def test_a_model_beside_itself_is_exactly_the_same():
    reference, _ = pair()
    found = measure(*_args(reference, reference.clone(), 0))
    assert [part.abs().max().item() for part in found[:3]] == [0.0, 0.0, 0.0]
    assert found.same_top1_N.tolist() == found.top5_overlap_N.tolist() == [1.0] * 4
    assert torch.equal(found.log_prob_N, found.reference_log_prob_N)


def test_ties_are_broken_alike_in_what_is_kept_and_in_the_candidate():
    ties = log_probs(torch.tensor([[0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0]]))
    found = measure(*_args(ties, ties.clone(), 0, Shape(8, 8, 0)))
    assert found.same_top1_N.tolist() == found.top5_overlap_N.tolist() == [1.0]
    other = ties.clone()
    other[0, 4] += 1e-3
    found = measure(*_args(ties, other, 0, Shape(8, 8, 0)))
    assert found.same_top1_N.tolist() == [0.0]  # 1 is the first of the six, 4 the best of the other
    assert found.top5_overlap_N.tolist() == [1.0]


def test_overlap_counts_the_five_most_likely():
    reference = log_probs(torch.arange(10.0)[None])
    candidate = log_probs(torch.tensor([[9.0, 8, 0, 0, 0, 5, 6, 7, 1, 1]]))
    found = measure(*_args(reference, candidate, 0, Shape(10, 6, 2)))
    assert found.top5_overlap_N.tolist() == [pytest.approx(3 / 5)]


def test_a_token_without_any_probability_is_said():
    reference, candidate = pair(30)
    candidate[0, :15] = -torch.inf
    with pytest.raises(ModelError, match="not a finite number"):
        measure(*_args(reference, candidate, 0, Shape(30, 30, 0)))
