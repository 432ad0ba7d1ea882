"""Conversations as token ids, with a mark on the assistant's answers: they alone are to be predicted.

Shapes: M tokens of one conversation.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from distill_eval.distill.documents import Message
from distill_eval.distill.text import Tokens
from distill_eval.errors import DataError, ModelError, boundary

ASSISTANT = "assistant"
_MARKED = re.compile(r"\{%-?\s*generation\s*-?%\}")
"""A template that marks the answers itself (`{% generation %}`), as transformers looks for it."""


def check_template(tokenizer: Any) -> None:
    """Refuse a tokenizer that cannot turn conversations into text and place the answers in it.

    Raises:
        ModelError: it has no chat template, or does not know where in the text a token stands.
    """
    name = tokenizer.name_or_path
    if not tokenizer.chat_template:
        raise ModelError(
            f"the tokenizer of {name!r} has no chat template, and the data are conversations. Use a student with one "
            "(an instruct model), or name a column of plain text with --text-column"
        )
    if not tokenizer.is_fast:
        raise ModelError(
            f"the tokenizer of {name!r} does not tell where in the text a token stands, so the answers cannot be found "
            "among its tokens: conversations need a tokenizer with a tokenizer.json"
        )


def encode_conversations(tokenizer: Any, conversations: list[list[Message]]) -> list[Tokens]:
    """Conversations through the tokenizer's chat template; what the template adds after an answer counts as answer.

    Where the template marks the answers with `{% generation %}`, its marks are used. Otherwise an answer is what
    rendering the conversation up to it adds to rendering the conversation before it with the generation prompt.

    Raises:
        ModelError: there is no chat template, or the tokenizer does not know where in the text a token stands.
        DataError: the template refuses a conversation, or the answers cannot be found in what it makes.
    """
    check_template(tokenizer)
    template = tokenizer.get_chat_template()
    encode = _marked if _MARKED.search(template) else _by_prefix
    return [encode(tokenizer, conversation) for conversation in conversations]


def _marked(tokenizer: Any, conversation: list[Message]) -> Tokens:
    with boundary(DataError, f"the chat template refuses the conversation {_start(conversation)}"):
        made = tokenizer.apply_chat_template(
            conversation, return_dict=True, return_assistant_tokens_mask=True, tokenizer_kwargs={"verbose": False}
        )
    ids_M = np.array(made["input_ids"], dtype=np.uint32)
    target_M = np.array(made["assistant_masks"], dtype=np.bool_)
    target_M[:1] = False
    return Tokens(ids_M, target_M)


def _by_prefix(tokenizer: Any, conversation: list[Message]) -> Tokens:
    whole = render(tokenizer, conversation, prompt=False)
    spans = [
        _span(tokenizer, conversation, number, whole)
        for number, message in enumerate(conversation)
        if message["role"] == ASSISTANT and number > 0  # an answer to nothing is not scored
    ]
    encoded = tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    starts_M = np.array([start for start, _ in encoded["offset_mapping"]], dtype=np.int64)
    target_M = np.zeros(len(starts_M), dtype=np.bool_)
    for start, end in spans:
        target_M |= (starts_M >= start) & (starts_M < end)
    target_M[:1] = False
    return Tokens(np.array(encoded["input_ids"], dtype=np.uint32), target_M)


def _span(tokenizer: Any, conversation: list[Message], number: int, whole: str) -> tuple[int, int]:
    """Where the answer that is message `number` begins and ends in the whole text, in characters."""
    before = render(tokenizer, conversation[:number], prompt=True)
    after = whole if number == len(conversation) - 1 else render(tokenizer, conversation[: number + 1], prompt=False)
    if not (after.startswith(before) and whole.startswith(after)):
        raise DataError(
            f"the answers of the conversation {_start(conversation)} cannot be found: the chat template of "
            f"{tokenizer.name_or_path!r} renders message {number + 1} in another way when more follows. Mark the "
            "answers in the template with {% generation %}, or leave one answer, the last, in each conversation"
        )
    return len(before), len(after)


def render(tokenizer: Any, conversation: Sequence[Message], *, prompt: bool) -> str:
    """The text that the tokenizer's chat template makes of a conversation.

    Args:
        tokenizer: With a chat template.
        conversation: Its messages.
        prompt: Whether the beginning of an answer comes behind them.

    Raises:
        DataError: the template refuses the conversation.
    """
    with boundary(DataError, f"the chat template refuses the conversation {_start(conversation)}"):
        return str(tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=prompt))


def _start(conversation: Sequence[Message]) -> str:
    first = str(conversation[0].get("content", ""))
    return repr(first if len(first) <= 40 else f"{first[:40]}...")
