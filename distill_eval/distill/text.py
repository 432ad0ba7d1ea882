"""Documents as token ids, with a mark on every token that is to be predicted.

Shapes: M tokens of one document.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from distill_eval.distill.alignment import Theirs
from distill_eval.errors import ModelError, boundary

Ids: TypeAlias = npt.NDArray[np.uint32]
Flags: TypeAlias = npt.NDArray[np.bool_]


class Tokens(NamedTuple):
    """One document."""

    ids_M: Ids
    target_M: Flags
    """Whether a token is one to predict; the first never is, since nothing stands before it."""
    theirs: Theirs | None = None
    """The document in the tokens of a teacher with another tokenizer."""


def end_of_text(tokenizer: Any) -> int:
    """The id of the token that ends a document.

    Raises:
        ModelError: the tokenizer has none.
    """
    if tokenizer.eos_token_id is None:
        raise ModelError(
            f"the tokenizer of {tokenizer.name_or_path!r} has no EOS token, which ends every document. "
            'Add "eos_token" to its tokenizer_config.json'
        )
    return int(tokenizer.eos_token_id)


def encode_texts(tokenizer: Any, texts: list[str]) -> list[Tokens]:
    """Texts as the tokenizer encodes them, its own special tokens included, each with one EOS at its end.

    Raises:
        ModelError: the tokenizer fails, or has no EOS token.
    """
    end = end_of_text(tokenizer)
    with boundary(ModelError, f"the tokenizer of {tokenizer.name_or_path!r} cannot encode the text"):
        encoded = tokenizer(texts, return_attention_mask=False, return_token_type_ids=False, verbose=False)
    found = []
    for ids in encoded["input_ids"]:
        ids_M = np.array(ids if ids and ids[-1] == end else [*ids, end], dtype=np.uint32)
        found.append(Tokens(ids_M, np.arange(len(ids_M)) > 0))
    return found
