"""What `distill-eval compare` is asked: the models, the tasks and the criterion."""

from __future__ import annotations

import math
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, cast, get_args

from distill_eval.engine import EngineChoice
from distill_eval.errors import require, unknown
from distill_eval.evaluate.options import EvaluateOptions
from distill_eval.gate.options import CiOptions, GateOptions
from distill_eval.record import record
from distill_eval.schema.model import ModelRef
from distill_eval.schema.retention import DEFAULT_LEVEL, DEFAULT_MIN_RETENTION

if TYPE_CHECKING:
    from distill_eval.schema.retention import Criterion

NONE = "none"
"""Stands in --baseline for a student that has none."""


@record
class CompareConfig:
    """What a student kept of its teacher, task by task, and whether the loss is real."""

    teacher: str
    """Hub name, NAME@REVISION, or a folder."""
    student: tuple[str, ...]
    """One or more students, comma-separated; they share one evaluation of the teacher."""
    baseline: tuple[str, ...] = ()
    """Students trained without a teacher (distill --baseline): one for all, or one per student in order (or `none`)."""
    engine: tuple[str, ...] = ("auto",)
    """What runs the students (and their baselines): hf, onnx, vllm, or auto for each folder's own; one for all, or one
    per student in order."""
    teacher_engine: EngineChoice = "auto"
    """What runs the teacher."""
    parity: bool = True
    """Run the unquantized model on the engine of a student that transformers does not run, to tell apart what the
    engine and what the quantization cost."""
    parity_docs: int = 100
    """Documents per task for that."""
    parity_model: tuple[str, ...] = ()
    """Unquantized models for that where a student's folder does not name its own, and for ONNX fp32 exports: of each
    kind one for all, or one per student in order."""
    evaluation: EvaluateOptions
    min_retention: float | None = None
    """A task passes when student - min_retention * teacher is above 0, interval included (default: 0.95)."""
    margin: float | None = None
    """Instead: a task passes when student - teacher + margin is above 0, in the metric's own unit."""
    level: float = DEFAULT_LEVEL
    """Level of all confidence intervals."""
    adaptive: bool = False
    """Take documents in a random order (by --seed), block by block, and stop on each task when every student has its
    verdict; intervals then hold at whichever look they are read. For metrics that score documents from 0 to 1."""
    rules: GateOptions = GateOptions()
    gate: bool = False
    """Exit with 0 when every student passes, 3 when one fails, 4 when one is inconclusive."""
    ci: CiOptions = CiOptions()
    output_dir: Path = field(default_factory=lambda: Path("retention"))
    """Where retention.json, samples-*.jsonl and report.md go."""

    def __post_init__(self) -> None:
        require(
            bool(self.student) and all(self.student),
            "--student: expected one or more models, e.g. --student org/a,org/b",
        )
        require(
            all(self.baseline),
            f"--baseline {','.join(self.baseline)!r}: a name is empty; write {NONE} for a student without a baseline",
        )
        require(
            len(self.baseline) in (0, 1, len(self.student)),
            f"--baseline names {len(self.baseline)} models and --student {len(self.student)}: expected one for all "
            f"students, or one for each in the same order; write {NONE} for a student without one",
        )
        for engine in self.engine:
            if engine not in get_args(EngineChoice):
                unknown("--engine", engine, get_args(EngineChoice))
        require(
            len(self.engine) in (1, len(self.student)),
            f"--engine names {len(self.engine)} engines and --student {len(self.student)} models: expected one for "
            "all, or one for each in the same order; auto is a folder's own",
        )
        require(self.parity_docs >= 1, f"--parity-docs {self.parity_docs}: expected 1 or more")
        require(self.parity or not self.parity_model, "--parity-model: --no-parity does not use one; leave one out")
        require(0 < self.level < 1, f"--level {self.level:g}: expected a number between 0 and 1, e.g. 0.95")
        both = self.min_retention is not None and self.margin is not None
        require(not both, "--margin and --min-retention are two ways to say the same: give one of them")
        r, m = self.min_retention, self.margin
        require(r is None or 0 < r <= 1, f"--min-retention {r}: expected a share between 0 and 1, e.g. 0.95")
        require(
            m is None or 0 <= m < math.inf, f"--margin {m}: expected 0 or more, e.g. 0.02 for two points of accuracy"
        )
        require(
            not self.adaptive or set(self.baseline) <= {NONE},
            f"--baseline {','.join(self.baseline)}: --adaptive stops when the verdict against the teacher holds, which "
            "says nothing of a baseline. Leave one of them out",
        )
        self.rules.check("compare")

    @property
    def students(self) -> dict[ModelRef, ModelRef | None]:
        """Each student once, in order, with its baseline; one that is the only baseline given has none itself.

        Raises:
            UsageError: a name is not a model's, or a student is named twice with different baselines.
        """
        students = [ModelRef.parse(text) for text in self.student]
        baselines = [None if text == NONE else ModelRef.parse(text) for text in self.baseline or (NONE,)]
        if len(baselines) < len(students):
            baselines = [None if student == baselines[0] else baselines[0] for student in students]
        pairs: dict[ModelRef, ModelRef | None] = {}
        for student, baseline in zip(students, baselines, strict=True):
            require(
                pairs.setdefault(student, baseline) == baseline,
                f"--student names {student} twice, with the baselines {pairs[student] or NONE} and {baseline or NONE}: "
                "expected one",
            )
        return pairs

    @property
    def engines(self) -> dict[ModelRef, EngineChoice]:
        """What runs each student, and each baseline: the same as its first student, where it can.

        Raises:
            UsageError: a student is named twice with different engines.
        """
        engines = self.engine * len(self.student) if len(self.engine) == 1 else self.engine
        found: dict[ModelRef, EngineChoice] = {}
        for text, engine in zip(self.student, engines, strict=True):
            require(
                found.setdefault(ModelRef.parse(text), cast("EngineChoice", engine)) == engine,
                f"--student names {text} twice, for the engines {found[ModelRef.parse(text)]} and {engine}: expected "
                "one; compare twice to see both",
            )
        for student, baseline in self.students.items():
            if baseline is not None and found[student] != "onnx":
                found.setdefault(baseline, found[student])
        return found

    @property
    def criterion(self) -> Criterion:
        """The criterion in force, defaults filled in."""
        from distill_eval.schema.retention import Criterion

        share = self.min_retention
        if share is None and self.margin is None:
            share = DEFAULT_MIN_RETENTION
        return Criterion(min_retention=share, margin=self.margin, level=self.level)
