"""A tokenizer that counts, without the seconds that importing transformers with torch takes where it is not needed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FILE, CONFIG = "tokenizer.json", "tokenizer_config.json"
_REBUILT = ("add_bos_token", "add_eos_token", "add_prefix_space")
"""Options of tokenizer_config.json by which transformers makes another tokenizer than the file holds."""


def load(where: str) -> Any:
    """The tokenizer of a folder, from `tokenizer.json` where that is all of it; else, and by Hub name, transformers'.

    Raises:
        Exception: whatever the libraries raise for a tokenizer that cannot be had.
    """
    folder = Path(where).expanduser()
    config = folder / CONFIG
    said = json.loads(config.read_text(encoding="utf-8")) if config.is_file() else {}
    if (folder / FILE).is_file() and not any(name in said for name in _REBUILT):
        return FileTokenizer(folder / FILE)
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(where, trust_remote_code=False)


class FileTokenizer:
    """What prompts and counts need of a tokenizer, by the names that transformers' classes have for it."""

    def __init__(self, path: Path) -> None:
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(str(path))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    @property
    def all_special_ids(self) -> list[int]:
        """Numbers of all tokens that are marked special: transformers' list has those with a role alone."""
        return [number for number, token in self._tokenizer.get_added_tokens_decoder().items() if token.special]

    def get_vocab(self) -> dict[str, int]:
        """Numbers by token, those that were added included."""
        found: dict[str, int] = self._tokenizer.get_vocab()
        return found

    def __call__(self, text: str, *, add_special_tokens: bool = True, **_: bool) -> dict[str, list[int]]:
        """The tokens of a text; it is never cut, so that there is nothing for transformers' `verbose` to say."""
        return {"input_ids": self._tokenizer.encode(text, add_special_tokens=add_special_tokens).ids}

    def decode(
        self, ids: list[int], *, skip_special_tokens: bool = False, clean_up_tokenization_spaces: bool = False
    ) -> str:
        """The text of tokens, as the tokenizer's own decoder has it: spaces are not cleaned up."""
        assert not clean_up_tokenization_spaces
        return str(self._tokenizer.decode(ids, skip_special_tokens=skip_special_tokens))
