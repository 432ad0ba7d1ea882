"""What is found when artifacts are laid side by side."""

from dataclasses import replace
from pathlib import Path

import pytest

from distill_eval.pipeline.collect import collect
from distill_eval.pipeline.mentioned import named
from distill_eval.pipeline.remarks import remarks
from distill_eval.record import from_json
from distill_eval.schema.recipe import RecipeRun, StageRun
from distill_eval.schema.retention import Finding, Provenance, Retention

REPORTS = Path(__file__).resolve().parents[3] / "reports"
VARIANTS = REPORTS / "2026-11-26-smollm2-variants"
RETENTION = VARIANTS / "retention.json"


def found(*artifacts):
    return {(one.weight, one.subject): one.text for one in remarks(artifacts, named(artifacts), (), None, {})}


@pytest.fixture(scope="module")
def compared():
    return collect([RETENTION])[0]


def with_record(artifact, where, **changes):
    return artifact._replace(where=where, record=replace(artifact.record, **changes))


def test_what_is_said_of_several_in_the_same_words_is_said_once(compared):
    same = [Finding(weight="high", subject=task, text="Alike.") for task in ("a", "b", "a")]
    assert found(with_record(compared, "x", findings=tuple(same), parity=())) == {("high", "a, b"): "Alike."}


def test_two_comparisons_of_other_size_or_prompt_are_told(compared):
    tasks = compared.record.tasks
    alone = with_record(compared, "a/retention.json", findings=(), parity=())
    larger = (replace(tasks[0], num_docs=200), replace(tasks[1], num_fewshot=5), *tasks[2:])
    other = with_record(compared, "b/retention.json", findings=(), parity=(), tasks=larger)
    assert found(alone) == {}
    assert found(alone, other) == {
        ("high", "arc_easy"): "It was asked in different ways: version 1.0, 0 shots, bfloat16 in a/retention.json; "
        "version 1.0, 5 shots, bfloat16 in b/retention.json.",
        ("medium", "run"): "Comparisons scored different numbers of documents, so that intervals are not alike wide: "
        "lambada_openai (100 and 200).",
    }


def test_flips_of_the_engine_are_counted_once_for_all_variants_on_it():
    run = from_json(Retention, RETENTION.read_bytes(), source="")
    each = {(one.task, one.num_engine_flips) for one in run.parity if one.unquantized_ref == "onnx-fp32"}
    text = found(*collect([RETENTION]))["medium", "onnx-fp32"]
    assert text.startswith(f"{sum(num for _, num in each)} of 500 answers of the unquantized weights differ")


def test_a_stage_that_failed_is_told_with_its_reason(compared):
    stage = StageRun(
        name="distill", stage="distill", status="failed", config_digest="", input_digests={}, folder="student",
        files={}, seconds=None, num_attempts=1, error="out of memory",
    )  # fmt: skip
    provenance = Provenance(command="", versions={}, hardware="cpu", git_commit="94bd4e3b6667-dirty")
    own = replace(stage, name="report", status="unfinished", error=None)
    record = RecipeRun(source="x.toml", recipe="", stages=(stage, own), provenance=provenance)
    run = compared._replace(kind="run", where="x/run.json", record=record)
    said = found(with_record(compared, "x/retention.json", findings=(), parity=()), run)
    assert said["high", "run"] == "The stage distill of x/run.json is failed: out of memory."
    assert said["medium", "run"] == "94bd4e3b6667-dirty was a checkout with changes that no commit holds."
    assert said["low", "run"].startswith("The artifacts were made by 2 states of distill-eval: 94bd4e3b6667, ")


def test_a_benchmark_that_was_interrupted_is_told():
    (bench,) = collect([REPORTS / "2026-11-26-smollm2-serving"])
    assert ("high", "speed") not in found(bench)
    assert found(with_record(bench, "b/bench.json", complete=False))["high", "speed"] == (
        "b/bench.json ended before all of it was measured."
    )


def test_files_that_were_passed_over_are_named(compared):
    one = with_record(compared, "x", findings=(), parity=())
    (finding,) = remarks([one], named([one]), (), None, {}, ("x/run.json", "x/student.json"))
    assert (finding.weight, finding.text) == (
        "low",
        "x/run.json, x/student.json was passed over: no artifact of distill-eval, whatever its name says.",
    )
