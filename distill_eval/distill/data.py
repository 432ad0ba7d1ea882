"""From the data's options to rows that can be trained on: training blocks, validation blocks, and their collator."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from distill_eval.distill.blocks import Blocks, Collator, StreamedBlocks
from distill_eval.distill.chat import check_template, encode_conversations
from distill_eval.distill.data_config import DataConfig
from distill_eval.distill.documents import (
    Document,
    Split,
    open_documents,
    split,
    training_batches,
    validation_batches,
)
from distill_eval.distill.packing import Block, Counts, pack
from distill_eval.distill.paired_batches import PairedCollator
from distill_eval.distill.text import Tokens, encode_texts, end_of_text
from distill_eval.distill.two_tokenizers import TwoTokenizers
from distill_eval.errors import DataError, UsageError

Encode: TypeAlias = Callable[[list[Document], str], Iterable[Tokens]]
"""Documents and the name of their data set to tokens."""


class TrainingData(NamedTuple):
    """What a trainer reads."""

    train: Blocks | StreamedBlocks
    validation: Blocks
    collate: Collator


def load(
    config: DataConfig, tokenizer: Any, *, seed: int, batch_blocks: int, teacher: TwoTokenizers | None = None
) -> TrainingData:
    """Read, split, tokenize and pack the data; the same options and seed give the same rows.

    Args:
        config: Which data, and how to cut them.
        tokenizer: The student's.
        seed: Chooses the documents that are held out.
        batch_blocks: Rows of one optimizer step, for the check that there are as many.
        teacher: Adds the tokens of a teacher with another tokenizer.

    Raises:
        UsageError: there is no such column, configuration, split or file; or there is less than one batch.
        DataError: the data cannot be had, are empty, have no text, or hold neither text nor conversations.
        ModelError: the tokenizer has no EOS token, or no chat template although the data are conversations.
    """
    end = end_of_text(tokenizer)
    documents = open_documents(config)
    if isinstance(documents.first(), list):
        check_template(tokenizer)
    parts = split(documents, config, seed)
    kind = Collator if teacher is None else PairedCollator
    collate = kind(config.packing, end if tokenizer.pad_token_id is None else int(tokenizer.pad_token_id))
    encode = partial(_encode, tokenizer, teacher)
    validation = _blocks(partial(_validation_tokens, parts, encode), config)
    if not len(validation):
        raise UsageError(
            f"the documents of {parts.validation.name} that are held out for validation have no token to predict: "
            "hold out more with --validation-documents, or give --validation-data"
        )
    if config.streaming:
        return TrainingData(StreamedBlocks(partial(_stream, parts, encode, config)), validation, collate)
    train = _blocks(partial(_training_tokens, parts, encode), config)
    if len(train) < batch_blocks:
        raise UsageError(
            f"{config.data} gives {len(train):,} rows of up to {config.max_length} tokens to train on, less than one "
            f"batch of {batch_blocks}. Give more text, or lower --batch-size, --accumulate or --max-length"
        )
    if train.paired_share == 0:
        raise UsageError(
            f"no token of {config.data} ends where one of the teacher's does, so --loss uld has nothing to compare. "
            "Take a teacher with another tokenizer"
        )
    return TrainingData(train, validation, collate)


def _blocks(tokens: Any, config: DataConfig) -> Blocks:
    counts = Counts()
    blocks = pack(tokens(counts), max_length=config.max_length, packing=config.packing, counts=counts)
    return Blocks(blocks, packing=config.packing, max_length=config.max_length, counts=counts)


def _stream(parts: Split, encode: Encode, config: DataConfig) -> Iterator[Block]:
    counts = Counts()
    tokens = _training_tokens(parts, encode, counts)
    return pack(tokens, max_length=config.max_length, packing=config.packing, counts=counts)


def _training_tokens(parts: Split, encode: Encode, counts: Counts) -> Iterator[Tokens]:
    for kept, num_held_out in training_batches(parts):
        counts.num_held_out += num_held_out
        yield from encode(kept, parts.train.name)


def _validation_tokens(parts: Split, encode: Encode, counts: Counts) -> Iterator[Tokens]:
    del counts
    for batch in validation_batches(parts):
        yield from encode(batch, parts.validation.name)


def _encode(tokenizer: Any, teacher: TwoTokenizers | None, batch: list[Document], name: str) -> Iterable[Tokens]:
    texts = [document for document in batch if isinstance(document, str)]
    conversations = [document for document in batch if not isinstance(document, str)]
    if texts and conversations:
        raise DataError(f"{name} holds both texts and conversations in one column: expected one kind")
    if texts:
        tokens = encode_texts(tokenizer, texts)
        return teacher.add_to_texts(texts, tokens) if teacher else tokens
    tokens = encode_conversations(tokenizer, conversations)
    return teacher.add_to_conversations(conversations, tokens) if teacher else tokens
