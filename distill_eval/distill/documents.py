"""Documents of a data set: read in their order, known by their content, split into training and validation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import datasets
import numpy as np

from distill_eval.distill.data_config import DEFAULT_VALIDATION_FRACTION, DataConfig
from distill_eval.errors import DataError, UsageError, boundary, nearest, require

FORMATS = {".jsonl": "json", ".json": "json", ".parquet": "parquet", ".csv": "csv", ".txt": "text"}
CONVERSATIONS = "messages"
"""The usual name of a column of conversations."""
BATCH = 1000
"""Documents that are read and tokenized in one go."""

_EMPTY = ("corresponds to no data", "BatchSize must be greater than 0")
"""How `datasets` says that a CSV or Parquet file has no rows."""

Message: TypeAlias = dict[str, Any]
Document: TypeAlias = "str | list[Message]"


class Documents(NamedTuple):
    """One column of one data set; iterating twice gives the same documents."""

    rows: Any
    """A `datasets.Dataset` or `datasets.IterableDataset`."""
    column: str
    name: str
    """As the user named it, for messages."""

    def batches(self) -> Iterator[list[Document]]:
        """The documents that hold anything, in order, by up to `BATCH`.

        Raises:
            DataError: a value is neither text nor a conversation, or the data cannot be read.
        """
        for batch in self.rows_in_batches():
            yield [document for document in batch if document]

    def rows_in_batches(self) -> Iterator[list[Document]]:
        """As `batches`, with an empty document for each row that holds nothing."""
        rows = iter(self.rows.iter(batch_size=BATCH))
        while True:
            with boundary(DataError, f"cannot read {self.name}"):
                batch = next(rows, None)
            if batch is None:
                return
            yield [self._document(value) for value in batch[self.column]]

    def first(self) -> Document:
        """The first document that holds anything.

        Raises:
            DataError: there is none.
        """
        for batch in self.batches():
            for document in batch:
                return document
        raise DataError(
            f"{self.name} has no text: every value of its column {self.column!r} is empty. "
            "Name another column with --text-column"
        )

    def _document(self, value: Any) -> Document:
        if value is None or isinstance(value, str):
            return (value or "") if (value or "").strip() else ""
        if isinstance(value, list) and all(isinstance(message, dict) and "role" in message for message in value):
            return [{key: entry for key, entry in message.items() if entry is not None} for message in value]
        raise DataError(
            f"{self.name}: column {self.column!r} holds a {type(value).__name__}; expected text, or a conversation: "
            "a list of messages with role and content. Name another column with --text-column"
        )


class Split(NamedTuple):
    """What is trained on and what is kept out of training."""

    train: Documents
    validation: Documents
    held_out: Callable[[int], bool]
    """Whether a fingerprint belongs to a validation document."""
    own_validation: bool
    """Whether validation is a file or split of its own, used whole."""
    seed: int


def fingerprint(document: Document, seed: int) -> int:
    """64 bits of a document's content and the seed: documents with equal content are one document here."""
    text = document if isinstance(document, str) else json.dumps(document, sort_keys=True, ensure_ascii=False)
    content = f"{seed}\n{text}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big")


def open_documents(config: DataConfig) -> Documents:
    """The training documents, those that will be held out included.

    Raises:
        UsageError: there is no such column, configuration or file.
        DataError: the data set cannot be had, or is empty.
    """
    rows = load_rows(config.data, config.data_config, config.data_split, config.streaming)
    if config.max_documents is not None:
        rows = (
            rows.take(config.max_documents)
            if config.streaming
            else rows.select(range(min(config.max_documents, len(rows))))
        )
    return _column(rows, config.data, config.text_column)


def split(train: Documents, config: DataConfig, seed: int) -> Split:
    """Choose the validation documents; no document with the content of one of them is trained on.

    Held out are the documents with the smallest fingerprints, so that the choice depends on content and seed but
    not on the order, and equal documents fall on the same side. While streaming, they are the first ones.

    Raises:
        UsageError: as `open_documents`; or too few documents are there to hold out as many as asked.
        DataError: the validation data cannot be had, is empty, or has no text.
    """
    if config.has_own_validation:
        validation = _own_validation(config)
        return Split(train, validation, _known(validation, seed), True, seed)
    if config.streaming:
        validation = train._replace(rows=train.rows.take(config.validation_documents))
        return Split(train, validation, _known(validation, seed), True, seed)
    limit = _threshold(train, config, seed)
    return Split(train, train, lambda known: known <= limit, False, seed)


def training_batches(parts: Split) -> Iterator[tuple[list[Document], int]]:
    """Batches of training documents, each with the number of documents that were kept out of it."""
    for batch in parts.train.batches():
        kept = [document for document in batch if not parts.held_out(fingerprint(document, parts.seed))]
        yield kept, len(batch) - len(kept)


def validation_batches(parts: Split) -> Iterator[list[Document]]:
    """Batches of validation documents."""
    for batch in parts.validation.batches():
        yield [
            document for document in batch if parts.own_validation or parts.held_out(fingerprint(document, parts.seed))
        ]


def _own_validation(config: DataConfig) -> Documents:
    name = config.validation_data or config.data
    configuration = None if config.validation_data else config.data_config
    rows = load_rows(name, configuration, config.validation_split, streaming=False)
    if config.validation_documents is not None:
        rows = rows.select(range(min(config.validation_documents, len(rows))))
    return _column(rows, name, config.text_column)


def _known(validation: Documents, seed: int) -> Callable[[int], bool]:
    validation.first()
    return {fingerprint(document, seed) for batch in validation.batches() for document in batch}.__contains__


def _threshold(train: Documents, config: DataConfig, seed: int) -> int:
    """The largest fingerprint that is held out."""
    known = np.array([fingerprint(document, seed) for batch in train.batches() for document in batch], dtype=np.uint64)
    different = np.unique(known)
    fraction = config.validation_fraction or DEFAULT_VALIDATION_FRACTION
    count = config.validation_documents or max(1, round(fraction * len(different)))
    require(
        count < len(different),
        f"{train.name} has {len(different):,} different documents with text; {count:,} of them cannot be held out for "
        "validation. Give --validation-data or --validation-documents, or more documents (a text file is one)",
    )
    return int(different[count - 1])


def load_rows(name: str, configuration: str | None, part: str | None, streaming: bool) -> Any:
    """A `datasets` data set from the Hub (by default its split `train`), a file or a folder.

    Raises:
        UsageError: there is no such configuration, split or file; or a file was given either.
        DataError: the data set cannot be had, or is empty.
    """
    path = Path(name).expanduser()
    if path.exists():
        require(
            configuration is None and part is None,
            f"{name} is a local {'folder' if path.is_dir() else 'file'}: it has no configurations or splits. "
            "Leave --data-config, --data-split and --validation-split out; --validation-data names another file",
        )
        return _from_files(path, streaming)
    looks_local = name.startswith((".", "/", "~")) or path.suffix in FORMATS or name.count("/") > 1
    require(not looks_local, f"--data {name}: no such file or folder")
    return _from_hub(name, configuration, part or "train", streaming)


def _from_files(path: Path, streaming: bool) -> Any:
    format_, files = _files(path)
    if not any(file.stat().st_size for file in files):
        raise DataError(f"cannot read {path} as {format_}: it is empty, it has no documents")
    options = {"sample_by": "document"} if format_ == "text" else {}
    names = [str(file) for file in files]
    with _loading(f"cannot read {path} as {format_}"):
        return datasets.load_dataset(format_, data_files=names, split="train", streaming=streaming, **options)


def _from_hub(name: str, configuration: str | None, part: str, streaming: bool) -> Any:
    with _loading(f"cannot load the data set {name!r} from the Hub"):
        try:
            return datasets.load_dataset(name, configuration, split=part, streaming=streaming)
        except datasets.exceptions.DatasetNotFoundError as error:
            raise DataError(
                f"{name!r} is neither a file, a folder nor a data set on the Hub: check the spelling "
                "(ORGANIZATION/NAME); for a private or gated one type `hf auth login`"
            ) from error
        except ValueError as error:  # an unknown split, or a configuration that is unknown or must be chosen
            reason = " ".join(str(error).split())
            raise UsageError(f"data set {name!r}: {reason} (--data-config, --data-split)") from error


@contextmanager
def _loading(what: str) -> Iterator[None]:
    """As `boundary`; where `datasets` only says that an error occurred, the error that occurred is named."""
    with boundary(DataError, what):
        try:
            yield
        except UsageError:  # a ValueError too
            raise
        except (datasets.exceptions.DatasetGenerationError, ValueError) as error:
            reason = str(error.__cause__ or error).partition("\n")[0]
            if any(sign in reason for sign in _EMPTY):
                reason = "it is empty, it has no documents"
            raise DataError(f"{what}: {reason}") from error


def _files(path: Path) -> tuple[str, list[Path]]:
    """The loader's name and the files, sorted by their paths."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.suffix in FORMATS)
    formats = sorted({FORMATS.get(file.suffix, file.suffix or "nothing") for file in files})
    known = ", ".join(FORMATS)
    require(bool(files), f"{path} has no data files: expected some that end in {known}")
    require(len(formats) == 1, f"{path} holds files of several kinds ({', '.join(formats)}): name one kind, or a file")
    require(formats[0] in FORMATS.values(), f"{path}: expected a file that ends in {known}")
    return formats[0], files


def _column(rows: Any, name: str, column: str) -> Documents:
    with boundary(DataError, f"cannot read {name}"):
        first = next(iter(rows), None)
    if first is None:
        raise DataError(f"cannot read {name}: it is empty, it has no documents")
    names = list(first)
    if column not in names and column == "text" and CONVERSATIONS in names:
        column = CONVERSATIONS
    require_column(names, name, column, "--text-column")
    return Documents(rows.select_columns([column]), column, name)


def require_column(names: list[str], name: str, column: str, flag: str) -> None:
    """Refuse a column that the data set `name` does not have, with those that it has.

    Raises:
        UsageError: it is not one of `names`.
    """
    if column not in names:
        guesses = nearest(column, names)
        hint = f" Did you mean {' or '.join(repr(guess) for guess in guesses)}?" if guesses else ""
        raise UsageError(f"{name} has no column {column!r}.{hint} Its columns: {', '.join(names)}. Choose with {flag}")
