"""What is kept of a reference, and its bytes."""

import pytest
import torch

from distill_eval.fidelity.rows import POWER, Shape, choose, decode, encode, fit, log_probs, row_bytes, tail

SMOLLM2 = 49_152


def rows(num_rows=5, vocab_size=300, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return log_probs(4 * torch.randn(num_rows, vocab_size, generator=draw))


def test_log_probs_sum_to_one_and_are_those_of_torch():
    logits = 30 * torch.randn(130, 50)
    found = log_probs(logits)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.log_softmax(logits, -1))


def test_head_tail_and_the_true_token_are_kept():
    reference = rows()
    kept = choose(reference, torch.tensor([1, 2, 3, 4, 299]), Shape(300, 10, 16), (0, 0))
    best = reference.topk(10).indices.sort(-1).values
    assert torch.equal(kept.top_ids_NK, best)
    assert torch.equal(kept.top_log_probs_NK, reference.gather(-1, best))
    total = kept.top_log_probs_NK.double().exp().sum(-1) + kept.tail_N
    torch.testing.assert_close(total, torch.ones(5, dtype=torch.float64), rtol=0, atol=1e-6)
    assert torch.equal(kept.true_log_probs_N, reference[torch.arange(5), torch.tensor([1, 2, 3, 4, 299])])
    assert torch.equal(tail(reference, best), kept.tail_N)


def test_draws_are_of_the_tail_and_their_weights_undo_how_they_were_drawn():
    reference = rows(1).expand(4000, -1)
    shape = Shape(300, 10, 8)
    kept = choose(reference, torch.zeros(4000, dtype=torch.int64), shape, (0, 0))
    assert not (kept.drawn_ids_NM[:, :, None] == kept.top_ids_NK[:, None]).any()
    rest = reference[0].double().scatter(0, kept.top_ids_NK[0], -torch.inf)
    expected = (POWER * rest).softmax(-1)
    found = torch.bincount(kept.drawn_ids_NM.flatten(), minlength=300) / kept.drawn_ids_NM.numel()
    assert (found - expected).abs().max() < 0.003
    torch.testing.assert_close(kept.weights().mean(), kept.tail_N[0], rtol=0.01, atol=0)  # the weights estimate it


def test_what_is_drawn_depends_on_seed_and_chunk_alone():
    reference, true, shape = rows(), torch.zeros(5, dtype=torch.int64), Shape(300, 10, 16)
    first = choose(reference, true, shape, (0, 3))
    assert torch.equal(choose(reference, true, shape, (0, 3)).drawn_ids_NM, first.drawn_ids_NM)
    assert not torch.equal(choose(reference, true, shape, (1, 3)).drawn_ids_NM, first.drawn_ids_NM)
    assert not torch.equal(choose(reference, true, shape, (0, 4)).drawn_ids_NM, first.drawn_ids_NM)


@pytest.mark.parametrize("shape", [Shape(300, 10, 16), Shape(300, 300, 0)])
def test_bytes_come_back_to_the_bit(shape):
    kept = choose(rows(), torch.zeros(5, dtype=torch.int64), shape, (0, 0))
    found = decode(encode(kept, shape), 5, shape)
    for ours, theirs in zip(found, kept, strict=True):
        assert ours.dtype == theirs.dtype
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("vocab_size", "logit_bytes", "draws"), [(SMOLLM2, 2, 256), (SMOLLM2, 4, 256), (151_936, 2, 256), (32_000, 2, 177)]
)
def test_a_row_takes_at_most_a_fiftieth_of_the_logits(vocab_size, logit_bytes, draws):
    shape = fit(vocab_size, 64, logit_bytes)
    assert shape == Shape(vocab_size, 64, draws)
    assert row_bytes(shape) <= vocab_size * logit_bytes / 50
    if draws < 256:
        assert row_bytes(shape._replace(num_draws=draws + 1)) > vocab_size * logit_bytes / 50


def test_random_rows_take_no_more_than_they_should():
    shape = fit(SMOLLM2, 64, 2)
    kept = choose(rows(64, SMOLLM2), torch.zeros(64, dtype=torch.int64), shape, (0, 0))
    assert len(encode(kept, shape)) / 64 <= row_bytes(shape) + 1


def test_a_small_vocabulary_is_kept_whole_or_with_the_fewest_draws():
    assert fit(50, 64, 4) == Shape(50, 50, 0)
    assert fit(260, 64, 4) == Shape(260, 64, 64)
