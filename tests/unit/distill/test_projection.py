import itertools

import pytest
import torch
import torch.nn.functional as F
from fakes.tiny_families import CONFIGS, VOCAB_SIZE, make_model
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForCausalLM, BertConfig, BertForMaskedLM, BertModel, CohereConfig, GraniteConfig
from unit.distill.rows import make_rows, plain_logits, plain_loss, relative

from distill_eval.distill import projection
from distill_eval.distill.divergence import NAMES
from distill_eval.distill.projection import Soft, even_chunk_rows, row_loss
from distill_eval.errors import ModelError, UsageError
from distill_eval.head import read_head

HEADS = {
    "plain": {},
    "bias": {"bias": True},
    "scale": {"scale": 0.25},
    "softcap": {"softcap": 3.0},
    "all": {"bias": True, "scale": 1.7, "softcap": 5.0},
}


def run(rows, name="forward_kl", temperature=2.0, alpha=0.7, denominator=20.0, beta=0.5, **options):
    soft = Soft(rows.target, name, temperature, alpha, beta)
    return row_loss(rows.hidden, rows.head, rows.labels, soft=soft, denominator=denominator, **options)


def gradients(loss, rows):
    return torch.autograd.grad(loss, rows.inputs)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.0])
@pytest.mark.parametrize("alpha", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("head", HEADS)
def test_loss_and_gradients_are_the_plain_formulas(name, temperature, alpha, head):
    rows = make_rows(**HEADS[head])
    expected = plain_loss(rows, name, temperature, alpha, 20.0, beta=0.3)
    plain = gradients(expected, rows)
    for chunk_rows in (1, 5, None):
        found = run(rows, name, temperature, alpha, beta=0.3, chunk_rows=chunk_rows)
        assert found.loss.item() == pytest.approx(expected.item(), rel=1e-5)
        for ours, theirs in zip(gradients(found.loss, rows), plain, strict=True):
            assert relative(ours, theirs) < 1e-5


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("head", ["plain", "all"])
def test_gradcheck(name, head):
    rows = make_rows(num_rows=3, vocab=7, width=4, dtype=torch.float64, **HEADS[head])

    def loss(hidden, weight, bias=None):
        moved = rows._replace(hidden=hidden, head=rows.head._replace(weight_VD=weight, bias_V=bias))
        return run(moved, name, beta=0.3, chunk_rows=2).loss

    assert torch.autograd.gradcheck(loss, rows.inputs)


@given(st.integers(1, 40), st.integers(1, 45), st.integers(0, 1000), st.sampled_from(NAMES))
def test_one_chunk_and_many_are_equal(num_rows, chunk_rows, seed, name):
    rows = make_rows(num_rows=num_rows, seed=seed)
    whole, parts = run(rows, name, chunk_rows=num_rows), run(rows, name, chunk_rows=chunk_rows)
    torch.testing.assert_close(parts.loss, whole.loss, rtol=1e-5, atol=1e-6)
    for ours, theirs in zip(gradients(parts.loss, rows), gradients(whole.loss, rows), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_blocks_of_a_chunk_are_put_together(name):
    """400,000 columns: two rows are a block, so that a chunk of five has three."""
    rows = make_rows(num_rows=7, vocab=400_000, width=2, teacher_width=2)
    assert 2 * 400_000 <= projection.BLOCK_ELEMENTS["cpu"] < 3 * 400_000
    found, expected = run(rows, name, chunk_rows=5).loss, plain_loss(rows, name, 2.0, 0.7, 20.0)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    for ours, theirs in zip(gradients(found, rows), gradients(expected, rows), strict=True):
        assert relative(ours, theirs) < (
            1e-4 if name == "uld" else 1e-5
        )  # of equal probabilities either may have the higher rank


def test_sums_are_those_of_the_parts():
    rows = make_rows()
    found = run(rows, "jsd", 2.0, 0.7, 20.0)
    hard = F.cross_entropy(plain_logits(rows.hidden, rows.head), rows.labels, reduction="sum")
    assert found.hard_sum.item() == pytest.approx(hard.item(), rel=1e-6)
    assert found.loss.item() == pytest.approx((0.7 * 4 * found.soft_sum + 0.3 * found.hard_sum).item() / 20, rel=1e-6)
    assert not found.soft_sum.requires_grad
    assert not found.hard_sum.requires_grad
    alone = row_loss(rows.hidden, rows.head, rows.labels, soft=None, denominator=torch.tensor(20))
    assert alone.loss.item() == pytest.approx(hard.item() / 20, rel=1e-6)
    for ours, theirs in zip(gradients(alone.loss, rows), gradients(hard / 20, rows), strict=True):
        assert relative(ours, theirs) < 1e-5


def test_rows_of_an_accumulated_batch_add_up():
    """Two micro-batches with the denominator of both: the mean over all tokens, not a mean of means."""
    rows = make_rows(num_rows=12)
    whole = gradients(run(rows, denominator=12).loss, rows)
    pieces = []
    for part in (slice(0, 3), slice(3, 12)):
        teacher = rows.teacher._replace(hidden_ND=rows.teacher.hidden_ND[part])
        piece = rows._replace(hidden=rows.hidden[part], labels=rows.labels[part], teacher=teacher)
        pieces.append(gradients(run(piece, denominator=12).loss, rows))
    assert all(relative(a + b, both) < 1e-5 for a, b, both in zip(*pieces, whole, strict=True))


def test_rows_that_are_not_scored_never_count():
    """They are dropped before: whatever they hold, even NaN, changes nothing."""
    rows = make_rows(num_rows=8)
    scored = torch.tensor([True, False, True, True, False, False, True, True])

    def with_garbage(garbage):
        hidden = torch.where(scored[:, None], rows.hidden.detach(), garbage).requires_grad_()
        teacher = rows.teacher._replace(hidden_ND=torch.where(scored[:, None], rows.teacher.hidden_ND, garbage)[scored])
        kept = rows._replace(hidden=hidden[scored], labels=rows.labels[scored], teacher=teacher)
        found = run(kept, denominator=5)
        return found.loss, *torch.autograd.grad(found.loss, (hidden, rows.head.weight_VD))

    clean, dirty = with_garbage(0.0), with_garbage(float("nan"))
    assert all(torch.equal(a, b) for a, b in zip(clean, dirty, strict=True))
    assert clean[1][~scored].eq(0).all()


def test_a_batch_without_scored_rows_gives_zero():
    rows = make_rows(num_rows=0, bias=True)
    found = run(rows, denominator=7)
    assert found.loss.item() == 0
    assert [(g.shape, g.abs().sum().item()) for g in gradients(found.loss, rows)] == [
        (t.shape, 0.0) for t in rows.inputs
    ]


def test_only_what_needs_a_gradient_gets_one():
    rows = make_rows(bias=True)
    full = gradients(run(rows).loss, rows)
    for needed in itertools.product([True, False], repeat=3):
        inputs = [t.detach().requires_grad_(n) for t, n in zip(rows.inputs, needed, strict=True)]
        moved = rows._replace(hidden=inputs[0], head=rows.head._replace(weight_VD=inputs[1], bias_V=inputs[2]))
        loss = run(moved).loss
        assert loss.requires_grad == any(needed)
        if any(needed):
            loss.backward()
        for tensor, need, expected in zip(inputs, needed, full, strict=True):
            assert (tensor.grad is not None) == need
            assert not need or torch.equal(tensor.grad, expected)


def test_a_scaled_loss_scales_the_gradients_once():
    rows = make_rows()
    plain = gradients(run(rows).loss, rows)
    loss = run(rows).loss * 3
    assert all(
        torch.equal(ours, 3 * theirs)
        for ours, theirs in zip(torch.autograd.grad(loss, rows.inputs, retain_graph=True), plain, strict=True)
    )
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.grad(loss, rows.inputs)


class Largest(TorchDispatchMode):
    """Numbers of elements of the tensors that operations give, and how many matrix products there were."""

    def __init__(self):
        super().__init__()
        self.sizes, self.products = [], 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        self.products += function.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.addmm_)
        for tensor in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(tensor, torch.Tensor):
                self.sizes.append(tensor.numel())
        return result


@pytest.mark.parametrize("name", NAMES)
def test_no_matrix_of_all_rows_by_the_vocabulary_is_made(name):
    rows = make_rows(num_rows=64, vocab=1000)
    with Largest() as seen:
        run(rows, name, chunk_rows=8).loss.backward()
    assert max(seen.sizes) == 8 * 1000  # a chunk; the head's weight has 8 * 1000 too
    assert seen.products == 8 * 4
    with Largest() as seen:
        run(rows, name, chunk_rows=64)
    assert max(seen.sizes) == 64 * 1000


def test_nothing_is_multiplied_back_without_a_gradient():
    rows = make_rows(num_rows=64, vocab=1000)
    with torch.no_grad(), Largest() as seen:
        found = run(rows, chunk_rows=8)
    assert seen.products == 8 * 2
    assert found.loss.item() == pytest.approx(run(rows).loss.item(), rel=1e-6)


@pytest.mark.parametrize(
    ("num_rows", "vocab_size", "element_size", "chunk_rows"),
    [
        (512, 151_936, 4, 256),  # 441 rows fit: two chunks
        (512, 151_936, 2, 512),
        (1024, 151_936, 2, 512),  # 883 fit
        (1000, 151_936, 4, 334),  # three chunks: 334, 334, 332
        (100, 50, 4, 100),
        (3, 1 << 30, 4, 1),
        (0, 50, 4, 1),
    ],
)
def test_chunks_are_as_few_as_their_bytes_allow_and_even(num_rows, vocab_size, element_size, chunk_rows):
    assert even_chunk_rows(num_rows, vocab_size, element_size) == chunk_rows


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", NAMES)
def test_half_precision_stays_near_float32(dtype, name):
    exact, half = make_rows(num_rows=32), make_rows(num_rows=32, dtype=dtype)
    expected = plain_loss(exact, name, 2.0, 0.7, 20.0)
    found = run(half, name, chunk_rows=7)
    assert found.loss.dtype == torch.float32
    assert found.loss.item() == pytest.approx(expected.item(), rel=2e-2)
    for ours, theirs in zip(gradients(found.loss, half), gradients(expected, exact), strict=True):
        assert ours.dtype == dtype
        assert relative(ours.float(), theirs) < (8e-2 if name == "uld" else 4e-2)  # a rounded rank changes signs


@pytest.mark.parametrize("hidden_dtype", [torch.bfloat16, torch.float32])
def test_autocast(hidden_dtype):
    """Float32 weights; the hidden states come in either dtype; gradients have the dtype of what they belong to."""
    exact = make_rows(num_rows=32, bias=True)
    rows = exact._replace(hidden=exact.hidden.detach().to(hidden_dtype).requires_grad_())
    expected = gradients(plain_loss(exact, "forward_kl", 2.0, 0.7, 20.0), exact)
    with torch.autocast("cpu", torch.bfloat16):
        loss = run(rows, chunk_rows=7).loss
    found = gradients(loss, rows)
    assert [g.dtype for g in found] == [hidden_dtype, torch.float32, torch.float32]
    assert all(1e-5 < relative(ours.float(), theirs) < 4e-2 for ours, theirs in zip(found, expected, strict=True))
    outside = gradients(run(rows, chunk_rows=7).loss, rows)
    if hidden_dtype == torch.bfloat16:
        assert all(torch.equal(a, b) for a, b in zip(outside, found, strict=True))
    else:
        assert relative(outside[1], expected[1]) < 1e-5


def test_float16_gradients_of_a_large_batch_do_not_underflow():
    """The mean over 10 million tokens, with the scale of a GradScaler: as without both."""
    rows = make_rows(num_rows=16, dtype=torch.float16)
    plain = gradients(run(rows, denominator=1).loss, rows)
    scaled = gradients(run(rows, denominator=1e7).loss * 1e7, rows)
    for ours, theirs in zip(scaled, plain, strict=True):
        assert relative(ours.float(), theirs.float()) < 1e-3


SCALED = {
    "cohere": lambda: CohereConfig(
        vocab_size=VOCAB_SIZE, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
        logit_scale=0.25, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    ),
    "granite": lambda: GraniteConfig(
        vocab_size=VOCAB_SIZE, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=48, logits_scaling=4.0,
    ),
}  # fmt: skip


@pytest.mark.parametrize("family", [*CONFIGS, *SCALED])
def test_reads_the_head_of_a_model(family):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(SCALED[family]()) if family in SCALED else make_model(family)
    tokens, seen = torch.arange(12)[None], []
    model.get_output_embeddings().register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        logits = model(tokens).logits[0]
        head = read_head(model)
        torch.testing.assert_close(head.shape(head.project(seen[0][0])), logits)
        labels = tokens[0].flip(0)
        found = row_loss(seen[0][0], head, labels, soft=None, denominator=12)
    assert found.loss.item() == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-5)
    assert (head.scale != 1) == (family in SCALED)
    assert (head.softcap is not None) == (family == "gemma2")


def test_reads_a_bias_and_refuses_a_model_without_a_head():
    config = BertConfig(
        vocab_size=260, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48
    )
    assert read_head(BertForMaskedLM(config)).bias_V.shape == (260,)
    with pytest.raises(ModelError, match="BertModel: expected a vocabulary projection with a floating-point weight"):
        read_head(BertModel(config))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"alpha": 1.5}, "--alpha 1.5: expected a number from 0 to 1, e.g. 0.7"),
        ({"alpha": -0.1}, "--alpha -0.1"),
        ({"temperature": 0.0}, "--temperature 0: expected a number above 0, e.g. 2"),
        ({"temperature": float("nan")}, "--temperature nan"),
        ({"divergence": "kl"}, "unknown divergence 'kl'"),
        ({"divergence": "jsd", "beta": 1.0}, "--beta 1: expected a number between 0 and 1"),
    ],
)
def test_refuses(change, message):
    with pytest.raises(UsageError) as error:
        Soft(make_rows().target, **change)
    assert message in str(error.value)
