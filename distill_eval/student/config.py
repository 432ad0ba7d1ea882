"""The command line of `distill-eval prepare`."""

from __future__ import annotations

from pathlib import Path

from distill_eval.record import record
from distill_eval.schema.model import ModelRef
from distill_eval.student.layers import check_syntax


@record
class PrepareConfig:
    """Make a student from a teacher by dropping decoder layers."""

    teacher: str
    """Hub name (org/name or org/name@revision) or folder of a causal language model with safetensors weights."""
    keep_layers: str
    """Decoder layers to keep, from 0, in ascending order: numbers, ranges and slices, e.g. 0,1,2,5-9 or ::2."""
    output_dir: Path
    """Folder to write the student to; it must not exist, or be empty."""

    def __post_init__(self) -> None:
        ModelRef.parse(self.teacher)
        check_syntax(self.keep_layers)
