import copy

import pytest
import torch
import torch.nn.functional as F
from fakes.tiny_families import make_model
from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel

from distill_eval.distill.attention_maps import LayerAttention, Tap, attention_loss, log_maps
from distill_eval.errors import ModelError, UsageError

TOKENS = (torch.arange(48) * 7 + 3).remainder(256).view(2, 24)
POSITIONS = torch.cat([torch.arange(10), torch.arange(14)]).expand(2, -1)
PADDED = torch.ones(2, 24, dtype=torch.long).index_put((torch.tensor(1), torch.arange(18, 24)), torch.tensor(0))


def encoder(name):
    torch.manual_seed(0)
    if name == "bert":
        config = BertConfig(
            vocab_size=260, hidden_size=32, num_hidden_layers=6, num_attention_heads=4, intermediate_size=48
        )
        return BertModel(config).eval()
    return DistilBertModel(DistilBertConfig(vocab_size=260, dim=32, n_layers=6, n_heads=4, hidden_dim=48)).eval()


def build(name):
    return encoder(name) if "bert" in name else make_model(name)


def eager_maps(model, **inputs):
    """transformers' own, from a copy of the model."""
    other = copy.deepcopy(model)
    other.set_attn_implementation("eager")
    return other(**inputs, output_attentions=True).attentions


def tapped(model, layers, kind="kl", **inputs):
    with Tap(model, layers, kind) as tap:
        tap.open()
        output = model(**inputs, output_hidden_states=True)
        return output, tap.take()


DECODERS = ["llama", "mistral", "qwen2", "qwen3", "gemma3", "gpt2", "gpt-neox"]
OTHERS = ["opt", "bert", "distilbert"]  # they take no packed positions


@pytest.mark.parametrize(
    ("name", "rows"),
    [(name, rows) for name in DECODERS + OTHERS for rows in ("plain", "padded")] + [(n, "packed") for n in DECODERS],
)
def test_output_is_sdpas_and_maps_are_eagers(name, rows):
    inputs = {"plain": {}, "padded": {"attention_mask": PADDED}, "packed": {"position_ids": POSITIONS}}[rows]
    inputs = {"input_ids": TOKENS, **inputs, **({} if "bert" in name else {"use_cache": False})}
    model = build(name)
    expected = model(**inputs, output_hidden_states=True).hidden_states
    output, kept = tapped(model, [0, 3, 5], **inputs)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(output.hidden_states, expected, strict=True))
    assert sorted(kept) == [0, 3, 5]
    maps = eager_maps(model, **inputs)
    counts = PADDED.bool() if rows == "padded" else torch.ones_like(PADDED, dtype=torch.bool)
    for layer, attention in kept.items():
        found = log_maps(attention.scores_BHTS, attention.allowed).exp()
        torch.testing.assert_close(
            found.transpose(1, 2)[counts], maps[layer].transpose(1, 2)[counts], atol=1e-5, rtol=0
        )


def test_the_model_is_as_before_afterwards():
    model = make_model("llama")
    with Tap(model, [1], "kl"):
        assert "distill_eval_tap" not in model.config.to_json_string()
    assert model.config._attn_implementation == "sdpa"
    with Tap(model, [1], "kl") as tap:
        tap.open()
        with pytest.raises(ModelError, match="layer 1 does not use transformers' attention interface"):
            tap.take()


def test_student_and_teacher_are_tapped_at_once():
    student, teacher = make_model("llama", seed=1), make_model("llama", seed=2)
    with Tap(student, [0], "kl") as ours, Tap(teacher, [0, 1], "kl") as theirs:
        ours.open(), theirs.open()
        student(TOKENS), teacher(TOKENS)
        first, second = ours.take(), theirs.take()
    assert (sorted(first), sorted(second)) == ([0], [0, 1])
    assert not torch.equal(first[0].scores_BHTS, second[0].scores_BHTS)


def test_nothing_is_kept_while_closed():
    model = make_model("llama")
    with Tap(model, [0], "kl") as tap:
        tap.open()
        model(TOKENS)
        first = tap.take()
        model(TOKENS[:1])
        tap.open()
        model(TOKENS)
        assert torch.equal(tap.take()[0].scores_BHTS, first[0].scores_BHTS)


@pytest.mark.parametrize("kind", ["kl", "value_relation"])
def test_gradient_checkpointing_gives_the_same_gradients(kind):
    scored = torch.ones_like(TOKENS, dtype=torch.bool)
    _, theirs = tapped(make_model("llama", seed=2), [5], kind, input_ids=TOKENS)
    gradients, runs = [], []
    for checkpointing in (False, True):
        model = make_model("llama", seed=1).train()
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        model.model.layers[5].self_attn.register_forward_hook(lambda *_, which=checkpointing: runs.append(which))
        with Tap(model, [5], kind) as tap:
            tap.open()
            model(TOKENS, use_cache=False)
            attention_loss(tap.take(), theirs, [(5, 5)], scored, kind).backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    assert runs == [False, True, True]  # with checkpointing, once more in the backward pass
    assert len(gradients[0]) > 40
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_reentrant_checkpointing_is_refused():
    model = make_model("llama").train()
    model.gradient_checkpointing_enable({"use_reentrant": True})
    with Tap(model, [5], "kl") as tap:
        tap.open()
        model(inputs_embeds=torch.ones(1, 8, 32, requires_grad=True), use_cache=False)
        kept = tap.take()
    with pytest.raises(ModelError, match="layer 5 has no gradient: is the layer frozen, or gradient checkpointing re"):
        attention_loss(kept, kept, [(5, 5)], torch.ones(1, 8, dtype=torch.bool), "kl")


def test_refuses():
    model = make_model("llama")
    with pytest.raises(UsageError, match="LlamaForCausalLM has the layers 0 to 5, not 6"):
        Tap(model, [0, 6], "kl")
    model.set_attn_implementation("eager")
    with pytest.raises(UsageError, match="runs on 'eager' attention: load it with attn_implementation='sdpa'"):
        Tap(model, [0], "kl")
    frozen = make_model("llama").requires_grad_(False)
    _, kept = tapped(frozen, [0], input_ids=TOKENS)
    with pytest.raises(ModelError, match="student's layer 0 has no gradient"):
        attention_loss(kept, kept, [(0, 0)], torch.ones_like(TOKENS, dtype=torch.bool), "kl")


def layer(num_heads, size=4, num_tokens=5, seed=0, width=8):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(2, num_heads, num_tokens, num_tokens, generator=generator, requires_grad=True)
    value = torch.randn(2, num_heads, num_tokens, width // num_heads, generator=generator, requires_grad=True)
    return LayerAttention(scores, value, torch.ones(num_tokens, num_tokens, dtype=torch.bool).tril()[None, None])


SCORED = torch.tensor([[True, False, True, True, False], [False, False, False, True, True]])


@pytest.mark.parametrize("kind", ["kl", "mse"])
def test_map_distances_are_the_plain_formula(kind):
    ours, theirs = layer(2, seed=1), layer(2, seed=2)
    found = attention_loss({0: ours}, {3: theirs}, [(0, 3)], SCORED, kind)
    expected = 0.0
    for b, t in SCORED.nonzero().tolist():
        for head in range(2):
            p, q = (x.scores_BHTS[b, head, t, : t + 1].detach().softmax(-1) for x in (ours, theirs))
            value = (q * (q / p).log()).sum() if kind == "kl" else (p - q).square().sum()
            expected += float(value) / 2
    assert found.item() == pytest.approx(expected, rel=1e-5)
    found.backward()
    assert ours.scores_BHTS.grad[0, 0, 1].eq(0).all()  # not scored
    assert ours.scores_BHTS.grad[0, 0, 3, 4:].eq(0).all()  # not to be seen
    assert ours.scores_BHTS.grad[0, 0, 3, :4].ne(0).all()
    assert theirs.scores_BHTS.grad is None


def test_maps_of_unequal_head_counts_are_averaged_first():
    ours, theirs = layer(2, seed=1), layer(4, seed=2)
    found = attention_loss({0: ours}, {0: theirs}, [(0, 0)], SCORED, "kl")
    p, q = (log_maps(x.scores_BHTS.detach(), x.allowed).exp().mean(1) for x in (ours, theirs))
    expected = torch.where(q > 0, q * (q / p).log(), 0.0).sum(-1)[SCORED].sum()
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize(("ours_heads", "theirs_heads", "relation_heads"), [(4, 4, 4), (4, 2, 2), (2, 4, 4), (4, 8, 8)])
def test_value_relations_are_minilms(ours_heads, theirs_heads, relation_heads):
    ours, theirs = layer(ours_heads, seed=1), layer(theirs_heads, seed=2, width=16)
    found = attention_loss({0: ours}, {0: theirs}, [(0, 0)], SCORED, "value_relation")
    relations = []
    for side in (ours, theirs):
        width = side.value_BKSD.shape[1] * side.value_BKSD.shape[3]
        rows = side.value_BKSD.detach().transpose(1, 2).reshape(2, 5, width)
        heads = rows.split(width // relation_heads, dim=-1)
        mask = torch.full((5, 5), float("-inf")).triu(1)
        relations.append([F.softmax(h @ h.mT / h.shape[-1] ** 0.5 + mask, -1) for h in heads])
    terms = [torch.where(q > 0, q * (q / p).log(), 0.0).sum(-1) for p, q in zip(*relations, strict=True)]
    assert found.item() == pytest.approx(torch.stack(terms).mean(0)[SCORED].sum().item(), rel=1e-5)
    found.backward()
    assert ours.value_BKSD.grad.norm() > 0


def test_a_distance_to_itself_is_zero_and_averages_over_pairs():
    ours, theirs = layer(2, seed=1), layer(2, seed=2)
    one = attention_loss({0: ours}, {0: theirs}, [(0, 0)], SCORED, "kl").item()
    assert attention_loss({0: ours}, {0: ours}, [(0, 0)], SCORED, "kl").item() == pytest.approx(0, abs=1e-6)
    both = attention_loss({0: ours, 1: ours}, {0: theirs, 1: ours}, [(0, 0), (1, 1)], SCORED, "kl").item()
    assert both == pytest.approx(one / 2, rel=1e-5)


def test_keys_count_where_both_models_may_see_them():
    """A student with a sliding window of 2 cannot be asked for what lies before it."""
    ours, theirs = layer(2, seed=1), layer(2, seed=2)
    window = ours.allowed & ~ours.allowed.tril(-2)
    narrow = ours._replace(allowed=window)
    found = attention_loss({0: narrow}, {0: theirs}, [(0, 0)], SCORED, "kl")
    same = attention_loss({0: narrow}, {0: theirs._replace(allowed=window)}, [(0, 0)], SCORED, "kl")
    assert found.item() == same.item()
    assert 0 < found.item() < 20
