import json

import pytest

from distill_eval.plan import published as module
from distill_eval.plan.published import PUBLISHED, published
from distill_eval.plan.sizes import model_sizes
from distill_eval.schema.model import ModelRef
from distill_eval.schema.plan import KvCache
from distill_eval.student.teacher import describe

COUNTS = {
    # The Hub's own count of each repository's safetensors files, e.g. huggingface.co/api/models/Qwen/Qwen2.5-7B
    "HuggingFaceTB/SmolLM2-135M": 134_515_008,
    "meta-llama/Llama-3.2-1B": 1_235_814_400,
    "meta-llama/Llama-3.1-8B": 8_030_261_248,
    "meta-llama/Llama-3.1-70B": 70_553_706_496,
    "Qwen/Qwen2.5-1.5B": 1_543_714_304,
    "Qwen/Qwen2.5-7B": 7_615_616_512,
    # keras-hub's presets (gemma3_presets.py, bert_presets.py); BERT there has its pooler and no labels
    "google/gemma-3-1b-pt": 999_885_952,
    "google-bert/bert-base-uncased": 109_482_240 + 2 * 768 + 2,
    "google-bert/bert-large-uncased": 335_141_888 + 2 * 1024 + 2,
    # DistilBertModel with what DistilBertForSequenceClassification puts on it for two labels
    "distilbert/distilbert-base-uncased": 66_362_880 + 768 * 768 + 768 + 2 * 768 + 2,
}


def sizes(name):
    config, source = published(name)
    return model_sizes(config, describe(ModelRef.parse(name), config).kind, name=name, source=source)


@pytest.mark.parametrize("name", COUNTS)
def test_parameters_are_those_that_are_published(name):
    found = sizes(name)
    assert found.parts.total == COUNTS[name]
    assert found.parts.other == 0
    assert found.config_source.startswith("https://")


def test_every_file_has_a_name_and_a_source_and_every_name_a_file():
    folder = module.Path(module.__file__).parent / "configs"
    assert {file.stem for file in folder.glob("*")} == set(PUBLISHED.values())
    for file in folder.glob("*.json"):
        assert json.loads(file.read_text(encoding="utf-8"))["_source"].startswith("https://")


@pytest.mark.parametrize(
    "name",
    ["meta-llama/Llama-3.1-70B", "llama-3.1-70b", "unsloth/LLAMA-3.1-70B@main", "meta-llama/Llama-3.1-70B-Instruct"],
)
def test_a_name_is_known_by_its_last_part(name):
    config, source = published(name)
    assert (config.num_hidden_layers, config.hidden_size, config.vocab_size) == (80, 8192, 128256)
    assert source.endswith("Llama-3.1-70B-Instruct/config.json")


@pytest.mark.parametrize("name", ["Llama-3.1-70", "meta-llama/Llama-3.1-405B", "./students/mine"])
def test_any_other_name_is_not_known(name):
    assert published(name) is None


def test_caches_of_the_published_models():
    """2 x 8 KV heads x 128 x 2 bytes in each of 80 layers: 320 KiB per token; Gemma's every sixth layer sees it all."""
    cache = sizes("meta-llama/Llama-3.1-70B").kv_cache
    assert cache.num_bytes(1) == 320 * 1024
    assert sizes("google/gemma-3-1b-pt").kv_cache == KvCache(
        num_full_layers=4, num_window_layers=22, window=512, bytes_per_token_per_layer=2 * 256 * 2
    )
    assert sizes("Qwen/Qwen2.5-7B").kv_cache.window is None  # it has one in its config, and does not use it


def test_integers_of_smollm2_are_those_that_quantize_wrote_of_it():
    """Its W4A16 folder (64 weights to a scale) has 113,098,656 bytes of tensors, its W8A8 folder 163,172,736."""
    found = sizes("HuggingFaceTB/SmolLM2-135M").weight_bytes
    assert found["int4"] == 113_098_656
    assert found["int8"] == 163_172_736 + 30 * 7 * 16  # W8A16 keeps the shapes of what it packs
