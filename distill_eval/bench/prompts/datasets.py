"""Prompts of people: of a data set, or of a file of ShareGPT's form."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from distill_eval.bench.prompts.asked import Asked, count
from distill_eval.bench.prompts.files import local_file, text_of
from distill_eval.errors import UsageError, boundary, require
from distill_eval.schema.timing import Prompt

COLUMNS = ("text", "prompt", "messages", "conversations", "turns")
"""Where texts or conversations usually stand."""
MIN_TOKENS, MAX_PROMPT, MAX_TOTAL = 4, 1024, 2048
"""Which conversations vLLM's benchmarks take (`is_valid_sequence`); for answers the least holds only where their length
is the file's."""


def sharegpt_prompts(asked: Asked) -> list[Prompt]:
    """First messages of conversations; the answer is as long as the one that follows them.

    Raises:
        UsageError: the file cannot be had, is of another form, or has too few prompts.
    """
    pairs, found = _conversations(asked), list[Prompt]()
    for index in asked.rng().permutation(len(pairs)):
        text, answer = pairs[int(index)]
        own_length = asked.config.output_len is None
        prompt = asked.prompt(text, asked.config.output_len or max(1, count(asked.tokenizer, answer)))
        too_short = prompt.num_tokens < MIN_TOKENS or (own_length and prompt.max_tokens < MIN_TOKENS)
        if too_short or prompt.num_tokens > MAX_PROMPT or prompt.num_tokens + prompt.max_tokens > MAX_TOTAL:
            continue
        found.append(prompt)
        if len(found) == asked.num:
            return found
    what = f"prompts of {MIN_TOKENS} to {MAX_PROMPT:,} tokens, with the answer at most {MAX_TOTAL:,}"
    raise asked.too_few(len(found), what)


def dataset_prompts(asked: Asked) -> list[Prompt]:
    """Texts of a column, or the first messages of its conversations, in an order drawn by the seed.

    Raises:
        UsageError: the data set cannot be had, has no such column, or too few prompts.
    """
    found = []
    for text in _texts(asked):
        found.append(asked.prompt(text, asked.output_len))
        if len(found) == asked.num:
            return found
    raise asked.too_few(len(found), "prompts")


def first_message(value: Any) -> str | None:
    """What a value asks: a text itself, or the first message of a conversation that is the user's.

    Conversations are lists of texts, of messages with `role` and `content`, or with `from` and `value` (ShareGPT).
    `None` for anything else.
    """
    if isinstance(value, str):
        return value
    if not isinstance(value, list) or not value:
        return None
    if isinstance(value[0], str):
        return value[0]
    for message in value:
        if isinstance(message, dict) and message.get("role", message.get("from")) in ("user", "human"):
            content = message.get("content", message.get("value"))
            return content if isinstance(content, str) else None
    return None


def _texts(asked: Asked) -> Iterator[str]:
    config = asked.config
    from distill_eval.calibration import TextSource, rows  # imports torch

    text = TextSource(
        source=str(config.dataset_path),
        num_samples=asked.num,
        length=0,  # texts are not cut
        subset=config.hf_subset,
        split=config.hf_split or "train",
        seed=asked.seed,
        option="--dataset-path",
    )
    with boundary(UsageError, f"{asked.said} cannot be read"):
        for row in rows(text):
            column = config.text_column or next((name for name in COLUMNS if name in row), None)
            if column is None or column not in row:
                named = f"none of the columns {', '.join(COLUMNS)}" if column is None else f"no column {column!r}"
                raise UsageError(f"{asked.said} has {named}: name one of {', '.join(row)} with --text-column")
            found = first_message(row[column])
            if found is None:
                raise UsageError(
                    f"{asked.said}: column {column!r} holds {type(row[column]).__name__}, expected texts, or "
                    "conversations with a message of the user: name another with --text-column"
                )
            if found.strip():
                yield found


def _conversations(asked: Asked) -> list[tuple[str, str]]:
    """The first two messages of each conversation."""
    content = text_of(local_file(asked), asked.said)
    with boundary(UsageError, f"{asked.said} cannot be read as JSON"):
        entries = json.loads(content)
    found = []
    for entry in entries if isinstance(entries, list) else []:
        messages = entry.get("conversations") if isinstance(entry, dict) else None
        first = messages[:2] if isinstance(messages, list) else []
        values = [message.get("value") for message in first if isinstance(message, dict)]
        if len(values) == 2 and all(isinstance(value, str) for value in values):
            found.append((str(values[0]), str(values[1])))
    require(
        bool(found),
        f"{asked.said} has no prompts: expected ShareGPT's form, a JSON list of objects whose `conversations` hold two "
        "messages or more, each with a `value`. For other data type --dataset-name hf",
    )
    return found
