"""Text to measure models on: drawn from a file or data set, as the token ids of single samples."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import torch

from distill_eval.errors import UsageError, boundary, require
from distill_eval.schema.calibration import Calibration
from distill_eval.schema.model import ModelRef

_BUILDERS = {".txt": "text", ".jsonl": "json", ".json": "json", ".parquet": "parquet", ".csv": "csv"}
_SHUFFLE_BUFFER = 10_000
"""Documents among which the next one is drawn: data sets are streamed, so that a large one is not downloaded whole."""


class TextSource(NamedTuple):
    """What is asked for, under the names of the options."""

    source: str
    """File, folder or Hub name, perhaps with a revision."""
    num_samples: int
    length: int
    """Tokens per sample."""
    subset: str | None = None
    split: str = "train"
    column: str = "text"
    seed: int | None = 0
    """Of the order of the documents; `None` takes them as they come."""
    option: str = "--calibration"
    """What the user typed before the source; options for number and length begin with it, too."""
    num_extra: int = 0
    """Of the samples, those that another option asks for."""

    @property
    def said(self) -> str:
        """How messages name the source."""
        return f"{self.option} {self.source}"


class Samples(NamedTuple):
    """What is measured on."""

    facts: Calibration
    ids: list[torch.Tensor]
    """Token ids of each sample, int64 [T]; none is padded."""


def draw_pieces(text: TextSource, tokenizer: Any) -> Samples:
    """Pieces of exactly `length` tokens from documents strung together with the end-of-text token between them.

    Attention crosses documents.

    Raises:
        UsageError: the text cannot be had, has no such column, or is too short.
    """
    num, length = text.num_samples, text.length
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    tokens: list[int] = []
    for document in documents(text):
        tokens += tokenizer(document)["input_ids"] + end
        if len(tokens) >= num * length:
            return samples_of(text, list(torch.tensor(tokens[: num * length]).view(num, length)))
    enough = len(tokens) // length - text.num_extra
    fitting = max(2, len(tokens) // (1 + text.num_extra))
    hint = (
        f"{text.option}-samples {enough}" if enough > 0 else f"{text.option}-samples 1 {text.option}-length {fitting}"
    )
    raise UsageError(
        f"{text.said} has {len(tokens):,} tokens, and {num} samples of {length} need {num * length:,}: "
        f"name more text, or type {hint}"
    )


def draw_documents(text: TextSource, tokenizer: Any) -> Samples:
    """Single documents, cut off at `length` tokens.

    Raises:
        UsageError: the text cannot be had, has no such column, or too few documents.
    """
    num = text.num_samples
    ids = [
        torch.tensor(tokenizer(document, truncation=True, max_length=text.length)["input_ids"])
        for document, _ in zip(documents(text), range(num), strict=False)
    ]
    require(len(ids) == num, f"{text.said} has {len(ids)} texts, fewer than {text.option}-samples {num}: lower it")
    return samples_of(text, ids)


def samples_of(text: TextSource, ids: list[torch.Tensor]) -> Samples:
    """The samples, with the facts about them."""
    everything = torch.cat(ids)
    facts = Calibration(
        source=text.source,
        subset=text.subset,
        split=text.split,
        text_column=text.column,
        seed=text.seed,
        num_samples=len(ids),
        max_length=text.length,
        num_tokens=everything.numel(),
        digest=hashlib.sha256(everything.numpy().astype("<i8").tobytes()).hexdigest(),
    )
    return Samples(facts, ids)


def documents(text: TextSource) -> Iterator[str]:
    """The non-empty texts, in an order drawn by the seed.

    Raises:
        UsageError: they cannot be had, or there is no such column of text.
    """
    with boundary(UsageError, f"{text.said} cannot be read"):
        for row in rows(text):
            if text.column not in row:
                raise UsageError(
                    f"{text.said} has no column {text.column!r}: name one of {', '.join(row)} with --text-column"
                )
            document = row[text.column]
            if not isinstance(document, str):
                kind = type(document).__name__
                recipe = " (in a recipe: calibration in [prepare])" if text.option == "--calibration" else ""
                raise UsageError(
                    f"{text.said}: column {text.column!r} holds {kind}, expected plain text: name another column "
                    f"with --text-column, or other data with {text.option}{recipe}"
                )
            if document.strip():
                yield document


def rows(text: TextSource) -> Iterator[dict[str, Any]]:
    """The rows with all of their columns, in an order drawn by the seed; what `datasets` raises is not caught here.

    Raises:
        UsageError: there is no such file or folder.
    """
    data = _open(text)
    if text.seed is not None:
        data = data.shuffle(seed=text.seed, buffer_size=_SHUFFLE_BUFFER)
    yield from data


def _open(text: TextSource) -> Any:
    path = Path(text.source).expanduser()
    if path.is_file():
        builder = _BUILDERS.get(path.suffix.lower())
        if builder is None:
            raise UsageError(f"{text.said}: expected a file that ends with one of {', '.join(_BUILDERS)}")
        return datasets.load_dataset(builder, data_files=str(path), split="train", streaming=True)
    if path.suffix.lower() in _BUILDERS or (text.source.startswith((".", "/", "~")) and not path.is_dir()):
        raise UsageError(f"{text.said}: no such file or folder")
    ref = ModelRef.parse(text.source)  # a data set is named like a model: org/name or org/name@revision
    name = str(path) if path.is_dir() else ref.name
    return datasets.load_dataset(name, text.subset, split=text.split, revision=ref.revision, streaming=True)
