"""Which texts train, which validate, and which are kept for the final figures; none is in two of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import datasets
import numpy as np

from distill_eval.distill.classifier.labeled import Labeled, read_labeled
from distill_eval.distill.data_config import DataConfig
from distill_eval.distill.label_config import LabelConfig
from distill_eval.errors import DataError, boundary, require

VALIDATION_FRACTION = 0.1
"""Held out where nothing else is said: a classifier has fewer texts than a language model has tokens."""
VALIDATION_SPLIT = "validation"


class Parts(NamedTuple):
    """All texts of a run."""

    train: Labeled
    validation: Labeled
    test: Labeled | None
    num_held_out: int
    """Texts of the training data left out, since they are held out, or are validated or tested on as well."""


def read_parts(config: DataConfig, labels: LabelConfig, seed: int) -> Parts:
    """Read everything; the same options and seed give the same texts.

    Validation is the split or data that was named; else the data set's own validation split, unless it is the test;
    else the texts with the smallest fingerprints, as for language models.

    Raises:
        UsageError: there is no such column, configuration, split or file; the data has no labels to tell apart; or too
            few texts are there to hold out as many as asked.
        DataError: data cannot be had or read, or has no text or no label.
    """
    assert labels.label_column is not None
    column = labels.label_column
    whole = read_labeled(config, column, name=config.data, part=config.data_split, limit=config.max_documents)
    whole.data_labels()
    test = None
    if labels.has_test:
        test = read_labeled(config, column, name=labels.test_data or config.data, part=labels.test_split)
    apart = set(test.fingerprints(seed)) if test else set()
    part = config.validation_split or (None if config.has_own_validation else _own_split(config, labels))
    known = whole.fingerprints(seed)
    if part is not None or config.validation_data is not None:
        name = config.validation_data or config.data
        validation = read_labeled(config, column, name=name, part=part, limit=config.validation_documents)
        require(
            test is None or validation.name != test.name,
            f"{validation.name} is named for validation and for the test: the figures would be of texts that had a say "
            "in the training. Choose another with --validation-split or --test-split, or leave --test-split out",
        )
        apart |= set(validation.fingerprints(seed))
    else:
        chosen = _smallest(whole, known, config, apart)
        held = whole.take([index for index, mark in enumerate(known) if mark in chosen])
        validation = replace(held, name=f"{len(held.texts):,} texts held out of {whole.name}")
        apart |= chosen
    kept = [index for index, mark in enumerate(known) if mark not in apart]
    require(bool(kept), f"{whole.name}: every text is validated or tested on: nothing is left to train on")
    return Parts(whole.take(kept), validation, test, len(known) - len(kept))


def _own_split(config: DataConfig, labels: LabelConfig) -> str | None:
    """The data set's own validation split, if it is free for that."""
    asked = config.validation_fraction is not None or config.validation_documents is not None
    taken = {config.data_split, labels.test_split if labels.test_data is None else None}
    if asked or Path(config.data).expanduser().exists() or VALIDATION_SPLIT in taken:
        return None
    with boundary(DataError, f"cannot read the splits of {config.data}"):
        splits = datasets.get_dataset_split_names(config.data, config.data_config)
    return VALIDATION_SPLIT if VALIDATION_SPLIT in splits else None


def _smallest(whole: Labeled, known: list[int], config: DataConfig, apart: set[int]) -> set[int]:
    """The smallest fingerprints, as many as are to be held out."""
    different = np.unique(np.array([mark for mark in known if mark not in apart], dtype=np.uint64))
    fraction = config.validation_fraction or VALIDATION_FRACTION
    count = config.validation_documents or max(1, round(fraction * len(different)))
    require(
        count < len(different),
        f"{whole.name} has {len(different):,} different texts to train on; {count:,} of them cannot be held out for "
        "validation. Give --validation-data or --validation-documents, or more texts",
    )
    return {int(mark) for mark in different[:count]}
