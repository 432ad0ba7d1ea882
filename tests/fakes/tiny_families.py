"""Tiny causal language models with random weights, one per family, and a tokenizer to go with them."""

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    GraniteConfig,
    LlamaConfig,
    MistralConfig,
    OPTConfig,
    Phi3Config,
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


def longrope(original_length):
    """Phi-3 as of 3.5: a row of more than `original_length` tokens gets other rotary angles."""
    rope = {"rope_type": "longrope", "short_factor": [1.0, 1.1, 1.2, 1.3], "long_factor": [4.0, 6.0, 8.0, 10.0]}
    return Phi3Config(
        vocab_size=VOCAB_SIZE, original_max_position_embeddings=original_length, rope_parameters=rope, **_GROUPED
    )


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
    "cohere": lambda: CohereConfig(vocab_size=VOCAB_SIZE, logit_scale=4.0, **_GROUPED),
    "granite": lambda: GraniteConfig(
        vocab_size=VOCAB_SIZE,
        logits_scaling=4.0,
        embedding_multiplier=12.0,
        residual_multiplier=0.5,
        attention_multiplier=0.25,
        **_GROUPED,
    ),
    "phi3-longrope": lambda: longrope(128),
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
    """A model whose layers all differ, wide enough in its weights that dropping one shows in the logits.

    `family` is a name of `CONFIGS`, or a config.
    """
    torch.manual_seed(seed)
    config = CONFIGS[family]() if isinstance(family, str) else family
    model = AutoModelForCausalLM.from_config(config, dtype=dtype).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2 and "embed" not in name:
                parameter.normal_(std=0.2)
    return model


def make_tokenizer(add_bos=False):
    """Every byte is a token; special tokens follow. With `add_bos`, each text begins with one, as for LLaMA, Gemma."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={symbol: index for index, symbol in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<bos>",
        eos_token="<eos>",
        chat_template="{% for message in messages %}{{ message['content'] }}{% endfor %}",
    )
    if add_bos:
        bos = ("<bos>", tokenizer.bos_token_id)
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single="<bos> $A", special_tokens=[bos]
        )
    return tokenizer


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
