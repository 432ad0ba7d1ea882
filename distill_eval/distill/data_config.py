"""The options that say which text is trained on, how it is cut into rows, and what is held out for validation."""

from __future__ import annotations

from typing import Literal

from distill_eval.errors import require
from distill_eval.record import record

DEFAULT_VALIDATION_FRACTION = 0.01
Packing = Literal["isolated", "crossing", "none"]


@record
class DataConfig:
    """The text to train and to validate on."""

    data: str
    """Hub data set (org/name), or a JSONL, JSON, Parquet, CSV or text file, or a folder of such files of one kind."""
    data_config: str | None = None
    """Configuration of the Hub data set (default: its only one)."""
    data_split: str | None = None
    """Split of the Hub data set (default: train)."""
    text_column: str = "text"
    """Column of the text, or of conversations (lists of messages); `messages` is taken where the default is missing."""
    streaming: bool = False
    """Read the data while training instead of before; needs --steps."""
    max_documents: int | None = None
    """Read only the first documents."""
    max_length: int = 512
    """Tokens per row at most; longer documents are split into windows."""
    packing: Packing = "isolated"
    """isolated: documents share a row but do not see each other; crossing: they do; none: one per row, padded."""
    validation_data: str | None = None
    """Validate on this instead of on a part of --data: Hub data set, file or folder."""
    validation_split: str | None = None
    """Validate on this split (of --validation-data, or of --data)."""
    validation_fraction: float | None = None
    """Hold out this share of the documents of --data for validation (default: 0.01, of a classifier's texts 0.1)."""
    validation_documents: int | None = None
    """Hold out this many; with --validation-data or --validation-split: read at most this many."""

    def __post_init__(self) -> None:
        require(bool(self.data.strip()), "--data: expected a Hub data set, a file or a folder")
        require(self.max_length >= 2, f"--max-length {self.max_length}: expected 2 or more, e.g. 512")
        for name in ("max_documents", "validation_documents"):
            value = getattr(self, name)
            require(value is None or value >= 1, f"--{name.replace('_', '-')} {value}: expected 1 or more")
        fraction = self.validation_fraction
        require(
            fraction is None or 0 < fraction < 1,
            f"--validation-fraction {fraction}: expected a share between 0 and 1, e.g. 0.01",
        )
        require(
            fraction is None or (self.validation_documents is None and not self.has_own_validation),
            "--validation-fraction holds a part of --data out: give it, or --validation-documents, "
            "or --validation-data and --validation-split",
        )
        require(
            not self.streaming or self.has_own_validation or self.validation_documents is not None,
            "--streaming: the data has no known size, so say what to validate on: --validation-documents 200 "
            "(the first ones, kept out of training), --validation-split or --validation-data",
        )

    @property
    def has_own_validation(self) -> bool:
        """Whether validation is a file or split of its own."""
        return self.validation_data is not None or self.validation_split is not None
