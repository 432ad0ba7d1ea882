"""Variants of a tiny model as users have them: bitsandbytes, compressed-tensors, ONNX."""

import torch
from fakes.tiny_families import make_tokenizer, save
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, LlamaConfig

CONFIG = LlamaConfig(
    vocab_size=260,
    hidden_size=128,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=32,
    intermediate_size=192,
    num_hidden_layers=3,
    max_position_embeddings=128,
    bos_token_id=256,
    eos_token_id=257,
    pad_token_id=257,
)
"""Wide enough for the blocks of every format."""

_BITSANDBYTES = {
    "int8": {"load_in_8bit": True},
    "nf4": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
}
_INT8 = {"num_bits": 8, "type": "int", "symmetric": True}
_W8A8 = {
    "targets": ["Linear"],
    "weights": {**_INT8, "strategy": "channel"},
    "input_activations": {**_INT8, "strategy": "token", "dynamic": True},
}


def save_original(folder, seed=0):
    """The unquantized model's folder."""
    return save(CONFIG, folder, seed=seed)


def save_bitsandbytes(original, folder, kind):
    """As transformers quantizes it while it loads."""
    config = BitsAndBytesConfig(**_BITSANDBYTES[kind])
    model = AutoModelForCausalLM.from_pretrained(original, quantization_config=config, device_map="cpu")
    model.save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)


def save_w8a8(original, folder):
    """Rounded to the nearest, a scale per row, as compressed-tensors and vLLM read it."""
    from safetensors.torch import load_file, save_file

    model = AutoModelForCausalLM.from_pretrained(original)
    model.config.quantization_config = {
        "quant_method": "compressed-tensors",
        "format": "int-quantized",
        "quantization_status": "compressed",
        "ignore": ["lm_head"],
        "config_groups": {"group_0": _W8A8},
    }
    model.config.save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    found = {}
    for name, weight in load_file(original / "model.safetensors").items():
        if not name.endswith("_proj.weight"):
            found[name] = weight
            continue
        scale = weight.abs().amax(1, keepdim=True) / 127
        found[name] = (weight / scale).round().to(torch.int8)
        found[f"{name}_scale"] = scale
    save_file(found, folder / "model.safetensors", metadata={"format": "pt"})


def save_onnx(original, folder, precision):
    """As ONNX Runtime GenAI's builder writes it."""
    from onnxruntime_genai.models import builder

    paths = str(original), str(original), str(folder), precision, "cpu", str(folder.parent / "builder")
    builder.create_model(*paths, **builder.parse_extra_options(*paths, {}))
