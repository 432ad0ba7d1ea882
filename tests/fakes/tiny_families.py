"""Tiny causal language models with random weights, one per family, and a tokenizer to go with them."""

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    OPTConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

NUM_LAYERS = 6
VOCAB_SIZE = 260
_SPECIAL = {"bos_token_id": 256, "eos_token_id": 257, "pad_token_id": 257}
_WIDTHS = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 48, "num_hidden_layers": NUM_LAYERS}
_GROUPED = {**_WIDTHS, **_SPECIAL, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 128}
_WINDOW = {"sliding_window": 8}

CONFIGS = {
    "llama": lambda: LlamaConfig(vocab_size=VOCAB_SIZE, **_GROUPED),
    "llama-tied": lambda: LlamaConfig(vocab_size=VOCAB_SIZE, tie_word_embeddings=True, **_GROUPED),
    "mistral": lambda: MistralConfig(vocab_size=VOCAB_SIZE, **_WINDOW, **_GROUPED),
    "qwen2": lambda: Qwen2Config(
        vocab_size=VOCAB_SIZE, use_sliding_window=True, max_window_layers=3, **_WINDOW, **_GROUPED
    ),
    "qwen3": lambda: Qwen3Config(vocab_size=VOCAB_SIZE, **_GROUPED),
    "gemma2": lambda: Gemma2Config(vocab_size=VOCAB_SIZE, query_pre_attn_scalar=8, **_WINDOW, **_GROUPED),
    "gemma3": lambda: Gemma3TextConfig(vocab_size=VOCAB_SIZE, query_pre_attn_scalar=8, **_WINDOW, **_GROUPED),
    "gpt2": lambda: GPT2Config(
        vocab_size=VOCAB_SIZE, n_layer=NUM_LAYERS, n_embd=32, n_head=4, n_positions=128, **_SPECIAL
    ),
    "gpt-neox": lambda: GPTNeoXConfig(vocab_size=VOCAB_SIZE, max_position_embeddings=128, **_WIDTHS, **_SPECIAL),
    "opt": lambda: OPTConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=32,
        word_embed_proj_dim=32,
        ffn_dim=48,
        num_attention_heads=4,
        num_hidden_layers=NUM_LAYERS,
        max_position_embeddings=128,
        **_SPECIAL,
    ),
}


def make_model(family, dtype=torch.float32, seed=0):
    """A model whose layers all differ, wide enough in its weights that dropping one shows in the logits."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(CONFIGS[family](), dtype=dtype).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2 and "embed" not in name:
                parameter.normal_(std=0.2)
    return model


def make_tokenizer():
    """Every byte is a token; three special tokens follow."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={symbol: index for index, symbol in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<bos>",
        eos_token="<eos>",
        chat_template="{% for message in messages %}{{ message['content'] }}{% endfor %}",
    )


def save(family, folder, **changes):
    """A folder as a user has it: weights, config, tokenizer, generation config."""
    model = make_model(family, **changes)
    model.save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return model


def logits(model, num_tokens=24):
    """On fixed tokens, more of them than the sliding windows are wide."""
    tokens = (torch.arange(num_tokens) * 7 + 3).remainder(256)[None]
    with torch.inference_mode():
        return model(tokens).logits
