"""What the teacher is asked: texts and conversations of a data set, made ready for the form in which it answers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from itertools import islice, repeat
from pathlib import Path
from typing import NamedTuple

from distill_eval.distill.answer.config import AnswerConfig
from distill_eval.distill.chat import ASSISTANT
from distill_eval.distill.data_config import DataConfig
from distill_eval.distill.documents import Document, open_documents
from distill_eval.errors import DataError, UsageError, require
from distill_eval.schema.answers import Form

LAST = ("user", "tool")
"""Roles that an answer follows."""


class Prompts(NamedTuple):
    """What is asked, in order."""

    prompts: list[Document]
    """Conversations (`chat`) or texts (`text`)."""
    num_skipped: int
    """Conversations that end with nothing to answer."""
    digest: str


def read_prompts(config: AnswerConfig, form: Form) -> Prompts:
    """Read them all.

    Raises:
        UsageError: there is no such column or file, or the data do not fit the form.
        DataError: the data cannot be had, or hold no prompt.
    """
    found: list[Document] = []
    num_skipped = 0
    for document in islice(_documents(config), config.max_prompts):
        prompt = _chat(document, config.system) if form == "chat" else _text(document, config.data)
        if prompt:
            found.append(prompt)
        else:
            num_skipped += 1
    if not found:
        why = f": each of its {num_skipped:,} conversations ends with nothing to answer" if num_skipped else ""
        raise DataError(f"{config.data} has no prompts{why}. Name another column with --text-column")
    sha = hashlib.sha256()
    for prompt in found:
        sha.update(json.dumps(prompt, sort_keys=True).encode() + b"\n")
    return Prompts(found, num_skipped, sha.hexdigest())


def _documents(config: AnswerConfig) -> Iterator[Document]:
    """Rows that hold anything; the lines of a text file."""
    by_line = Path(config.data).suffix == ".txt"
    texts = _column(config, config.text_column)
    inputs = repeat("") if config.input_column is None else _column(config, config.input_column)
    for document, more in zip(texts, inputs, strict=False):
        if by_line and isinstance(document, str):
            yield from (line for line in document.splitlines() if line.strip())
        elif document and more:
            require(
                isinstance(document, str) and isinstance(more, str),
                f"--input-column {config.input_column}: it is appended to prompts that are text, not to conversations",
            )
            yield f"{document}\n\n{more}"
        elif document:
            yield document


def _column(config: AnswerConfig, name: str) -> Iterator[Document]:
    data = DataConfig(data=config.data, data_config=config.data_config, data_split=config.data_split, text_column=name)
    for batch in open_documents(data).rows_in_batches():
        yield from batch


def _chat(document: Document, system: str | None) -> Document:
    """A conversation up to what is to be answered; empty where there is nothing."""
    if isinstance(document, str):
        turns = [{"role": "user", "content": document}]
    else:
        turns = document[:-1] if document[-1]["role"] == ASSISTANT else document
    if not turns or turns[-1]["role"] not in LAST:
        return []
    has_own = turns[0]["role"] == "system"
    return turns if system is None or has_own else [{"role": "system", "content": system}, *turns]


def _text(document: Document, name: str) -> Document:
    if not isinstance(document, str):
        raise UsageError(
            f"{name} holds conversations, and the teacher has no chat template (or --form text was asked for): name a "
            "column of text with --text-column, or take an instruct model as teacher"
        )
    return document
