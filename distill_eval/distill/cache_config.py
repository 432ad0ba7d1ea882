"""The command line of `distill-eval cache-teacher`."""

from __future__ import annotations

import math
from dataclasses import field
from pathlib import Path
from typing import Literal

from distill_eval.distill.data_config import DataConfig
from distill_eval.distill.layer_map import check_syntax
from distill_eval.errors import require
from distill_eval.record import record
from distill_eval.schema.model import ModelRef


@record
class CacheTeacherConfig:
    """Keep what a teacher says about a data set, so that students train without it."""

    teacher: str
    """Hub name or folder of the teacher."""
    student: str
    """A student that will train on it: its tokenizer cuts the rows, its vocabulary is kept, its layers are mapped."""
    data: DataConfig
    kind: Literal["sample", "top_k", "hidden"] = "sample"
    """sample: ids drawn from the teacher, unbiased; top_k: the most likely ids; hidden: hidden states and no ids."""
    num_kept: int | None = None
    """Ids per token (default: as many as 128 bytes hold)."""
    layer_map: str | None = None
    """Keep also the hidden states that --feature-weight compares by this map (default: none; with hidden: uniform)."""
    kept_dtype: Literal["float16", "bfloat16"] = "float16"
    """Of the numbers on disk; bfloat16 for hidden states beyond 65,504."""
    temperature: float = 2.0
    """Softens the teacher; `distill` must use the same."""
    teacher_dtype: Literal["auto", "float32", "bfloat16", "float16", "int8", "nf4"] = "auto"
    """What the teacher computes in; int8 and nf4 need bitsandbytes."""
    batch_size: int = 8
    """Rows per forward pass."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the teacher runs; auto takes CUDA where there is one."""
    seed: int = 1234
    """As for `distill`: it chooses the documents that are held out, and the draws."""
    output_dir: Path = field(default_factory=lambda: Path("teacher-cache"))
    """Where the rows go; an interrupted run goes on with the same command."""

    def __post_init__(self) -> None:
        ModelRef.parse(self.teacher)
        ModelRef.parse(self.student)
        require(
            self.num_kept is None or self.kind != "hidden",
            f"--num-kept {self.num_kept}: --kind hidden keeps no ids. Type --kind sample with --layer-map for both",
        )
        if self.mapped is not None:
            check_syntax(self.mapped)
        require(
            0 < self.temperature < math.inf, f"--temperature {self.temperature:g}: expected a number above 0, e.g. 2"
        )
        require(self.batch_size >= 1, f"--batch-size {self.batch_size}: expected 1 or more")
        require(not self.data.streaming, "--streaming: the rows of a cached teacher are numbered, so leave it out")

    @property
    def mapped(self) -> str | None:
        """The map whose layers are kept; `None`: no hidden states."""
        return "uniform" if self.layer_map is None and self.kind == "hidden" else self.layer_map
