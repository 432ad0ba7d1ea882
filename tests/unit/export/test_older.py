"""What transformers 5 writes, as transformers 4 reads it."""

import json

import pytest
from fakes.tiny_families import CONFIGS
from transformers import LlamaConfig

from distill_eval.errors import ModelError
from distill_eval.export.older import older_config, write_folder


def test_values_stand_where_transformers_4_looks_and_where_they_were():
    rope = {"rope_type": "default", "rope_theta": 100000.0, "partial_rotary_factor": 0.5}
    older = older_config({"dtype": "bfloat16", "rope_parameters": rope, "head_dim": 64}, "m")
    assert older["rope_parameters"] == rope
    assert older["rope_theta"] == older["rotary_emb_base"] == 100000.0
    assert older["partial_rotary_factor"] == older["rotary_pct"] == 0.5
    assert older["rope_scaling"] is None
    assert older["dtype"] == older["torch_dtype"] == "bfloat16"
    assert older["head_dim"] == 64


def test_scaling_keeps_everything_but_what_stood_beside_it():
    scaling = {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    }
    config = LlamaConfig(rope_parameters={"rope_theta": 500000.0, **scaling})
    older = older_config(config.to_dict(), "m")
    assert older["rope_theta"] == 500000.0
    assert older["rope_scaling"] == scaling


def test_a_model_without_rotary_parameters_stays_as_it_is():
    config = CONFIGS["gpt2"]().to_dict() | {"dtype": None}
    assert older_config(config, "m") == config


@pytest.mark.parametrize(
    ("family", "message"),
    [
        ("gemma3", r"^'m' has rotary parameters per kind of layer \(.*sliding_attention.*\), .* Leave that out"),
        ("phi3-longrope", r"^'m' has rotary parameters of type longrope, whose angles depend on the length"),
    ],
)
def test_rotary_parameters_that_it_cannot_have_are_refused(family, message):
    with pytest.raises(ModelError, match=message):
        older_config(CONFIGS[family]().to_dict(), "m")


def test_the_folder_has_the_config_and_links_to_all_weights(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (source / "model.safetensors.index.json").write_text(json.dumps(index))
    for name in ("model-1.safetensors", "model-2.safetensors", "tokenizer_config.json", "pytorch_model.bin"):
        (source / name).write_text(name)
    write_folder(source, {"id2label": {0: "no"}}, target)
    linked = {"model-1.safetensors", "model-2.safetensors", "model.safetensors.index.json"}
    assert {path.name for path in target.iterdir()} == {"config.json", *linked}
    assert all((target / name).readlink() == source / name for name in linked)
    assert json.loads((target / "config.json").read_text()) == {"id2label": {"0": "no"}}
