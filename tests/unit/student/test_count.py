import copy
from dataclasses import replace

import pytest
from fakes.tiny_teachers import PRODUCT, TEACHERS, kind, make_teacher

from distill_eval.errors import ModelError
from distill_eval.schema.student import Shape
from distill_eval.student.architectures import ARCHITECTURES
from distill_eval.student.count import count_shape, label_tensors, on_meta, read_terms
from distill_eval.student.depth import keep_in_config
from distill_eval.student.shape import read_shape, with_heads, write_widths


def described(family):
    config = TEACHERS[family]()
    model = on_meta(config, kind(family))
    architecture = ARCHITECTURES[type(model).__name__]
    return config, model, architecture, read_shape(config, architecture)


def test_the_known_architectures():
    assert sorted(architecture.name for architecture in ARCHITECTURES.values()) == [
        "BERT", "DistilBERT", "GPT-2", "GPT-NeoX", "Gemma 3 (text)", "LLaMA", "Mistral", "OPT", "Qwen2", "Qwen3",
        "RoBERTa",
    ]  # fmt: skip


@pytest.mark.parametrize("family", TEACHERS)
def test_a_shape_is_read_from_its_config(family):
    _, _, architecture, shape = described(family)
    grouped = architecture.kv_field is not None
    assert shape == Shape(
        num_layers=6,
        hidden_size=32,
        ffn_size=128 if family == "gpt2" else 48,
        num_heads=4,
        num_kv_heads=2 if grouped else 4,
        head_dim=8,
    )


@pytest.mark.parametrize("family", TEACHERS)
def test_every_shape_has_as_many_parameters_as_counted(family):
    config, model, architecture, shape = described(family)
    terms = read_terms(model, architecture, shape)
    assert count_shape(terms, shape) == model.num_parameters() == make_teacher(family).num_parameters()
    widths = [(32, 4), (16, 2)] if family in PRODUCT else [(32, 4), (32, 2), (16, 4), (20, 2)]
    for layers, (hidden, heads), ffn in [
        (1, widths[0], 48),
        (3, widths[1], 40),
        (6, widths[-1], 7),
        (2, widths[-1], 1),
    ]:
        small = with_heads(replace(shape, num_layers=layers, hidden_size=hidden, ffn_size=ffn), heads)
        changed = copy.deepcopy(config)
        keep_in_config(changed, tuple(range(layers)))
        write_widths(changed, architecture, small)
        assert read_shape(changed, architecture) == small
        assert on_meta(changed, kind(family)).num_parameters() == count_shape(terms, small)


def test_llama_by_hand():
    _, model, architecture, shape = described("llama")
    terms = read_terms(model, architecture, shape)
    assert {term.powers: term.coefficient for term in terms} == {
        (0, 1, 0, 0): 260 + 260 + 1,  # embedding, head, final norm
        (1, 1, 1, 0): 2 * 2 * 8 + 2 * 8,  # per KV group: two query heads in q and o, one head in k and v
        (1, 1, 0, 1): 3,
        (1, 1, 0, 0): 2,  # norms
    }


def test_tied_weights_count_once():
    _, tied, architecture, shape = described("llama-tied")
    _, untied, _, _ = described("llama")
    assert (
        count_shape(read_terms(untied, architecture, shape), shape)
        - count_shape(read_terms(tied, architecture, shape), shape)
        == 260 * 32
    )


@pytest.mark.parametrize("family", TEACHERS)
def test_every_tensor_is_known_by_its_axes(family):
    _, model, architecture, shape = described(family)
    sizes = {
        "hidden": 32, "pooled": 32, "ffn": shape.ffn_size, "heads": 32, "kv": shape.num_kv_heads * 8, "qkv": 96,
        "qkv_by_head": 96,
    }  # fmt: skip
    seen = list(label_tensors(model, architecture))
    assert [tensor.name for tensor in seen] == [name for name, _ in model.named_parameters()]
    for tensor in seen:
        cut = {axis: size for axis, size in zip(tensor.axes, tensor.parameter.shape, strict=True) if axis != "whole"}
        assert cut == {axis: sizes[axis] for axis in cut}, tensor.name


def test_a_tensor_that_is_not_in_the_table_is_refused():
    from transformers import OPTConfig

    config = OPTConfig(vocab_size=260, hidden_size=32, word_embed_proj_dim=16, ffn_dim=48, num_attention_heads=4)
    model = on_meta(config, "causal")
    architecture = ARCHITECTURES["OPTForCausalLM"]
    with pytest.raises(ModelError) as error:
        list(label_tensors(model, architecture))
    assert "OPTForCausalLM has a tensor model.decoder.project_out.weight which" in str(error.value)


def test_tensors_of_unexpected_size_are_refused():
    _, model, architecture, shape = described("qwen3")
    with pytest.raises(ModelError, match=r"self_attn.q_proj.weight has 32 channels, expected 64 \(heads\)"):
        read_terms(model, architecture, replace(shape, head_dim=16))
