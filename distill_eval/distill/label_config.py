"""The options that make a classifier out of the training: which labels, and what the finished one is measured on."""

from __future__ import annotations

from distill_eval.errors import require
from distill_eval.record import record


@record
class LabelConfig:
    """Sequence classification."""

    label_column: str | None = None
    """Column of the labels (text or integers): train a classifier; an encoder without a head gets a new one."""
    test_data: str | None = None
    """Measure the finished classifiers on this (Hub data set, file or folder) instead of on the validation texts."""
    test_split: str | None = None
    """Measure them on this split (of --test-data, or of --data)."""
    measure_speed: bool = True
    """Latency and memory of the finished classifiers are measured, each in a process of its own; --no-measure-speed
    leaves that out."""

    def __post_init__(self) -> None:
        if self.label_column is None:
            for name in ("test_data", "test_split"):
                value = getattr(self, name)
                flag = f"--{name.replace('_', '-')}"
                require(value is None, f"{flag} {value}: only classifiers are tested here. Give --label-column too")
            require(self.measure_speed, "--no-measure-speed: only classifiers are measured here. Give --label-column")
        else:
            require(bool(self.label_column.strip()), "--label-column: expected a column's name, e.g. label")

    @property
    def has_test(self) -> bool:
        """Whether the figures come from texts that had no say in the training."""
        return self.test_data is not None or self.test_split is not None
