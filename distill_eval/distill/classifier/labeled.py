"""Texts with their labels, read from a data set: what cannot be used is left out and counted, or refused."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import datasets

from distill_eval.distill.classifier.labels import DataLabels
from distill_eval.distill.data_config import DataConfig
from distill_eval.distill.documents import fingerprint, load_rows, require_column
from distill_eval.errors import DataError, UsageError, boundary, require

MISSING = -1
"""What `datasets` has for a label that is kept secret, as in the test splits of GLUE."""


@dataclass(frozen=True)
class Labeled:
    """Texts and the names of their labels, in the order of the data."""

    name: str
    """As the user named the data, for messages."""
    texts: list[str]
    labels: list[str]
    declared: tuple[str, ...] | None
    """All labels in the data set's own order, where it declares them."""
    has_integers: bool
    num_empty: int
    """Rows left out for want of text."""
    num_unlabeled: int
    """And for want of a label."""

    def data_labels(self) -> DataLabels:
        """The labels to learn.

        Raises:
            UsageError: there is one alone, or nearly every text has one of its own.
        """
        seen = set(self.labels)
        require(
            len(seen) > 1,
            f"{self.name}: every text has the label {next(iter(seen))!r}: there is nothing to tell apart. "
            "Choose another column with --label-column, or other data",
        )
        require(
            2 * len(seen) <= len(self.labels) or self.declared is not None,
            f"{self.name}: {len(self.labels):,} texts have {len(seen):,} different labels, e.g. {min(seen)!r}: "
            "expected a few labels that many texts share. Choose another column with --label-column",
        )
        if self.declared is not None:
            return DataLabels(self.declared, "declared")
        if self.has_integers:
            return DataLabels(tuple(sorted(seen, key=int)), "integers")
        return DataLabels(tuple(sorted(seen)), "text")

    def fingerprints(self, seed: int) -> list[int]:
        """Of each text."""
        return [fingerprint(text, seed) for text in self.texts]

    def take(self, indices: Sequence[int]) -> Labeled:
        """These rows."""
        return Labeled(
            self.name,
            [self.texts[index] for index in indices],
            [self.labels[index] for index in indices],
            self.declared,
            self.has_integers,
            self.num_empty,
            self.num_unlabeled,
        )


def read_labeled(
    config: DataConfig, label_column: str, *, name: str, part: str | None, limit: int | None = None
) -> Labeled:
    """Read one data set, or one split of it.

    Args:
        config: Names the text's column, and the configuration of --data.
        label_column: The label's.
        name: Hub data set, file or folder.
        part: Split on the Hub.
        limit: Rows to read at most.

    Raises:
        UsageError: there is no such column, configuration, split or file; labels are neither text nor integers.
        DataError: the data cannot be had or read, or no row has text and label.
    """
    rows = load_rows(name, config.data_config if name == config.data else None, part, streaming=False)
    title = f"{name} ({part})" if part else name
    for column, flag in ((config.text_column, "--text-column"), (label_column, "--label-column")):
        require_column(list(rows.column_names), title, column, flag)
    require(config.text_column != label_column, f"--label-column {label_column}: it is the text's column too")
    if limit is not None:
        rows = rows.select(range(min(limit, len(rows))))
    with boundary(DataError, f"cannot read {title}"):
        texts, labels = list(rows[config.text_column]), list(rows[label_column])
    declared, has_integers = _kind(rows.features[label_column], labels, title, label_column)
    wrong = next((text for text in texts if not isinstance(text, str | None)), None)
    require(
        wrong is None,
        f"{title}: column {config.text_column!r} holds a {type(wrong).__name__}, expected text. Choose another with "
        "--text-column",
    )
    named = [_label_name(label, declared) for label in labels]
    kept = [index for index, text in enumerate(texts) if (text or "").strip() and named[index] is not None]
    num_empty = sum(not (text or "").strip() for text in texts)
    if not kept:
        raise DataError(_nothing(title, len(texts), num_empty, label_column))
    return Labeled(
        title,
        [texts[index] for index in kept],
        [str(named[index]) for index in kept],
        declared,
        has_integers,
        num_empty,
        len(texts) - num_empty - len(kept),
    )


def _nothing(title: str, num_rows: int, num_empty: int, label_column: str) -> str:
    if num_empty == num_rows:
        return f"{title} has no text: every value of its text column is empty. Name another with --text-column"
    return (
        f"{title} has no labels: every value of its column {label_column!r} is missing (-1 or null), as in test splits "
        "whose labels are kept secret. Name another split, or another column with --label-column"
    )


def _kind(feature: Any, labels: list[Any], title: str, label_column: str) -> tuple[tuple[str, ...] | None, bool]:
    """The labels that the data set declares, and whether others are integers.

    Raises:
        UsageError: the column holds something else than labels.
    """
    if isinstance(feature, datasets.ClassLabel):
        return tuple(feature.names), False
    dtype = str(getattr(feature, "dtype", type(feature).__name__))
    # A CSV file's integers with gaps come as floats.
    whole = dtype.startswith("float") and all(
        label is None or math.isnan(label) or label == int(label) for label in labels
    )
    has_integers = whole or dtype.startswith(("int", "uint"))
    if not (has_integers or dtype in ("string", "large_string", "bool", "null")):
        raise UsageError(
            f"{title}: column {label_column!r} holds {dtype}, expected one label per text, as text or integer. "
            "Choose another with --label-column"
        )
    return None, has_integers


def _label_name(label: Any, declared: tuple[str, ...] | None) -> str | None:
    """`None` for a label that is missing."""
    if label is None or (isinstance(label, float) and math.isnan(label)) or (declared is not None and label == MISSING):
        return None
    if declared is not None:
        return declared[int(label)]
    return str(int(label) if isinstance(label, float) else label).strip() or None
