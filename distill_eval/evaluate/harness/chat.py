"""Conversations to text, by the rules of `HFLM.apply_chat_template`, with the tokenizer alone."""

from __future__ import annotations

from typing import Any


class ChatRenderer:
    """What lm-eval calls to render a conversation."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def __call__(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The conversation as one text; a template that refuses system messages gets none."""
        from jinja2 import TemplateError

        try:
            return self._render(chat_history, add_generation_prompt)
        except TemplateError:
            return self._render([turn for turn in chat_history if turn["role"] != "system"], add_generation_prompt)

    def _render(self, turns: list[dict[str, str]], add_generation_prompt: bool) -> str:
        text: str = self._tokenizer.apply_chat_template(
            turns,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
        )
        return text
