"""Calibration text: drawn from a file or data set by a seed, as the token ids of single samples."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import torch

from distill_eval.errors import UsageError, boundary, require
from distill_eval.schema.model import ModelRef
from distill_eval.schema.student import Calibration
from distill_eval.student.config import PrepareConfig
from distill_eval.student.teacher import Kind

_BUILDERS = {".txt": "text", ".jsonl": "json", ".json": "json", ".parquet": "parquet", ".csv": "csv"}
_SHUFFLE_BUFFER = 10_000
"""Documents among which the next one is drawn: data sets are streamed, so that a large one is not downloaded whole."""


class Samples(NamedTuple):
    """What importance and loss are measured on."""

    facts: Calibration
    ids: list[torch.Tensor]
    """Token ids of each sample, int64 [T]; none is padded."""


def load_samples(config: PrepareConfig, source: str, tokenizer: Any, kind: Kind) -> Samples:
    """Draw the samples that the options ask for.

    A language model's samples are pieces of exactly `calibration_length` tokens from documents strung together with
    the end-of-text token between them; attention crosses documents. A classifier's are single documents, truncated.

    Raises:
        UsageError: the text cannot be had, has no such column, or is too short.
    """
    num, length = config.calibration_samples, config.calibration_length
    texts = _texts(config, source)
    if kind == "classifier":
        ids = [
            torch.tensor(tokenizer(text, truncation=True, max_length=length)["input_ids"])
            for text, _ in zip(texts, range(num), strict=False)
        ]
        require(
            len(ids) == num,
            f"--calibration {source} has {len(ids)} texts, fewer than --calibration-samples {num}: lower it",
        )
    else:
        ids = _pieces(texts, tokenizer, source, num, length)
    everything = torch.cat(ids)
    facts = Calibration(
        source=source,
        subset=config.calibration_subset,
        split=config.calibration_split,
        text_column=config.text_column,
        seed=config.seed,
        num_samples=len(ids),
        max_length=length,
        num_tokens=everything.numel(),
        digest=hashlib.sha256(everything.numpy().astype("<i8").tobytes()).hexdigest(),
    )
    return Samples(facts, ids)


def _pieces(texts: Iterator[str], tokenizer: Any, source: str, num: int, length: int) -> list[torch.Tensor]:
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    tokens: list[int] = []
    for text in texts:
        tokens += tokenizer(text)["input_ids"] + end
        if len(tokens) >= num * length:
            return list(torch.tensor(tokens[: num * length]).view(num, length))
    enough = len(tokens) // length
    hint = f"--calibration-samples {enough}" if enough else f"--calibration-length {max(2, len(tokens))}"
    raise UsageError(
        f"--calibration {source} has {len(tokens):,} tokens, and {num} samples of {length} need {num * length:,}: "
        f"name more text, or type {hint}"
    )


def _texts(config: PrepareConfig, source: str) -> Iterator[str]:
    """The non-empty texts in an order drawn by the seed."""
    column = config.text_column
    with boundary(UsageError, f"--calibration {source} cannot be read"):
        data = _open(config, source).shuffle(seed=config.seed, buffer_size=_SHUFFLE_BUFFER)
        for row in data:
            if column not in row:
                raise UsageError(
                    f"--calibration {source} has no column {column!r}: name one of {', '.join(row)} with --text-column"
                )
            text = row[column]
            if not isinstance(text, str):
                kind = type(text).__name__
                raise UsageError(
                    f"--calibration {source}: column {column!r} holds {kind}, expected text. Importance is measured on "
                    "plain text: name another with --calibration (in a recipe: calibration in [prepare])"
                )
            if text.strip():
                yield text


def _open(config: PrepareConfig, source: str) -> Any:
    path = Path(source).expanduser()
    if path.is_file():
        builder = _BUILDERS.get(path.suffix.lower())
        if builder is None:
            raise UsageError(f"--calibration {source}: expected a file that ends with one of {', '.join(_BUILDERS)}")
        return datasets.load_dataset(builder, data_files=str(path), split="train", streaming=True)
    if path.suffix.lower() in _BUILDERS or (source.startswith((".", "/", "~")) and not path.is_dir()):
        raise UsageError(f"--calibration {source}: no such file or folder")
    ref = ModelRef.parse(source)  # a data set is named like a model: org/name or org/name@revision
    name = str(path) if path.is_dir() else ref.name
    return datasets.load_dataset(
        name, config.calibration_subset, split=config.calibration_split, revision=ref.revision, streaming=True
    )
