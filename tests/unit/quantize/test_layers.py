import pytest
import torch
from fakes.tiny_teachers import CAUSAL
from transformers import AutoModelForCausalLM

from distill_eval.errors import ModelError, UsageError
from distill_eval.quantize.layers import group_units, matching, read_layers
from distill_eval.schema.model import ModelRef

NAMES = ("model.layers.0.mlp.up_proj", "model.layers.0.mlp.down_proj", "model.layers.1.mlp.up_proj", "lm_head")


@pytest.mark.parametrize(
    ("patterns", "found"),
    [
        (["lm_head"], ["lm_head"]),
        (["up_proj"], ["model.layers.0.mlp.up_proj", "model.layers.1.mlp.up_proj"]),
        (["model.layers.0.*"], ["model.layers.0.mlp.up_proj", "model.layers.0.mlp.down_proj"]),
        (["lm_head", "*.1.mlp.up_proj"], ["model.layers.1.mlp.up_proj", "lm_head"]),
        ([], []),
    ],
)
def test_patterns_name_layers(patterns, found):
    assert matching(NAMES, patterns) == tuple(found)


def test_a_pattern_that_names_nothing_is_refused_with_the_nearest():
    with pytest.raises(UsageError, match=r"--ignore down_pro: no such linear layer\. Did you mean down_proj"):
        matching(NAMES, ["down_pro"])
    assert matching(NAMES[:3], ["lm_head"], may_lack="lm_head") == ()  # a model without a head of its own


def test_what_an_engine_fuses_is_one_unit():
    attention = [f"l.0.self_attn.{name}_proj" for name in "qkvo"]
    feed_forward = [f"l.0.mlp.{name}_proj" for name in ("gate", "up", "down")]
    assert group_units([*attention, *feed_forward, "l.1.self_attn.k_proj", "l.1.fc1"]) == [
        tuple(attention[:3]), (attention[3],), tuple(feed_forward[:2]), (feed_forward[2],), ("l.1.self_attn.k_proj",),
        ("l.1.fc1",),
    ]  # fmt: skip


@pytest.mark.parametrize("family", ["llama", "llama-tied", "qwen3", "gemma3", "opt", "gpt-neox"])
def test_the_layers_of_a_family(family, tmp_path):
    model = AutoModelForCausalLM.from_config(CAUSAL[family]())
    model.save_pretrained(tmp_path)
    layers = read_layers(ModelRef(name="m"), tmp_path, ("lm_head",))
    linear = {name: module for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    head = next(name for name in linear if linear[name] is model.get_output_embeddings())
    assert set(layers.widths) == set(linear) - {head}
    assert layers.ignored == (head,)
    assert all(width == linear[name].weight.shape[1] for name, width in layers.widths.items())
    assert layers.num_parameters == sum(parameter.numel() for parameter in model.parameters())
    assert layers.tied_embeddings == (model.get_output_embeddings().weight is model.get_input_embeddings().weight)


def test_layers_that_are_not_linear_are_not_quantized(tmp_path):
    AutoModelForCausalLM.from_config(CAUSAL["gpt2"]()).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="GPT2LMHeadModel has no linear layers but its head"):
        read_layers(ModelRef(name="m"), tmp_path, ("lm_head",))


def test_a_quantized_model_is_refused(tmp_path):
    model = AutoModelForCausalLM.from_config(CAUSAL["llama"]())
    model.config.quantization_config = {"quant_method": "gptq", "bits": 4}
    model.config.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"'m' is quantized already \(gptq\): name the unquantized model"):
        read_layers(ModelRef(name="m"), tmp_path, ("lm_head",))
