"""Tiny teachers of all architectures that `prepare` can cut, with random weights, and text to calibrate on."""

import torch
from fakes.tiny_families import CONFIGS, VOCAB_SIZE, make_tokenizer
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    BertConfig,
    DistilBertConfig,
    GPTNeoXConfig,
    RobertaConfig,
)

NUM_LAYERS, HIDDEN, FFN, NUM_HEADS, HEAD_DIM = 6, 32, 48, 4, 8
_ENCODER = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": HIDDEN,
    "num_attention_heads": NUM_HEADS,
    "intermediate_size": FFN,
    "num_hidden_layers": NUM_LAYERS,
    "pad_token_id": 1,
    "num_labels": 3,
}

CAUSAL = {
    name: CONFIGS[name] for name in ("llama", "llama-tied", "mistral", "qwen2", "qwen3", "gemma3", "gpt2", "opt")
} | {
    "gpt-neox": lambda: GPTNeoXConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=HIDDEN,
        num_attention_heads=NUM_HEADS,
        intermediate_size=FFN,
        num_hidden_layers=NUM_LAYERS,
        max_position_embeddings=128,
        bos_token_id=256,
        eos_token_id=257,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5},
    )
}
CLASSIFIERS = {
    "bert": lambda: BertConfig(max_position_embeddings=128, **_ENCODER),
    "distilbert": lambda: DistilBertConfig(
        vocab_size=VOCAB_SIZE,
        dim=HIDDEN,
        n_heads=NUM_HEADS,
        hidden_dim=FFN,
        n_layers=NUM_LAYERS,
        max_position_embeddings=128,
        pad_token_id=1,
        num_labels=3,
    ),
    "roberta": lambda: RobertaConfig(max_position_embeddings=130, type_vocab_size=1, **_ENCODER),
}
TEACHERS = {**CAUSAL, **CLASSIFIERS}
PRODUCT = ("qwen2", "gpt2", "gpt-neox", "opt", "bert", "distilbert", "roberta")
"""Those whose hidden size is heads x head_dim."""
GROUPED = ("llama", "llama-tied", "mistral", "qwen2", "qwen3", "gemma3")
"""Those with two query heads per KV group here."""

TEXT = [
    f"In the year {year} the river rose by {year % 7} feet, and {year % 5} boats of the {year % 11}th fleet were lost."
    for year in range(1700, 1760)
]


def auto_class(family):
    return AutoModelForSequenceClassification if family in CLASSIFIERS else AutoModelForCausalLM


def kind(family):
    return "classifier" if family in CLASSIFIERS else "causal"


def make_teacher(family, dtype=torch.float32, seed=0):
    """A model in which every tensor matters: no bias is zero, no norm is one."""
    torch.manual_seed(seed)
    model = auto_class(family).from_config(TEACHERS[family](), dtype=dtype).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2:
                parameter.normal_(std=0.5 if "embed" in name or "wte" in name else 0.2)
            else:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def save_teacher(family, folder, **changes):
    """A folder as a user has it."""
    model = make_teacher(family, **changes)
    model.save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return model
