"""The command line of `distill-eval plan`."""

from __future__ import annotations

import math
from dataclasses import field
from pathlib import Path
from typing import Literal

from distill_eval.errors import require
from distill_eval.record import record
from distill_eval.schema.model import ModelRef
from distill_eval.schema.plan import Method
from distill_eval.student.sizes import parse_size

TeacherSource = Literal["bf16", "int8", "int4", "cached"]
LOADED_AS: dict[TeacherSource, str] = {"bf16": "bfloat16", "int8": "int8", "int4": "nf4"}
"""What `distill --teacher-dtype` calls a live one."""


@record
class TrainingPlan:
    """The training that is planned."""

    tokens: str | None = None
    """Training tokens, e.g. 2B (default: what the classic rule asks for)."""
    batch_size: int = 8
    """Sequences at once, on one device."""
    max_length: int = 1024
    """Tokens of a sequence."""
    dtype: Literal["float32", "bfloat16"] | None = None
    """What the student computes in, as distill --dtype (default: bfloat16 on a GPU, float32 on a processor)."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass."""
    chunked_loss: bool = True
    """As distill does it: never all logits at once; --no-chunked-loss shows what the textbook's loss takes."""
    teacher_source: TeacherSource = "bf16"
    """The teacher lives beside the student in bf16, int8 or int4 (nf4), or its answers are cached on disk before."""
    utilisation: float | None = None
    """Share of the hardware's peak that a training reaches (default: what --calibrate measured, else 0.35 on a GPU)."""
    calibrate: bool = False
    """Measure it here, with a short real training of the proposed student's shape."""

    def __post_init__(self) -> None:
        if self.tokens is not None:
            parse_size(self.tokens, option="--tokens", what="tokens")
        require(self.batch_size >= 1, f"--batch-size {self.batch_size}: expected 1 or more")
        require(self.max_length >= 2, f"--max-length {self.max_length}: expected 2 or more")
        share = self.utilisation
        require(
            share is None or 0 < share <= 1, f"--utilisation {share}: expected a share above 0, at most 1, e.g. 0.35"
        )
        both = share is not None and self.calibrate
        require(not both, "--utilisation and --calibrate are two ways to know the same: give one of them")


@record
class HardwarePlan:
    """What is computed on."""

    hardware: str | None = None
    """E.g. 8xA100-80GB, L4 or cpu (default: this machine); `distill-eval plan --hardware list` shows the table."""
    flops: float | None = None
    """Dense TFLOP/s of one device in the dtype that is trained in, for hardware that the table does not have."""
    bandwidth: float | None = None
    """GB/s from the memory of one device, likewise."""
    memory: float | None = None
    """GB of one device, likewise."""
    price_per_hour: float | None = None
    """US dollars per hour for all devices together; no price is assumed."""

    def __post_init__(self) -> None:
        for option in ("flops", "bandwidth", "memory", "price_per_hour"):
            value = getattr(self, option)
            known = value is None or 0 < value < math.inf
            require(known, f"--{option.replace('_', '-')} {value}: expected a number above 0, e.g. 80")


@record
class ServingLoad:
    """The requests that teacher and student will serve."""

    input_len: int = 512
    """Tokens of a prompt."""
    output_len: int = 128
    """Tokens of an answer."""
    concurrency: tuple[int, ...] = (1, 16)
    """Requests at once, comma-separated."""

    def __post_init__(self) -> None:
        require(self.input_len >= 1, f"--input-len {self.input_len}: expected 1 or more")
        require(
            self.output_len >= 2, f"--output-len {self.output_len}: expected 2 or more, since TPOT is of the second on"
        )
        require(
            bool(self.concurrency) and all(one >= 1 for one in self.concurrency),
            f"--concurrency {','.join(map(str, self.concurrency))}: expected numbers of requests, e.g. 1,16",
        )


@record
class PlanConfig:
    """What a student of a given size will keep, cost and need, before anything is run."""

    teacher: str = ""
    """Hub name, NAME@REVISION, or a folder; only its config is read. May be left out with --hardware list alone."""
    ratio: float | None = None
    """Parameters of the teacher over those of the student, e.g. 4."""
    target_params: str | None = None
    """Parameters of the student instead, e.g. 1.5B."""
    method: Method = "logit"
    """logit, feature, attention, response, or progressive (by way of an assistant)."""
    training: TrainingPlan = TrainingPlan()
    hardware: HardwarePlan = HardwarePlan()
    serving: ServingLoad = ServingLoad()
    tasks: tuple[str, ...] = ()
    """Tasks that will be compared, comma-separated: documents, tokens, time, and the smallest drop that can be told."""
    limit: float | None = None
    """Documents per task: a count, or a fraction below 1; by default all."""
    detect: float | None = None
    """The drop that must be told, e.g. 0.01: says the --limit that each task needs."""
    include_path: Path | None = None
    """A folder with task files of your own."""
    runs: tuple[Path, ...] = ()
    """Folders of your finished runs, comma-separated, to which the classic rule's lambda is fitted (default: the
    comparisons below this folder)."""
    output_dir: Path = field(default_factory=lambda: Path("plan"))
    """Folder for plan.json, plan.md and its chart."""
    write_recipe: Path | None = None
    """Write the plan as a recipe, ready for `distill-eval run` but for its data."""

    def __post_init__(self) -> None:
        if self.lists_hardware:
            return
        require(bool(self.teacher), "plan: which teacher? Type --teacher MODEL, a Hub name or a folder")
        ModelRef.parse(self.teacher)
        given = (self.ratio is not None) + (self.target_params is not None)
        require(given == 1, "plan: say how small the student is: either --ratio 4 or --target-params 1.5B")
        if self.target_params is not None:
            parse_size(self.target_params)
        r = self.ratio
        share = f"; for a share of {r} type --ratio {1 / r:.3g}" if r is not None and 0 < r < 1 else ", e.g. 4"
        require(
            r is None or 1 <= r < math.inf,
            f"--ratio {r}: expected 1 or more, the teacher's parameters over the student's{share}",
        )
        limit = self.limit
        require(
            limit is None or (1 <= limit < math.inf and limit == int(limit)) or 0 < limit < 1,
            f"--limit {limit}: expected a number of documents, or a fraction between 0 and 1",
        )
        require(self.detect is None or 0 < self.detect < 1, f"--detect {self.detect}: expected a drop, e.g. 0.01")
        told = self.limit is None and self.detect is None
        require(bool(self.tasks) or told, "--limit and --detect are about tasks: name some with --tasks")

    @property
    def lists_hardware(self) -> bool:
        """Whether nothing is planned, and the table of hardware is shown."""
        return self.hardware.hardware == "list"
