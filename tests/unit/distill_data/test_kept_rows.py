import math

import numpy as np
import pytest
import torch
from unit.distill_data.build import cache_key, peaked

from distill_eval.distill.divergence import forward_kl
from distill_eval.distill.kept_rows import (
    MAX_BYTES,
    HiddenRows,
    check_num_kept,
    decode,
    encode,
    most_kept,
    row_bytes,
    sample_rows,
    top_k_rows,
)
from distill_eval.distill.targets import SampleTarget, TopKTarget
from distill_eval.errors import UsageError

VOCABULARIES = [2, 260, 49_152, 65_537, 151_936]
SMOLLM2 = 49_152


def offsets(num_rows, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).random(num_rows))


def counts(ids_NK, vocab_size):
    return torch.zeros(len(ids_NK), vocab_size).scatter_add_(1, ids_NK, torch.ones_like(ids_NK, dtype=torch.float))


# ---- sampling


def test_an_id_comes_as_often_as_its_probability_says():
    log_probs = peaked(20, 50)
    expected = 30 * log_probs.exp()
    found = counts(sample_rows(log_probs, offsets(20), 30).ids_NK, 50)
    assert (found >= (expected - 1e-4).floor()).all()
    assert (found <= (expected + 1e-4).ceil()).all()
    assert found.sum(-1).tolist() == [30] * 20


def test_the_counts_have_the_right_mean():
    log_probs = peaked(1, 50).expand(4000, -1)
    found = counts(sample_rows(log_probs, offsets(4000), 7).ids_NK, 50).mean(0)
    expected = 7 * log_probs[0].exp()
    share = expected.remainder(1)
    stderr = (share * (1 - share) / 4000).sqrt()
    assert ((found - expected).abs() <= 4 * stderr + 1e-4).all()


def test_entropy_is_that_of_the_whole_distribution():
    log_probs = torch.tensor([[0.5, 0.25, 0.25, 0.0]]).log()
    assert sample_rows(log_probs, offsets(1), 3).entropy_N.tolist() == pytest.approx([1.5 * math.log(2)])


@pytest.mark.parametrize("offset", [0.0, 0.5, 1 - 2**-53])
def test_what_is_impossible_is_never_drawn(offset):
    log_probs = torch.tensor([[0.0, 0.5, 0.0, 0.5, 0.0]]).log()
    ids = sample_rows(log_probs, torch.tensor([offset], dtype=torch.float64), 4).ids_NK
    assert set(ids.flatten().tolist()) == {1, 3}


def test_rows_do_not_depend_on_their_neighbors():
    log_probs, points = peaked(12, 300), offsets(12)
    whole = sample_rows(log_probs, points, 9)
    parts = [sample_rows(log_probs[i : i + 5], points[i : i + 5], 9) for i in (0, 5, 10)]
    assert torch.equal(whole.ids_NK, torch.cat([part.ids_NK for part in parts]))
    assert torch.equal(whole.entropy_N, torch.cat([part.entropy_N for part in parts]))


def test_the_most_likely_are_kept_and_the_others_summed():
    rows = top_k_rows(torch.tensor([[0.1, 0.4, 0.05, 0.3, 0.15]]).log(), 2)
    assert rows.ids_NK.tolist() == [[1, 3]]
    assert rows.log_probs_NK.exp().tolist() == [pytest.approx([0.4, 0.3])]
    assert rows.tail_N.tolist() == pytest.approx([0.3])


# ---- bytes


@pytest.mark.parametrize("vocab_size", VOCABULARIES)
def test_sampled_rows_come_back(vocab_size):
    key = cache_key("sample", vocab_size)
    rows = sample_rows(peaked(9, vocab_size), offsets(9), key.num_kept)
    found = decode(encode(rows, key), 9, key)
    assert torch.equal(found.ids_NK, rows.ids_NK)
    assert torch.equal(found.entropy_N, rows.entropy_N)


@pytest.mark.parametrize("vocab_size", VOCABULARIES)
def test_top_k_rows_come_back_rounded(vocab_size):
    key = cache_key("top_k", vocab_size)
    rows = top_k_rows(peaked(9, vocab_size), key.num_kept)
    found = decode(encode(rows, key), 9, key)
    assert torch.equal(found.ids_NK, rows.ids_NK)
    assert torch.equal(found.log_probs_NK, rows.log_probs_NK.half().float())
    assert torch.equal(found.tail_N, rows.tail_N.half().float())
    torch.testing.assert_close(found.log_probs_NK.exp().sum(-1) + found.tail_N, torch.ones(9), rtol=0, atol=5e-3)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 2**-11), ("bfloat16", 2**-8)])
def test_hidden_states_come_back_rounded(dtype, tolerance):
    key = cache_key("hidden", 260, layers=(1, 3), hidden_size=5, dtype=dtype)
    states = torch.randn(7, 2, 5, generator=torch.Generator().manual_seed(0))
    found = decode(encode(HiddenRows(states), key), 7, key)
    torch.testing.assert_close(found.hidden_NLD, states, rtol=tolerance, atol=0)
    assert row_bytes(key) == 20


def test_no_rows_at_all():
    for key in (
        cache_key("sample", 260),
        cache_key("top_k", 260),
        cache_key("hidden", 260, layers=(0,), hidden_size=4),
    ):
        rows = decode(encode(decode_empty(key), key), 0, key)
        assert {len(part) for part in rows} == {0}


def decode_empty(key):
    if key.kind == "hidden":
        return HiddenRows(torch.empty(0, 1, 4))
    empty = torch.empty(0, key.vocab_size)
    return sample_rows(empty, offsets(0), key.num_kept) if key.kind == "sample" else top_k_rows(empty, key.num_kept)


@pytest.mark.parametrize("kind", ["sample", "top_k"])
@pytest.mark.parametrize("vocab_size", VOCABULARIES)
def test_rows_that_cannot_be_compressed_stay_within_the_limit(kind, vocab_size):
    key = cache_key(kind, vocab_size)
    flat = torch.randn(64, vocab_size, generator=torch.Generator().manual_seed(0)).mul_(0.1).log_softmax(-1)
    rows = sample_rows(flat, offsets(64), key.num_kept) if kind == "sample" else top_k_rows(flat, key.num_kept)
    assert len(encode(rows, key)) <= MAX_BYTES * 64


@pytest.mark.parametrize("vocab_size", [2, 100, 32_000, 50_257, 128_256, 262_144, 1_000_000])
def test_no_row_is_longer_than_the_limit(vocab_size):
    assert 100 < row_bytes(cache_key("sample", vocab_size)) < MAX_BYTES
    assert row_bytes(cache_key("top_k", vocab_size)) < MAX_BYTES


def test_most_kept():
    # By hand: 990 bits for the ids of a sample; with V = 49,152 and 9 low bits, 10 K + 95 of them.
    assert {vocab: most_kept("sample", vocab) for vocab in (32_000, SMOLLM2, 151_936)} == {
        32_000: 96,
        SMOLLM2: 89,
        151_936: 76,
    }
    assert {vocab: most_kept("top_k", vocab) for vocab in (10, 32_000, SMOLLM2, 151_936)} == {
        10: 10,
        32_000: 36,
        SMOLLM2: 35,
        151_936: 33,
    }


@pytest.mark.parametrize(("kind", "num_kept"), [("sample", 0), ("sample", 500), ("top_k", 64)])
def test_more_than_fits_is_refused(kind, num_kept):
    most = most_kept(kind, SMOLLM2)
    with pytest.raises(UsageError, match=f"--num-kept {num_kept}: {kind} keeps 1 to {most} ids per token"):
        check_num_kept(kind, num_kept, SMOLLM2)
    check_num_kept(kind, most, SMOLLM2)


# ---- how wrong the loss is that comes of it


def divergences(student, teacher, num_samples):
    """Mean KL over the rows: exact, of exact top-64 with a bucket for the rest, and from each of some samples."""
    exact = forward_kl(student.clone(), teacher.clone()).value_N.mean()
    top = TopKTarget(*top_k_rows(teacher, 64)).measure(student.clone(), slice(None), None, 1.0).value_N.mean()
    num_kept = most_kept("sample", teacher.shape[1])
    sampled = [
        SampleTarget(*sample_rows(teacher, offsets(len(teacher), seed), num_kept))
        .measure(student.clone(), slice(None), None, 1.0)
        .value_N.mean()
        for seed in range(num_samples)
    ]
    return float(exact), float(top), np.array([float(value) for value in sampled])


@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("apart", [0.5, 1.0])
def test_the_kl_error_of_a_sample_is_below_that_of_exact_top_64(temperature, apart):
    """On 256 rows of a vocabulary of 8,192: a peaked teacher, and a student whose logits are `apart` (sd) from it."""
    logits = peaked(256, 8192) * 1.0
    noise = torch.randn(logits.shape, generator=torch.Generator().manual_seed(1))
    teacher = (logits / temperature).log_softmax(-1)
    student = ((logits + apart * noise) / temperature).log_softmax(-1)
    exact, top, sampled = divergences(student, teacher, 10)
    rms = float(np.sqrt(((sampled - exact) ** 2).mean()))
    assert rms < abs(top - exact)
    assert abs(sampled.mean() - exact) < 4 * sampled.std(ddof=1) / math.sqrt(10)
