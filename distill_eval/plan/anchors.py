"""Published distillations, shipped with the package: `anchors.toml`, every one with its source."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources

from distill_eval.errors import require
from distill_eval.record import digits, from_table, record
from distill_eval.schema.plan import Anchor, Method


@record
class _Published:
    """A table of the file."""

    teacher: str
    student: str
    teacher_parameters: float
    """In millions."""
    student_parameters: float
    method: Method
    num_stages: int = 1
    tokens: float | None = None
    benchmark: str
    teacher_score: float | None = None
    student_score: float | None = None
    retention: float | None = None
    """Where the source gives no scores."""
    fine_tuned: bool = False
    source: str
    left_out: str | None = None

    def __post_init__(self) -> None:
        scores = self.teacher_score is not None and self.student_score is not None
        require(scores != (self.retention is not None), f"{self.student}: expected either both scores or the retention")

    def kept(self) -> float:
        """Student over teacher."""
        if self.retention is not None:
            return self.retention
        assert self.teacher_score is not None
        assert self.student_score is not None
        return self.student_score / self.teacher_score


@cache
def anchors() -> tuple[Anchor, ...]:
    """All of them, in the order of the file; those that the fit leaves out say why."""
    text = (resources.files("distill_eval.plan") / "anchors.toml").read_text(encoding="utf-8")
    tables = tomllib.loads(text)
    return tuple(
        _anchor(key, from_table(_Published, table, source=f"anchors.toml, {key}")) for key, table in tables.items()
    )


def _anchor(key: str, one: _Published) -> Anchor:
    compression, retention = digits(one.teacher_parameters / one.student_parameters), digits(one.kept())
    assert compression is not None
    assert retention is not None
    return Anchor(
        key=key,
        teacher=one.teacher,
        student=one.student,
        compression=compression,
        method=one.method,
        num_stages=one.num_stages,
        tokens=one.tokens,
        benchmark=one.benchmark,
        teacher_score=one.teacher_score,
        student_score=one.student_score,
        retention=retention,
        fine_tuned=one.fine_tuned,
        source=one.source,
        left_out=one.left_out,
    )
