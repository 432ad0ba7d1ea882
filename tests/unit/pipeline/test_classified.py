"""A classifier's row, from what its training measured beside its teacher."""

from dataclasses import replace
from pathlib import Path

import pytest

from distill_eval.pipeline.classified import NO_BASELINE, NO_SPREAD, NO_TOKENS, NOT_PAIRED
from distill_eval.pipeline.collect import Collected, collect
from distill_eval.pipeline.gates import gated
from distill_eval.pipeline.gathered import put_together
from distill_eval.report.html.page import render as render_page
from distill_eval.report.scorecard import render
from distill_eval.schema.gate import Rule
from distill_eval.schema.model import ModelRef
from distill_eval.schema.retention import Provenance

EMOTION = Path(__file__).resolve().parents[3] / "reports" / "2026-11-26-minilm-emotion"
PROVENANCE = Provenance(command="distill-eval report", versions={}, hardware="no device", git_commit=None)
TASK = "dair-ai/emotion (test)"
STUDENT = "2026-11-26-minilm-emotion/distill.json"


@pytest.fixture(scope="module")
def artifacts():
    return collect([EMOTION])


def gather(artifacts):
    return put_together(Collected(tuple(artifacts), ()), provenance=PROVENANCE)


def rows(artifacts):
    return {row.name: row for row in gather(artifacts).report.variants}


def changed(artifacts, measured=None, **changes):
    """The artifacts with another training of the student; `measured` changes its classification."""

    def other(one):
        run = replace(one.record, **changes)
        if measured:
            run = replace(run, classification=replace(run.classification, **measured))
        return one._replace(record=run)

    return [other(one) if one.where == STUDENT else one for one in artifacts]


def test_each_figure_stands_in_its_row(artifacts):
    found = gather(artifacts)
    teacher, student, baseline = found.report.variants
    assert [row.role for row in found.report.variants] == ["teacher", "student", "baseline"]
    assert (teacher.num_parameters, teacher.size_bytes) == (22_715_526, 90_874_112)
    assert student.size_ratio == pytest.approx(69_574_992 / 90_874_112)
    assert student.retention.value == pytest.approx(1842 / 1832)
    assert (student.worst_task, student.worst_retention) == (TASK, student.retention)
    assert (student.verdict, teacher.verdict, baseline.verdict) == ("PASS", None, None)
    assert [row.peak_bytes for row in (teacher, student)] == [617_222_144, 595_103_744]
    assert [row.speeds[0].latency_p50_ms for row in (teacher, student)] == pytest.approx([14.43184449999535, 8.484673])
    assert student.speeds[0].reason == NO_SPREAD
    assert (student.kl.reason, student.gap_recovered.reason) == (NO_TOKENS, NOT_PAIRED)
    assert baseline.retention.value is None  # as of every baseline
    assert (found.report.ship, found.report.load) == ("emotion-3-distilled", "batch size 1")


def test_the_texts_say_it(artifacts):
    found = gather(artifacts)
    text, page = render(found), render_page(found, {})
    assert text.splitlines()[2] == (
        "> **Ship emotion-3-distilled.** It keeps 100.5 % \\[99.7, 101.4\\] of emotion-teacher, at 0.77x the size; one "
        "text takes it 8.5 ms (the teacher 14.4 ms), in the median."
    )
    assert "Criterion: at 95 % confidence at least 95 % retention on every task." in text
    assert " 14.4 / 18.7 |" in text
    assert "`emotion-3-distilled` on 2,000 texts" in text  # with accuracy and macro F1 of both
    assert "8.5 / 13.7" in page


def test_without_a_baseline_and_on_validation_texts(artifacts):
    alone = [one for one in changed(artifacts, {"is_validation": True}) if "baseline" not in one.where]
    found = gather(alone)
    assert found.report.variants[1].gap_recovered.reason == NO_BASELINE
    (finding,) = [one for one in found.report.findings if one.subject == "accuracy"]
    assert (finding.weight, TASK in finding.text, "test_split" in finding.text) == ("medium", True, True)
    assert not [one for one in gather(artifacts).report.findings if one.subject == "accuracy"]


def test_times_of_another_machine_do_not_stand_beside_the_teachers(artifacts):
    elsewhere = [
        one._replace(record=replace(one.record, provenance=replace(one.record.provenance, hardware="cuda, X")))
        if one.where.endswith("baseline.json")
        else one
        for one in artifacts
    ]
    row = rows(elsewhere)["emotion-3-baseline"]
    assert (row.speeds, row.peak_bytes) == ((), None)
    why = "it was timed on cuda, X (cpu, threads: 1), the teacher on cpu, x86_64, 1 threads (cpu, threads: 1)"
    assert (row.reasons["speeds"], row.reasons["peak_bytes"]) == (why, why)


def test_a_student_of_another_teacher_is_not_held_against_this_one(artifacts):
    other = changed(artifacts, teachers=(ModelRef.parse("org/assistant"),))
    prepared = next(one for one in artifacts if one.kind == "student")
    baseline = next(one for one in artifacts if one.where.endswith("baseline.json"))
    row = rows([baseline, *(one for one in other if one.where == STUDENT), prepared])["emotion-3-distilled"]
    assert (row.verdict, row.retention.value) == (None, None)
    assert row.reasons["verdict"] == "its training counted labels beside org/assistant, not beside the teacher"


def test_what_was_not_timed_says_why(artifacts):
    [run] = [one.record for one in artifacts if one.where == STUDENT]
    none = {"latency_p50_ms": None, "latency_p95_ms": None, "resident_bytes": None, "unmeasured": "not asked for"}
    measured = {
        "student": replace(run.classification.student, **none),
        "teachers": (replace(run.classification.teachers[0], **none),),
    }
    found = rows(changed(artifacts, measured))
    assert found["emotion-3-distilled"].reasons["speeds"] == "not asked for"
    assert found["emotion-3-distilled"].verdict == "PASS"


def test_a_gate_judges_it(artifacts):
    found = gated(gather(artifacts), (Rule(name="min-retention", bound=0.9999),)).report
    assert [(one.student, one.where, one.verdict) for one in found.gate] == [
        ("emotion-3-distilled", TASK, "INCONCLUSIVE")
    ]
    assert (found.ship, found.variants[1].verdict) == (None, "INCONCLUSIVE")
    kept = gated(gather(artifacts), (Rule(name="max-harmful-flips", bound=0.05),)).report
    assert {one.rule.name: one.verdict for one in kept.gate} == {"min-retention": "PASS", "max-harmful-flips": "PASS"}
