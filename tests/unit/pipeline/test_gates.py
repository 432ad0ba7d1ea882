"""What the rules of a report see in real artifacts, and who is told of the verdicts."""

from dataclasses import replace
from pathlib import Path

import pytest

from distill_eval.errors import StoreError, UsageError
from distill_eval.gate.options import CiOptions
from distill_eval.pipeline import told
from distill_eval.pipeline.gates import facts, gated
from distill_eval.pipeline.gathered import gather
from distill_eval.record import from_json
from distill_eval.schema.distill import DistillRun
from distill_eval.schema.gate import Rule
from distill_eval.schema.model import ModelRef
from distill_eval.schema.retention import Provenance

REPORTS = Path(__file__).resolve().parents[3] / "reports"
VARIANTS = REPORTS / "2026-11-26-smollm2-variants"
SERVING = REPORTS / "2026-11-26-smollm2-serving" / "bench.json"
PROVENANCE = Provenance(command="distill-eval report", versions={}, hardware="no device", git_commit=None)


@pytest.fixture(scope="module")
def both():
    return gather([VARIANTS, SERVING], provenance=PROVENANCE)


def test_every_student_is_judged_by_whichever_artifact_has_it(both):
    found = {one.student: one for one in facts(both)}
    rows = {row.name: row for row in both.report.variants if row.role == "student"}
    assert list(found) == list(rows)
    compared = [name for name, one in found.items() if one.compared]
    benched = [name for name, one in found.items() if one.speeds]
    assert set(compared) == set(both.entries)
    assert benched
    assert all([one.entry for one in found[name].compared] == both.entries[name] for name in compared)
    assert all(found[name].size_ratio == rows[name].size_ratio for name in found)
    assert {one.criterion.min_retention for one in found.values()} == {
        0.95
    }  # what was not compared is asked for it too


def test_a_student_that_nobody_compared_stops_the_gate(both):
    results = gated(both, ()).report.gate
    alone = [name for name in {one.student for one in facts(both)} if name not in both.entries]
    assert alone
    for name in alone:
        (one,) = [result for result in results if result.student == name]
        assert (one.verdict, one.text) == (
            "INCONCLUSIVE",
            "min-retention 0.95: not measured: no comparison has judged it",
        )
    verdicts = {(entry.student_ref, entry.task): entry.verdict for found in both.entries.values() for entry in found}
    judged = [result for result in results if result.where is not None]
    assert len(judged) == len(verdicts)
    assert sorted(result.verdict for result in judged) == sorted(verdicts.values())


def test_an_assistant_that_nobody_compared_is_not_judged(both):
    """It is known by its name, or by the end of its folder's path: it may have been moved with its run."""
    alone = next(one.student for one in facts(both) if one.student not in both.entries)
    path = REPORTS / "2026-11-26-smollm2-distilled" / "layers-15" / "distill.json"
    run = from_json(DistillRun, path.read_bytes(), source=str(path))
    [ref] = [ref for ref, name in both.names.items() if name == alone]
    by_name = both._replace(trainings={"x": replace(run, teachers=(ModelRef.parse(ref),))})
    folder = {"out/1-110M/student/distill.json": alone}
    by_folder = both._replace(
        models=folder, trainings={"x": replace(run, teachers=(ModelRef.parse("/then/out/1-110M/student"),))}
    )
    others = [one.student for one in facts(both) if one.student != alone]
    assert [one.student for one in facts(by_name)] == [one.student for one in facts(by_folder)] == others
    elsewhere = both._replace(
        models=folder, trainings={"x": replace(run, teachers=(ModelRef.parse("/then/out/2-80M/student"),))}
    )
    assert alone in [one.student for one in facts(elsewhere)]
    judged = next(iter(both.entries))
    ref = next(ref for ref, name in both.names.items() if name == judged)
    asked = both._replace(trainings={"x": replace(run, teachers=(ModelRef.parse(ref),))})
    assert judged in [one.student for one in facts(asked)]  # a comparison was made for it


def test_a_rule_that_stops_a_variant_stops_its_recommendation(both):
    small = min((one.size_ratio, one.student) for one in facts(both) if one.size_ratio is not None)
    found = gated(both, (Rule(name="min-retention", bound=0.000001), Rule(name="max-size-ratio", bound=small[0])))
    kept = [one.student for one in found.report.gate if one.rule.name == "max-size-ratio" and one.verdict == "PASS"]
    assert kept == [small[1]]
    assert found.report.ship in (None, small[1])


def test_without_a_student_there_is_nothing_to_judge(both):
    only = tuple(row for row in both.report.variants if row.role != "student")
    alone = both._replace(report=type(both.report)(**{**_fields(both.report), "variants": only}))
    with pytest.raises(UsageError, match=f"there is no student to judge, only {only[0].name}"):
        gated(alone, ())


def _fields(record):
    return {name: getattr(record, name) for name in record.__slots__}


def test_a_summary_is_appended_and_never_replaced(tmp_path, monkeypatch):
    path = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    options = CiOptions(github_summary=True)
    told.check(options)
    told.tell(options, tmp_path, (), "# One\n")
    told.tell(options, tmp_path, (), "# Two\n\n")
    assert path.read_text() == "# One\n\n# Two\n\n"
    assert [path.name for path in tmp_path.iterdir()] == ["summary.md"]  # no junit.xml, which was not asked for


def test_a_summary_that_cannot_be_written_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "nowhere" / "summary.md"))
    with pytest.raises(StoreError, match=r"cannot write .*summary.md: No such file or directory"):
        told.tell(CiOptions(github_summary=True), tmp_path, (), "# One")
    monkeypatch.delenv("GITHUB_STEP_SUMMARY")
    with pytest.raises(UsageError, match="--github-summary: the variable GITHUB_STEP_SUMMARY is not set"):
        told.check(CiOptions(github_summary=True))
