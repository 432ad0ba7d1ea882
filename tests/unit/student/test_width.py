"""What a cut removes is exactly what it should: a channel that nothing reads can go without a trace."""

import copy
from dataclasses import replace

import pytest
import torch
from fakes.tiny_families import logits
from fakes.tiny_teachers import GROUPED, NUM_LAYERS, PRODUCT, TEACHERS, kind, make_teacher

from distill_eval.errors import ModelError
from distill_eval.student.architectures import ARCHITECTURES
from distill_eval.student.count import label_tensors
from distill_eval.student.shape import read_shape, with_heads
from distill_eval.student.width import choose_channels, narrow

FREE = [family for family in TEACHERS if family not in PRODUCT]


def described(family):
    model = make_teacher(family)
    architecture = ARCHITECTURES[type(model).__name__]
    return model, architecture, read_shape(model.config, architecture)


def subset(num, of, seed):
    return torch.randperm(of, generator=torch.Generator().manual_seed(seed))[:num].sort().values


def others(kept, of):
    return torch.tensor([index for index in range(of) if index not in kept.tolist()])


def cut(model, architecture, before, after, kept):
    return narrow(model, architecture, before, after, kept, kind_of(model))


def kind_of(model):
    return "causal" if "LM" in type(model).__name__ else "classifier"


def silence(model, architecture, shape, kept):
    """Make every channel that is not kept one that nothing reads: the columns that read it are zero."""
    channels = {"ffn": 1, "heads": shape.num_heads // shape.num_kv_heads * shape.head_dim, "pooled": 1}
    with torch.no_grad():
        for tensor in label_tensors(model, architecture):
            reads = "ffn" if "ffn" in tensor.axes else "heads" if "heads" in tensor.axes else "pooled"
            chosen = kept.get((reads, tensor.layer))
            output = "whole" if reads == "pooled" else "hidden"
            if chosen is None or sorted(tensor.axes) != sorted((output, reads)) or is_written(tensor, reads, model):
                continue
            width = channels[reads]
            dimension = tensor.axes.index(reads)
            gone = others(chosen, tensor.parameter.shape[dimension] // width)
            for channel in gone.tolist():
                tensor.parameter.narrow(dimension, channel * width, width).zero_()


def is_written(tensor, axis, model):
    """Whether the tensor produces the axis (its first one, as a Linear stores it) rather than reads it."""
    stored_input_first = type(model.get_submodule(tensor.name.rpartition(".")[0])).__name__ == "Conv1D"
    return (tensor.axes[-1] if stored_input_first else tensor.axes[0]) == axis


def empty(model, architecture, kept):
    """Make every hidden channel that goes zero, and the mean over the others too, which layer norms take off."""
    gone = others(kept, 32)
    follows = type(model).__name__.endswith("Classification") or architecture.norm_offset  # norms end in the stream
    with torch.no_grad():
        for tensor in label_tensors(model, architecture):
            module = model.get_submodule(tensor.name.rpartition(".")[0])
            is_norm = "norm" in type(module).__name__.lower()
            written = isinstance(module, torch.nn.Embedding) or is_written(tensor, "hidden", model)
            if "hidden" not in tensor.axes or not written:
                continue
            if is_norm and not follows:  # its bias would reach whoever reads the norm
                tensor.parameter[gone] = 0
                continue
            if is_norm and tensor.name.endswith("weight"):
                tensor.parameter.fill_(1.3 - architecture.norm_offset)
                tensor.parameter[gone] = -architecture.norm_offset
                continue
            dimension = tensor.axes.index("hidden")
            values = tensor.parameter.index_select(dimension, kept)
            tensor.parameter.index_copy_(dimension, kept, values - values.mean(dimension, keepdim=True))
            tensor.parameter.index_fill_(dimension, gone, 0)


def same(student, teacher):
    assert teacher.std() > 0.01
    torch.testing.assert_close(student, teacher, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("family", TEACHERS)
def test_neurons_that_nothing_reads_go_without_a_trace(family):
    model, architecture, shape = described(family)
    kept = {("ffn", layer): subset(20, shape.ffn_size, layer) for layer in range(NUM_LAYERS)}
    before = logits(model)
    silence(model, architecture, shape, kept)
    expected = logits(model)
    student = cut(model, architecture, shape, replace(shape, ffn_size=20), kept)
    same(logits(student), expected)
    assert not torch.allclose(before, expected, atol=1e-2)
    assert read_shape(student.config, architecture).ffn_size == 20


@pytest.mark.parametrize("family", FREE)
def test_heads_that_nothing_reads_go_without_a_trace(family):
    model, architecture, shape = described(family)
    kept = {("heads", layer): torch.tensor([layer % 2]) for layer in range(NUM_LAYERS)}
    silence(model, architecture, shape, kept)
    expected = logits(model)
    student = cut(model, architecture, shape, with_heads(shape, 2), kept)
    same(logits(student), expected)
    assert read_shape(student.config, architecture) == replace(shape, num_heads=2, num_kv_heads=1)


@pytest.mark.parametrize("family", FREE)
def test_hidden_channels_that_are_zero_go_without_a_trace(family):
    model, architecture, shape = described(family)
    kept = {("hidden", None): subset(20, 32, 5)}
    empty(model, architecture, kept["hidden", None])
    expected = logits(model)
    student = cut(model, architecture, shape, replace(shape, hidden_size=20), kept)
    same(logits(student), expected)
    assert read_shape(student.config, architecture).hidden_size == 20


@pytest.mark.parametrize("family", TEACHERS)
def test_all_axes_at_once(family):
    model, architecture, shape = described(family)
    groups = shape.num_kv_heads // 2
    kept = {("hidden", None): subset(16, 32, 1), ("pooled", None): subset(16, 32, 2)}
    for layer in range(NUM_LAYERS):
        kept["heads", layer] = subset(groups, shape.num_kv_heads, 10 + layer)
        kept["ffn", layer] = subset(24, shape.ffn_size, 20 + layer)
    silence(model, architecture, shape, kept)
    empty(model, architecture, kept["hidden", None])
    expected = logits(model)
    after = with_heads(replace(shape, hidden_size=16, ffn_size=24), 2)
    student = cut(model, architecture, shape, after, kept)
    same(logits(student), expected)
    assert read_shape(student.config, architecture) == after
    assert student.num_parameters() < model.num_parameters()


@pytest.mark.parametrize("family", ["gemma3"])
def test_the_embedding_keeps_its_scale_when_the_config_changes_it(family):
    model, architecture, shape = described(family)
    kept = {("hidden", None): subset(16, 32, 5)}
    student = cut(model, architecture, shape, replace(shape, hidden_size=16), kept)
    tokens = torch.arange(7)[None]
    old = model.get_input_embeddings()(tokens)[..., kept["hidden", None]]
    torch.testing.assert_close(student.get_input_embeddings()(tokens), old)
    assert student.lm_head.weight is student.model.embed_tokens.weight


@pytest.mark.parametrize("family", TEACHERS)
def test_everything_kept_is_the_same_model(family):
    model, architecture, shape = described(family)
    student = cut(model, architecture, shape, shape, {})
    old, new = model.state_dict(), student.state_dict()
    assert old.keys() == new.keys()
    assert all(torch.equal(old[name], new[name]) for name in old)
    assert torch.equal(logits(student), logits(model))


def test_kept_rows_by_hand():
    """The tensors of a GPT-NeoX and a GPT-2, which store queries, keys and values in one."""
    for family in ("gpt-neox", "gpt2"):
        model, architecture, shape = described(family)
        kept = {("hidden", None): torch.arange(16)} | {("heads", layer): torch.tensor([1, 3]) for layer in range(6)}
        student = cut(model, architecture, shape, with_heads(replace(shape, hidden_size=16), 2), kept)
        if family == "gpt-neox":
            old = model.gpt_neox.layers[2].attention.query_key_value.weight.view(4, 3, 8, 32)
            new = student.gpt_neox.layers[2].attention.query_key_value.weight.view(2, 3, 8, 16)
            assert torch.equal(new, old[[1, 3], :, :, :16])
        else:
            old = model.transformer.h[2].attn.c_attn.weight.view(32, 3, 4, 8)
            new = student.transformer.h[2].attn.c_attn.weight.view(16, 3, 2, 8)
            assert torch.equal(new, old[:16, :, [1, 3]])


@pytest.mark.parametrize("family", GROUPED)
def test_query_heads_go_with_their_key_and_value(family):
    model, architecture, shape = described(family)
    kept = {("heads", layer): torch.tensor([1]) for layer in range(NUM_LAYERS)}
    after = with_heads(shape, 2)
    if family in PRODUCT:
        after = replace(after, hidden_size=16)
        kept["hidden", None] = torch.arange(16)
    student = cut(model, architecture, shape, after, kept)
    old, new = model.model.layers[4].self_attn, student.model.layers[4].self_attn
    width = after.hidden_size
    assert torch.equal(new.q_proj.weight, old.q_proj.weight.view(4, 8, 32)[2:].reshape(16, 32)[:, :width])
    assert torch.equal(new.k_proj.weight, old.k_proj.weight.view(2, 8, 32)[1][:, :width])
    assert torch.equal(new.v_proj.weight, old.v_proj.weight.view(2, 8, 32)[1][:, :width])
    assert torch.equal(new.o_proj.weight, old.o_proj.weight.view(32, 4, 8)[:, 2:].reshape(32, 16)[:width])


def test_the_most_important_channels_are_chosen():
    _, _, shape = described("llama")
    importance = {
        ("ffn", 0): torch.arange(48, dtype=torch.float64),
        ("ffn", 1): torch.ones(48, dtype=torch.float64),
        ("ffn", 5): -torch.arange(48, dtype=torch.float64) + 47,
        ("heads", 0): torch.tensor([1.0, 3.0], dtype=torch.float64),
        ("heads", 5): torch.tensor([0.0, 0.0], dtype=torch.float64),
        ("hidden", None): torch.arange(32, dtype=torch.float64),
    }
    after = with_heads(replace(shape, ffn_size=40, num_layers=2), 2)
    kept, groups = choose_channels(importance, shape, after, (0, 5))
    assert {key: value.tolist() for key, value in kept.items()} == {
        ("ffn", 0): list(range(8, 48)),
        ("ffn", 1): list(range(40)),
        ("heads", 0): [1],
        ("heads", 1): [0],
    }
    found = {(group.axis, group.layer): group for group in groups}
    assert list(found) == [("ffn", 0), ("ffn", 5), ("heads", 0), ("heads", 5)]
    first = found["ffn", 0]
    assert (first.num_before, first.num_after, first.removed) == (48, 40, None)
    assert first.removed_importance == sum(range(8)) / 8
    assert first.kept_importance == sum(range(8, 48)) / 40
    assert first.removed_share == pytest.approx(28 / sum(range(48)))
    assert found["heads", 0].removed == (0,)
    assert found["heads", 0].removed_share == 0.25
    assert found["heads", 5].removed_share is None


def test_a_tensor_of_the_wrong_size_is_refused():
    model, architecture, shape = described("llama")
    kept = {("ffn", layer): torch.arange(20) for layer in range(NUM_LAYERS)}
    with pytest.raises(ModelError, match=r"gate_proj.weight is cut to \(20, 32\), expected \(24, 32\)"):
        cut(model, architecture, shape, replace(shape, ffn_size=24), kept)


def test_the_teacher_is_left_as_it_was():
    model, architecture, shape = described("gemma3")
    before = copy.deepcopy(model)
    cut(model, architecture, shape, replace(shape, hidden_size=16), {("hidden", None): torch.arange(16)})
    assert model.config.to_dict() == before.config.to_dict()
    assert torch.equal(logits(model), logits(before))
    assert kind("gemma3") == "causal"
