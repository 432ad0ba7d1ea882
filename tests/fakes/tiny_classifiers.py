"""Tiny encoders with a tokenizer of whole words, and texts whose label is the kind of most of their words."""

import json
import random

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    BertConfig,
    DistilBertConfig,
    PreTrainedTokenizerFast,
)

KINDS = {
    "animal": ["cat", "dog", "cow", "hen", "fox"],
    "color": ["red", "blue", "green", "black", "white"],
    "number": ["one", "two", "three", "four", "five"],
}
FILLERS = ["the", "a", "of", "and", "is"]
NAMES = tuple(KINDS)
_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
VOCABULARY = [*_SPECIAL, *FILLERS, *(word for words in KINDS.values() for word in words)]


def make_tokenizer():
    backend = Tokenizer(models.WordLevel({word: index for index, word in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )


def bert(num_layers, width=32):
    return BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=width,
        num_attention_heads=4,
        intermediate_size=48,
        num_hidden_layers=num_layers,
        max_position_embeddings=40,
        pad_token_id=0,
        initializer_range=0.2,  # of so narrow a model; at 0.02 it learns slowly
    )


def distilbert(num_layers):
    return DistilBertConfig(
        vocab_size=len(VOCABULARY),
        dim=32,
        n_heads=4,
        hidden_dim=48,
        n_layers=num_layers,
        max_position_embeddings=40,
        pad_token_id=0,
        initializer_range=0.2,  # of so narrow a model; at 0.02 it learns slowly
    )


def save(folder, config, *, labels=None, seed=0):
    """A folder as a user has it: an encoder, or with labels a classifier."""
    torch.manual_seed(seed)
    if labels is None:
        model = AutoModel.from_config(config)
    else:
        config.id2label = dict(enumerate(labels))
        config.label2id = {name: number for number, name in enumerate(labels)}
        model = AutoModelForSequenceClassification.from_config(config)
    model.save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return model


def make_rows(count, seed=0):
    """Texts of 3 to 12 words: two in three of the label's kind, the others fillers."""
    draw = random.Random(seed)
    rows = []
    for number in range(count):
        name = NAMES[number % len(NAMES)]
        words = [draw.choice(KINDS[name] if draw.random() < 0.67 else FILLERS) for _ in range(draw.randint(2, 11))]
        rows.append({"text": " ".join([*words, draw.choice(KINDS[name])]), "label": name})
    return rows


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
