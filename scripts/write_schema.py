"""Writes docs/schema/*.json: the JSON Schema of every artifact that distill-eval leaves for others to read.

python scripts/write_schema.py

tests/contract/test_schema.py fails when the stored files are not what this writes.
"""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import TypeAdapter

from distill_eval.schema.answers import AnswersRun
from distill_eval.schema.bench import BenchRun
from distill_eval.schema.diff import Diff
from distill_eval.schema.distill import DistillRun
from distill_eval.schema.evals import EvalRun, Sample
from distill_eval.schema.export import ExportRun
from distill_eval.schema.fidelity import Fidelity
from distill_eval.schema.plan import Plan
from distill_eval.schema.quant import QuantRun
from distill_eval.schema.recipe import RecipeRun
from distill_eval.schema.report import Report
from distill_eval.schema.retention import Retention
from distill_eval.schema.student import StudentInit
from distill_eval.schema.sweep import SweepRun
from distill_eval.schema.teacher_cache import CacheManifest

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "schema"
ARTIFACTS = {
    "evals.json": EvalRun,
    "sample.json": Sample,
    "retention.json": Retention,
    "student.json": StudentInit,
    "distill.json": DistillRun,
    "quant.json": QuantRun,
    "sweep.json": SweepRun,
    "teacher-cache.json": CacheManifest,
    "export.json": ExportRun,
    "run.json": RecipeRun,
    "answers.json": AnswersRun,
    "fidelity.json": Fidelity,
    "bench.json": BenchRun,
    "diff.json": Diff,
    "report.json": Report,
    "plan.json": Plan,
}


def render() -> dict[str, str]:
    """File name to file content."""
    return {
        name: json.dumps(
            {"$schema": "https://json-schema.org/draft/2020-12/schema", **TypeAdapter(cls).json_schema()}, indent=2
        )
        + "\n"
        for name, cls in ARTIFACTS.items()
    }


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in render().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
        print(FOLDER / name)
