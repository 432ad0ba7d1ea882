import json
from dataclasses import replace

import pytest
import torch
from fakes import tiny_families
from fakes.tiny_teachers import TEACHERS, kind, make_teacher
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    DeepseekV3Config,
    DynamicCache,
    FalconConfig,
    GPTBigCodeConfig,
    LlamaConfig,
    MambaConfig,
    MixtralConfig,
)

from distill_eval.errors import ModelError
from distill_eval.plan.sizes import max_requests, model_sizes, packed_bytes
from distill_eval.quantize import packed
from distill_eval.quantize.layers import read_layers
from distill_eval.quantize.schemes import choose_group_size
from distill_eval.schema.model import ModelRef
from distill_eval.schema.plan import KvCache, Parts
from distill_eval.student.architectures import ARCHITECTURES, FFN, HEADS, KV
from distill_eval.student.count import label_tensors, on_meta

GROUP = 16  # divides 32 and 48, the widths of tiny models


def sizes_of(config, kind="causal"):
    return model_sizes(config, kind, name="it", source="a test")


def tiny(family):
    return sizes_of(TEACHERS[family](), kind(family))


@pytest.mark.parametrize("family", TEACHERS)
def test_the_parts_are_those_that_the_axes_of_each_tensor_say(family):
    """`prepare` knows what it may cut by a table of axes; the planner tells by classes and paths."""
    config = TEACHERS[family]()
    model = on_meta(config, kind(family))
    attention = {HEADS, KV, "qkv", "qkv_by_head"}
    seen = {"attention": 0, "feed_forward": 0}
    for tensor in label_tensors(model, ARCHITECTURES[type(model).__name__]):
        if tensor.layer is None:
            continue
        module = tensor.name.rpartition(".")[0]
        axes = set(ARCHITECTURES[type(model).__name__].inside[module.split(f".{tensor.layer}.", 1)[1]])
        part = "feed_forward" if FFN in axes else "attention" if attention & axes else None
        if part:
            seen[part] += tensor.parameter.numel()
    parts = tiny(family).parts
    assert (parts.attention, parts.feed_forward, parts.other) == (seen["attention"], seen["feed_forward"], 0)
    assert parts.total == make_teacher(family).num_parameters()


def test_llama_by_hand():
    sizes = tiny("llama")
    attention, ffn = 6 * (2 * 32 * 32 + 2 * 32 * 16), 6 * 3 * 32 * 48
    norms = 13 * 32
    assert sizes.parts == Parts(
        embeddings=260 * 32, attention=attention, feed_forward=ffn, norms=norms, head=260 * 32, other=0
    )
    rest = 2 * (2 * 260 * 32 + norms)
    rows = 6 * (32 + 16 + 16 + 32 + 48 + 48 + 32)
    shapes = 6 * 7 * 16
    assert sizes.weight_bytes == {
        "fp32": 4 * sizes.parts.total,
        "bf16": 2 * sizes.parts.total,
        "int8": rest + attention + ffn + 2 * rows + shapes,
        "int4": rest + (attention + ffn) // 2 + 2 * (attention + ffn) // GROUP + shapes,
    }
    assert (sizes.architecture, sizes.vocab_size, sizes.max_length) == ("LlamaForCausalLM", 260, 128)
    assert sizes.shape is not None
    assert sizes.shape.hidden_size == 32


def test_a_tied_head_counts_as_embeddings_and_once():
    tied, untied = tiny("llama-tied"), tiny("llama")
    assert tied.parts == replace(untied.parts, head=0)
    assert untied.weight_bytes["bf16"] - tied.weight_bytes["bf16"] == 2 * 260 * 32


def test_the_head_of_a_classifier_is_pooler_and_labels():
    assert tiny("bert").parts.head == tiny("roberta").parts.head == 32 * 32 + 32 + 3 * 32 + 3


def test_roberta_takes_fewer_tokens_than_it_has_positions():
    assert tiny("roberta").max_length == 128


@pytest.mark.parametrize(
    ("scheme", "dtype", "group"), [("W8A16", "int8", None), ("W8A8", "int8", None), ("W4A16", "int4", GROUP)]
)
@pytest.mark.parametrize("family", ["llama", "llama-tied", "qwen2", "gemma3", "opt", "gpt-neox"])
def test_integer_bytes_are_those_of_a_folder_that_quantize_writes(family, scheme, dtype, group, tmp_path):
    source, output = tmp_path / "source", tmp_path / "output"
    make_teacher(family, dtype=torch.bfloat16).save_pretrained(source)
    output.mkdir()
    layers = read_layers(ModelRef(name=str(source)), source, ["lm_head"])
    assert group is None or choose_group_size(layers.widths, None) == group
    packed.write_rounded(
        source, output, list(layers.widths), packed.make_scheme(scheme, group_size=group, symmetric=True)
    )
    data = (output / "model.safetensors").read_bytes()
    num_bytes = len(data) - 8 - int.from_bytes(data[:8], "little")
    unpacked = 16 * len(layers.widths) if scheme == "W8A8" else 0  # int8 that is not packed has no shape beside it
    assert tiny(family).weight_bytes[dtype] == num_bytes + unpacked


def test_a_row_that_fills_no_whole_word_is_padded():
    assert packed_bytes([(3, 5)], 4, None) == 3 * 4 + 3 * 2 + 16


def test_models_that_quantize_leaves_alone_have_no_integer_bytes():
    assert tiny("gpt2").weight_bytes.keys() == {"fp32", "bf16"}
    odd = sizes_of(LlamaConfig(vocab_size=260, hidden_size=24, intermediate_size=40, num_attention_heads=4))
    assert odd.weight_bytes.keys() == {"fp32", "bf16", "int8"}  # no group divides 24


FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "granite", "gpt2", "gpt-neox", "opt")


@pytest.mark.parametrize("num_tokens", [5, 20])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_cache_has_the_bytes_of_a_real_one(family, num_tokens):
    model = tiny_families.make_model(family, dtype=torch.bfloat16)
    check_cache(model, sizes_of(model.config).kv_cache, num_tokens)


def check_cache(model, kv_cache, num_tokens):
    cache = DynamicCache(config=model.config)
    with torch.inference_mode():
        model(torch.arange(num_tokens)[None], past_key_values=cache, use_cache=True)
    kept = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    # The cache drops what the next token would push out of the window; that token comes on top when it is computed.
    next_one = kv_cache.window is not None and num_tokens >= kv_cache.window
    coming = kv_cache.num_window_layers * kv_cache.bytes_per_token_per_layer if next_one else 0
    assert kept == kv_cache.num_bytes(num_tokens) - coming


@pytest.mark.parametrize(
    "config",
    [
        GPTBigCodeConfig(vocab_size=260, n_embd=32, n_head=4, n_layer=2, n_positions=64, multi_query=True),
        FalconConfig(vocab_size=260, hidden_size=32, num_attention_heads=4, num_hidden_layers=2, multi_query=True),
        LlamaConfig(
            vocab_size=260, hidden_size=32, intermediate_size=48, num_attention_heads=4, num_hidden_layers=2,
            num_key_value_heads=1,
        ),
        MixtralConfig(
            vocab_size=260, hidden_size=32, intermediate_size=48, num_attention_heads=4, num_hidden_layers=2,
            num_key_value_heads=2, num_local_experts=2,
        ),
    ],
    ids=["gpt-bigcode", "falcon", "one KV head", "mixtral"],
)  # fmt: skip
def test_queries_that_share_keys(config):
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    sizes = sizes_of(config)
    check_cache(model, sizes.kv_cache, 7)
    assert sizes.parts.total == model.num_parameters()
    assert (sizes.shape is None) == (sizes.architecture not in ARCHITECTURES)


def test_windows_of_the_families():
    assert tiny("mistral").kv_cache == KvCache(
        num_full_layers=0, num_window_layers=6, window=8, bytes_per_token_per_layer=2 * 2 * 8 * 2
    )
    qwen2, gemma3 = tiny("qwen2").kv_cache, tiny("gemma3").kv_cache
    assert (qwen2.num_full_layers, qwen2.num_window_layers, qwen2.window) == (3, 3, 8)
    assert (gemma3.num_full_layers, gemma3.num_window_layers, gemma3.window) == (1, 5, 8)


def test_what_keeps_no_keys_and_values_has_no_cache():
    assert tiny("bert").kv_cache is None
    mamba = sizes_of(MambaConfig(vocab_size=260, hidden_size=32, num_hidden_layers=2))
    assert mamba.kv_cache is None
    assert mamba.parts.other > 0
    assert max_requests(mamba, "bf16", num_tokens=10, memory_bytes=1e9) is None


def test_a_cache_of_which_engines_differ_is_not_told():
    falcon = FalconConfig(
        vocab_size=260, hidden_size=32, num_attention_heads=4, num_hidden_layers=2, new_decoder_architecture=True,
        num_kv_heads=2,
    )  # fmt: skip
    assert sizes_of(falcon).kv_cache is None


def test_compressed_keys_have_no_such_cache():
    config = DeepseekV3Config(
        vocab_size=260, hidden_size=32, intermediate_size=48, moe_intermediate_size=16, num_attention_heads=4,
        num_key_value_heads=4, num_hidden_layers=2, n_routed_experts=4, n_group=1, topk_group=1, num_experts_per_tok=2,
        kv_lora_rank=8, q_lora_rank=8, qk_rope_head_dim=4, qk_nope_head_dim=4, v_head_dim=8,
    )  # fmt: skip
    sizes = sizes_of(config)
    assert sizes.kv_cache is None
    assert sizes.parts.total == on_meta(config, "causal").num_parameters()


def test_requests_that_fit():
    sizes = tiny("llama")
    per_request = 6 * 64 * 100
    weights = sizes.weight_bytes["int8"]
    for spare, expected in ((3 * per_request, 3), (3 * per_request - 1, 2), (-1, 0)):
        assert max_requests(sizes, "int8", num_tokens=100, memory_bytes=weights + spare) == expected
    assert max_requests(tiny("gpt2"), "int4", num_tokens=100, memory_bytes=1e9) is None


def test_a_config_that_is_no_model_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert", "hidden_size": 30}), encoding="utf-8")
    config = AutoConfig.from_pretrained(tmp_path)
    with pytest.raises(ModelError, match="transformers cannot build it from its config: ValueError: The hidden size"):
        sizes_of(config, "classifier")
