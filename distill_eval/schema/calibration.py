"""The text on which a model was measured or calibrated."""

from __future__ import annotations

from distill_eval.record import record


@record
class Calibration:
    """The text that something was measured on."""

    source: str
    """File, folder or Hub name, as the user named it."""
    subset: str | None
    split: str
    text_column: str
    seed: int | None
    """Of the order in which documents were drawn; `None`: as they come."""
    num_samples: int
    max_length: int
    """Tokens per sample; a language model's samples are exactly as long, a classifier's at most."""
    num_tokens: int
    digest: str
    """SHA-256 of all token ids, as little-endian int64."""
