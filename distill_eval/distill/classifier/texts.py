"""Texts with labels as rows of tokens, one text per row, cut to a length, and batches padded to their longest row.

Shapes: B texts, T positions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from distill_eval.errors import ModelError, boundary

Row: TypeAlias = dict[str, Tensor]
_OFFSET_POSITIONS = ("roberta", "camembert", "mpnet")
"""Families (in `model_type`) whose positions are counted from behind the padding id."""


def longest_row(wanted: int, tokenizer: Any, configs: Sequence[Any]) -> int:
    """Tokens per text at most: as many as wanted, and as tokenizer and models can take.

    Args:
        wanted: --max-length.
        tokenizer: Of all models.
        configs: Of all models.
    """
    limits = [wanted, int(tokenizer.model_max_length)]
    for config in configs:
        positions = getattr(config, "max_position_embeddings", None)
        if positions is not None:
            offset = any(family in config.model_type for family in _OFFSET_POSITIONS)
            limits.append(positions - (config.pad_token_id + 1 if offset else 0))
    return min(limits)


class TextRows(Dataset[Row]):
    """Encoded texts and their label numbers."""

    def __init__(self, texts: list[str], labels: list[int], tokenizer: Any, max_length: int) -> None:
        """Encode the texts.

        Args:
            texts: None of them empty.
            labels: Of each.
            tokenizer: Its special tokens are added, as for a request.
            max_length: Tokens per text, special ones included; a longer text loses its end.

        Raises:
            ModelError: the tokenizer fails.
        """
        with boundary(ModelError, f"the tokenizer of {tokenizer.name_or_path!r} cannot encode the texts"):
            ids: list[list[int]] = tokenizer(texts, return_attention_mask=False, verbose=False)["input_ids"]
            long = [index for index, row in enumerate(ids) if len(row) > max_length]
            cut = [texts[index] for index in long]
            shorter = tokenizer(cut, truncation=True, max_length=max_length)["input_ids"] if cut else []
        for index, row in zip(long, shorter, strict=True):
            ids[index] = row
        self._ids = [np.array(row, dtype=np.int32) for row in ids]
        self.labels = labels
        self.num_truncated = len(long)
        self._max_length = max_length

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: int) -> Row:
        ids = torch.from_numpy(self._ids[index].astype(np.int64))
        return {"input_ids": ids, "label": torch.tensor(self.labels[index])}

    @property
    def num_tokens(self) -> int:
        """In all rows."""
        return sum(map(len, self._ids))

    @cached_property
    def digest(self) -> str:
        """SHA-256 over all rows and labels."""
        sha = hashlib.sha256(f"labeled texts 1, {self._max_length}\n".encode())
        for ids, label in zip(self._ids, self.labels, strict=True):
            sha.update(np.array([label, len(ids)], dtype="<i8").tobytes() + ids.astype("<i4").tobytes())
        return sha.hexdigest()


@dataclass(frozen=True)
class TextCollator:
    """Rows to a batch, padded on the right to the longest row."""

    pad_id: int

    def __call__(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        """A batch of `input_ids` and `attention_mask` [B, T], and of labels as `shift_labels` [B]."""
        sizes_B = torch.tensor([len(row["input_ids"]) for row in rows])
        input_ids_BT = pad_sequence([row["input_ids"] for row in rows], batch_first=True, padding_value=self.pad_id)
        return {
            "input_ids": input_ids_BT,
            "attention_mask": (torch.arange(input_ids_BT.shape[1]) < sizes_B[:, None]).long(),
            "shift_labels": torch.stack([row["label"] for row in rows]),
        }
