"""What ONNX Runtime GenAI is told of a graph that its builder did not write."""

import onnx
import pytest
from fakes.tiny_families import CONFIGS, make_tokenizer
from onnx import TensorProto, helper

from distill_eval.errors import ModelError
from distill_eval.export.genai_config import genai_config

CACHE = ["batch_size", 2, "past_sequence_length", 8]


def save(path, inputs=("input_ids", "attention_mask", "position_ids"), shapes=(CACHE, CACHE), outputs=()):
    """A graph of no nodes with optimum's inputs and outputs; a cache's shape per layer."""
    ids = [helper.make_tensor_value_info(name, TensorProto.INT64, ["b", "s"]) for name in inputs]
    layers = [(layer, part, shape) for layer, shape in enumerate(shapes) for part in ("key", "value")]
    past = [
        helper.make_tensor_value_info(f"past_key_values.{layer}.{part}", TensorProto.FLOAT, shape)
        for layer, part, shape in layers
    ]
    names = ["logits", *(f"present.{layer}.{part}" for layer, part, _ in layers), *outputs]
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names]
    onnx.save_model(helper.make_model(helper.make_graph([], "none", [*ids, *past], made)), path)
    return path


def told(path, generation=(), **changes):
    config = CONFIGS["llama"]()
    config.update(changes)
    return genai_config(path, config, make_tokenizer(), dict(generation))


def test_names_and_sizes_are_the_graphs(tmp_path):
    model = told(save(tmp_path / "model.onnx"))["model"]
    decoder = model["decoder"]
    assert decoder["filename"] == "model.onnx"
    assert decoder["inputs"] == {
        "input_ids": "input_ids",
        "attention_mask": "attention_mask",
        "position_ids": "position_ids",
        "past_key_names": "past_key_values.%d.key",
        "past_value_names": "past_key_values.%d.value",
    }
    assert decoder["outputs"] == {
        "logits": "logits",
        "present_key_names": "present.%d.key",
        "present_value_names": "present.%d.value",
    }
    assert (decoder["num_hidden_layers"], decoder["num_key_value_heads"], decoder["head_size"]) == (2, 2, 8)
    assert (decoder["hidden_size"], decoder["num_attention_heads"]) == (32, 4)
    assert (model["context_length"], model["vocab_size"]) == (128, 260)


def test_a_graph_that_counts_positions_itself_is_not_given_any(tmp_path):
    path = save(tmp_path / "model.onnx", inputs=("input_ids", "attention_mask"))
    assert "position_ids" not in told(path)["model"]["decoder"]["inputs"]


@pytest.mark.parametrize(
    ("generation", "changes", "expected"),
    [
        ({}, {}, (256, 257, 257)),
        ({"eos_token_id": [5, 257], "pad_token_id": 7}, {}, (256, [5, 257], 7)),
        ({"eos_token_id": 5}, {}, (256, [257, 5], 257)),  # the tokenizer ends a turn with another
        ({}, {"eos_token_id": None, "bos_token_id": None, "pad_token_id": None}, (256, 257, 257)),
    ],
)
def test_special_tokens_are_those_of_generation_then_config_then_tokenizer(tmp_path, generation, changes, expected):
    model = told(save(tmp_path / "model.onnx"), generation, **changes)["model"]
    assert (model["bos_token_id"], model["eos_token_id"], model["pad_token_id"]) == expected


def test_search_is_what_the_model_says_and_the_usual_else(tmp_path):
    search = told(save(tmp_path / "model.onnx"), {"do_sample": True, "temperature": 0.2, "top_k": None})["search"]
    assert search == {
        "do_sample": True,
        "temperature": 0.2,
        "top_k": 50,
        "top_p": 1.0,
        "repetition_penalty": 1.0,
        "max_length": 128,
        "past_present_share_buffer": False,
    }


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        ({"inputs": ("input_ids", "attention_mask", "token_type_ids")}, "it has the inputs input_ids, attention_mask,"),
        ({"shapes": ()}, "is not one that ONNX Runtime GenAI runs"),
        ({"outputs": ("present.2.key",)}, "and the outputs logits, present.0.key, present.0.value, ..."),
        ({"shapes": (CACHE, ["batch_size", 1, "past", 8])}, "the same in every layer"),
        ({"shapes": (["batch_size", "past", 16],)}, r"its cache is not \[batch, heads, tokens, size\]"),
        ({"shapes": (["batch_size", "heads", "past", 8],)}, "with heads and size fixed"),
    ],
)
def test_a_graph_that_it_would_not_run_is_refused(tmp_path, graph, message):
    with pytest.raises(ModelError, match=message):
        told(save(tmp_path / "model.onnx", **graph))
