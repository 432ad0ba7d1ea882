"""Models of transformers as the engine `hf` runs them, against transformers itself."""

import json

import pytest
import torch
from fakes.tiny_families import VOCAB_SIZE, save
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from distill_eval.engine import hf
from distill_eval.errors import ModelError

IDS = [5, 17, 200, 3, 3, 90]


@pytest.fixture
def tiny(tmp_path):
    """A folder, and the model in it."""
    return tmp_path / "tiny", save("llama", tmp_path / "tiny")


def edit_config(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def test_logits_are_those_of_the_forward_pass(tiny):
    folder, model = tiny
    loaded = hf.load(folder)
    found = loaded.logits(IDS)
    assert (found.dtype, found.shape) == (torch.float32, (len(IDS), VOCAB_SIZE))
    torch.testing.assert_close(found, model(torch.tensor([IDS])).logits[0].detach())
    assert (loaded.vocab_size, loaded.max_length) == (VOCAB_SIZE, 128)
    found.mul_(2)  # whoever asks may write into it


def test_a_softcap_and_a_scale_are_in_the_logits(tmp_path):
    model = save("gemma2", tmp_path / "soft")
    model.config.final_logit_softcapping = 0.5
    model.save_pretrained(tmp_path / "soft")
    assert 0.3 < hf.load(tmp_path / "soft").logits(IDS).abs().max() <= 0.5


def test_the_dtype_is_that_of_the_files_unless_it_is_named(tmp_path):
    save("llama", tmp_path / "half", dtype=torch.bfloat16)
    assert hf.load(tmp_path / "half").model.dtype == torch.bfloat16
    assert hf.load(tmp_path / "half", dtype="float32").model.dtype == torch.float32


def test_greedy_is_the_argmax_again_and_again_and_ends_behind_the_end(tiny):
    folder, model = tiny
    ids = list(IDS)
    for _ in range(8):
        ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    assert hf.load(folder).greedy(IDS, 8) == ids[len(IDS) :]
    second = ids[len(IDS) + 1]
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": second, "repetition_penalty": 9.0}))
    found = hf.load(folder).greedy(IDS, 8)
    assert found == ids[len(IDS) : ids.index(second, len(IDS)) + 1]


def test_what_transformers_cannot_run_is_said_with_the_models_name(tmp_path):
    save("gpt2", tmp_path / "short")
    loaded = hf.load(tmp_path / "short", name="org/short")
    with pytest.raises(ModelError, match=r"org/short cannot be run by transformers on 200 tokens: IndexError: index"):
        loaded.logits([1] * 200)  # 128 positions are learned
    with pytest.raises(ModelError, match=r"org/short cannot be run by transformers on 200 tokens: "):
        loaded.greedy([1] * 200, 4)


def test_missing_weights_are_refused_by_name(tiny):
    folder, _ = tiny
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.3.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lack model\.layers\.3\.mlp\.up_proj\.weight"):
        hf.load(folder, name="org/tiny")


@pytest.mark.parametrize("architecture", ["LlamaForSequenceClassification", "BertForMaskedLM"])
def test_another_kind_of_model_is_refused(tiny, architecture):
    edit_config(tiny[0], architectures=[architecture])
    with pytest.raises(ModelError, match=f"org/x is a {architecture}: expected a causal language model"):
        hf.load(tiny[0], name="org/x")


def test_a_library_that_is_missing_is_named_with_its_pip_install(tiny):
    edit_config(tiny[0], quantization_config={"quant_method": "gptq", "bits": 4})
    with pytest.raises(ModelError, match=r"quantized with gptq, which needs gptqmodel\. Type: pip install gptqmodel"):
        hf.load(tiny[0])


def test_a_folder_quantized_by_bitsandbytes_is_close_to_the_original(tmp_path):
    pytest.importorskip("bitsandbytes")
    plain = save("llama", tmp_path / "plain")
    quantized = AutoModelForCausalLM.from_pretrained(
        tmp_path / "plain",
        quantization_config=BitsAndBytesConfig(load_in_8bit=True),
        device_map="cpu",
        dtype=torch.float32,
    )
    quantized.save_pretrained(tmp_path / "quantized")
    hf.load(tmp_path / "plain").tokenizer.save_pretrained(tmp_path / "quantized")
    found = hf.load(tmp_path / "quantized").logits(IDS)
    expected = plain(torch.tensor([IDS])).logits[0].detach()
    assert 0 < (found - expected).norm() / expected.norm() < 0.05
