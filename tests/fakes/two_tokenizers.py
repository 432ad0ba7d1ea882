"""Tokenizers that cut the same text otherwise, and a tiny model for each."""

from fakes.tiny_families import CONFIGS, make_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast


def template(before, behind):
    """A chat template whose turns begin with the role between two signs."""
    return (
        "{% for m in messages %}" + before + "{{ m.role }}" + behind + "\n{{ m.content }}<eos>{% endfor %}"
        "{% if add_generation_prompt %}" + before + "assistant" + behind + "\n{% endif %}"
    )


def wrap(backend, **options):
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>", **options)


def byte_level(texts, vocab_size, *, trim_offsets=True, **options):
    """As GPT-2's: the space belongs to the token behind it, which the offsets hide by default."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.post_processor = processors.ByteLevel(trim_offsets=trim_offsets)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, initial_alphabet=alphabet, special_tokens=["<eos>"], show_progress=False
    )
    backend.train_from_iterator(texts, trainer)
    return wrap(backend, **options)


def fallback(texts, vocab_size, **options):
    """As LLaMA's: spaces are letters, a text begins with one and with BOS, unknown letters are bytes."""
    backend = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    special = ["<unk>", "<bos>", "<eos>", *(f"<0x{byte:02X}>" for byte in range(256))]
    backend.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=special, show_progress=False)
    )
    bos = ("<bos>", backend.token_to_id("<bos>"))
    backend.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[bos])
    return wrap(backend, bos_token="<bos>", **options)


def save_with(tokenizer, family, folder, *, seed):
    """A tiny model with this tokenizer's vocabulary."""
    config = CONFIGS[family]()
    config.vocab_size = len(tokenizer)
    config.bos_token_id, config.eos_token_id = None, tokenizer.eos_token_id
    config.pad_token_id = tokenizer.eos_token_id
    model = make_model(config, seed=seed)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model
