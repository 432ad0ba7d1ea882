"""What the rules of a report see in real artifacts, and who is told of the verdicts."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from distill_eval.errors import StoreError, UsageError
from distill_eval.gate.options import CiOptions
from distill_eval.pipeline import told
from distill_eval.pipeline.gates import facts, gated
from distill_eval.pipeline.gathered import gather
from distill_eval.record import from_json
from distill_eval.report.html.page import render as render_page
from distill_eval.report.scorecard import render
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


@pytest.fixture
def one(tmp_path):
    """A comparison of one student, which is INCONCLUSIVE by the criterion that it was held to."""
    said = json.loads((VARIANTS / "retention.json").read_text())
    changes = {
        "students": [one for one in said["students"] if one["ref"] == "int8"],
        "entries": [one for one in said["entries"] if one["student_ref"] == "int8"],
        "verdicts": [one for one in said["verdicts"] if one["student_ref"] == "int8"],
        "parity": [],
    }
    assert [one["verdict"] for one in changes["verdicts"]] == ["INCONCLUSIVE"]
    (tmp_path / "retention.json").write_text(json.dumps(said | changes))
    return gather([tmp_path], provenance=PROVENANCE)


@pytest.fixture
def uneven(tmp_path):
    """A student that passes the one task that it was asked, and one that passes that one and another."""
    said = json.loads((VARIANTS / "retention.json").read_text())
    tasks = ["lambada_openai", "arc_easy"]
    for name, (ref, own) in {"a": ("w4a16", tasks[:1]), "b": ("int8", tasks)}.items():
        entries = [
            entry | {"verdict": "PASS"}
            for entry in said["entries"]
            if entry["student_ref"] == ref and entry["primary"] and entry["task"] in own
        ]
        assert [entry["task"] for entry in entries] == own
        changes = {
            "students": [one for one in said["students"] if one["ref"] == ref],
            "entries": entries,
            "tasks": [one for one in said["tasks"] if one["task"] in own],
            "verdicts": [one | {"verdict": "PASS"} for one in said["verdicts"] if one["student_ref"] == ref],
            "findings": [],
            "parity": [],
        }
        (tmp_path / name).mkdir()
        (tmp_path / name / "retention.json").write_text(json.dumps(said | changes))
    return gather([tmp_path / "a", tmp_path / "b"], provenance=PROVENANCE)


def test_a_student_that_was_judged_on_fewer_tasks_than_others_is_not_shipped(uneven):
    report = uneven.report
    rows = {row.name: row for row in report.variants}
    assert {name: row.verdict for name, row in rows.items() if row.role == "student"} == {
        "w4a16": "INCONCLUSIVE", "int8": "PASS",
    }  # fmt: skip
    assert report.verdict.startswith("Ship int8. ")
    assert "w4a16 passes on lambada_openai but was not judged on arc_easy, as others were." in report.verdict
    assert (rows["w4a16"].retention.reason, rows["int8"].retention.reason) == ("over 1 of 2 tasks", None)
    (high,) = [one for one in report.findings if one.weight == "high"]
    assert high.text == (
        "Of 2 tasks that were asked, not every student was judged on all: w4a16 on 1, int8 on 2. Means over other "
        "tasks do not compare, in the table or on the frontier, and what lacks a task does not pass."
    )
    assert re.search(r"^- \(\d\) over 1 of 2 tasks$", render(uneven), re.MULTILINE)


def test_the_gate_and_the_report_agree_on_another_bound(one):
    strict = render(one)
    assert one.report.verdict.startswith("Not enough evidence to ship int8.")
    assert "at least 95 % retention on every task." in strict
    loose = gated(one, (Rule(name="min-retention", bound=0.4),))
    assert {result.verdict for result in loose.report.gate} == {"PASS"}
    assert loose.report.ship == "int8"
    assert loose.report.verdict.startswith("Ship int8. ")
    assert [row.verdict for row in loose.report.variants] == [None, "PASS"]
    text = render(loose)
    assert "Criterion: at 95 % confidence at least 40 % retention on every task." in text
    assert "at least 95 %" not in text.split("## Retention per task")[0]
    assert "INCONCLUSIVE" not in text.split("## Retention per task")[1].split("## ")[0]
    (compared,) = loose.retentions.values()
    assert {entry.verdict for entry in compared.entries if entry.primary} == {"PASS"}
    assert [verdict.verdict for verdict in compared.verdicts] == ["PASS"]
    assert compared.criterion.min_retention == 0.95  # what it asked for stays as it was
    page = render_page(loose, {})
    assert "least that passes: at least 40 % retention on every task" in page
    assert "INCONCLUSIVE" not in page.split('id="findings"')[0]  # behind it stand the comparison's own findings


def test_a_bound_that_is_not_the_comparisons_does_not_say_how_many_documents_settle_it(one):
    assert "more documents of" in gated(one, ()).report.verdict
    found = gated(one, (Rule(name="min-retention", bound=0.93),))
    assert "INCONCLUSIVE" in {row.verdict for row in found.report.variants}
    assert "more documents of" not in found.report.verdict
    assert "what would settle" in found.report.verdict


def test_a_bound_for_one_task_stands_in_the_criterion(one):
    found = gated(one, (Rule(name="margin", bound=0.5, where="arc_easy"),))
    assert "at least 95 % retention on every other task; at most 50 pp lost on arc_easy." in render(found)
    entries = {entry.task: entry.verdict for entry in found.entries["int8"]}
    before = {entry.task: entry.verdict for entry in one.entries["int8"]}
    assert entries == before | {"arc_easy": "PASS"}


def test_where_nothing_was_compared_no_gate_passes():
    found = gated(gather([VARIANTS / "w8a8"], provenance=PROVENANCE), (Rule(name="max-size-ratio", bound=0.9),))
    assert [(result.verdict, result.text.partition(":")[0]) for result in found.report.gate] == [
        ("INCONCLUSIVE", "min-retention 0.95"),
        ("PASS", "max-size-ratio 0.9"),
    ]
    assert found.report.gate[0].text.endswith("no comparison has judged it")
    assert found.report.verdict.startswith("There is no verdict: nothing was compared with the teacher.")


def test_the_gate_asks_for_tasks_that_only_others_were_judged_on(uneven):
    loose = gated(uneven, (Rule(name="min-retention", bound=0.000001),)).report
    rows = {row.name: row.verdict for row in loose.variants if row.role == "student"}
    assert rows == {"w4a16": "INCONCLUSIVE", "int8": "PASS"}
    (open_,) = [result for result in loose.gate if result.verdict != "PASS"]
    assert (open_.student, open_.where, open_.text) == (
        "w4a16",
        "arc_easy",
        "min-retention 1e-06 on arc_easy: not measured: no comparison has judged it",
    )


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
