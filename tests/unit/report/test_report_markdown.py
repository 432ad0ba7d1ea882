"""`report.md`: golden files, and what a GitHub flavored parser makes of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.report.read import assert_golden, assert_nothing_foreign_is_markup, column, parse, tables

from distill_eval.record import from_json, to_json
from distill_eval.report.escape import clean
from distill_eval.report.markdown import render
from distill_eval.report.sections import short_names
from distill_eval.report.table import display_width
from distill_eval.schema.recipe import links
from distill_eval.schema.retention import Criterion, Estimate, Finding, Retention

EXAMPLES = ("fail", "group", "hostile", "single")
OUR_HTML = {"<details>\n<summary>Show 14 rows</summary>\n", "</details>\n"}


@pytest.mark.parametrize("name", EXAMPLES)
def test_golden(examples: Any, name: str) -> None:
    assert_golden(f"report_{name}.md", render(getattr(examples, name)()))


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_same_record_gives_the_same_bytes(examples: Any, name: str) -> None:
    record = getattr(examples, name)()
    reread = from_json(Retention, to_json(record), source="memory")
    backwards = dict(reversed(record.provenance.versions.items()))
    reordered = replace(record, provenance=replace(record.provenance, versions=backwards))
    assert render(record).encode() == render(reread).encode() == render(reordered).encode()


@pytest.mark.parametrize("name", EXAMPLES)
def test_tables_line_up_when_read_raw(examples: Any, name: str) -> None:
    blocks = [block for block in render(getattr(examples, name)()).split("\n\n") if block.startswith("| ")]
    assert len(blocks) >= 4
    for block in blocks:
        assert len({display_width(line) for line in block.splitlines()}) == 1


def test_parsed_tables_of_one_student(examples: Any) -> None:
    found = tables(render(examples.fail()))
    repeat = ["How to repeat this", "How to repeat this 2", "How to repeat this 3"]
    assert list(found) == ["Retention", "Other metrics", "Models", *repeat]
    assert {name: (len(table), {len(row) for row in table}) for name, table in found.items()} == {
        "Retention": (5, {13}),
        "Other metrics": (3, {12}),
        "Models": (3, {9}),
        "How to repeat this": (13, {2}),
        "How to repeat this 2": (5, {4}),
        "How to repeat this 3": (5, {2}),
    }
    assert found["Retention"][1] == [
        "hellaswag",
        "acc_norm",
        "500 of 10,042",
        "25.0 %",
        "42.0 %",
        "25.6 %",
        "-16.4 pp [-18.4, -14.4]",
        "61.0 % [57.8, 64.2]",
        "3.5 % [-1.5, 8.5]",
        "0.0005",
        "102 / 20 / 55 (20.4 / 4.0 / 11.0 %)",
        "3.1 pp",
        "FAIL",
    ]
    assert column(found["Other metrics"], "teacher") == ["35.0 %", "21.3742"]
    assert "verdict" not in found["Other metrics"][0]
    assert column(found["Models"], "on disk (of teacher)") == ["269.1 MB (100.0 %)", "163.8 MB (60.9 %)"]
    assert column(found["Models"], "weights SHA-256") == ["5af571cbf074", "c0ffeec0ffee"]


def test_parsed_tables_of_two_students(examples: Any) -> None:
    text = render(examples.group())
    found = tables(text)
    assert column(found["Retention"], "variant") == ["student-w8a8@v2", "student-w4a16"] * 2
    assert column(found["Retention"], "task") == ["mmlu (7 tasks)"] * 2 + ["wikitext"] * 2
    assert column(found["Retention"], "verdict") == ["PASS", "INCONCLUSIVE", "PASS", "PASS"]
    members = found["Members of mmlu"]
    assert column(members, "task")[:3] == ["mmlu_subject_1", "mmlu_subject_1", "mmlu_subject_2"]
    assert len(members) == 15
    assert not {"verdict", "p (Holm)", "lm-eval prints"} & set(members[0])
    assert column(found["Models"], "given as") == [
        "HuggingFaceTB/SmolLM2-135M-Instruct",
        "org/student-w8a8@v2",
        "org/student-w4a16",
    ]
    assert [token.content for token in parse(text) if token.type == "html_block"] == [
        "<details>\n<summary>Show 14 rows</summary>\n",
        "</details>\n",
    ]


def test_undefined_numbers_have_their_reason_below_the_table(examples: Any) -> None:
    text = render(examples.fail())
    retention = tables(text)["Retention"]
    assert column(retention, "chance") == ["25.0 %", "25.0 %", "- (1)", "- (1)"]
    assert column(retention, "above chance [95 %]")[2:] == ["- (1)", "- (1)"]
    assert column(retention, "retention [95 %]")[2:] == ["99.9 % [94.0, -] (2)", "- (5)"]
    assert column(retention, "flips: harmful / beneficial / other")[2] == "12 / 12 / - (2.4 / 2.4 / - %) (3)"
    section = text.partition("## Retention")[2].partition("## ")[0]
    assert [line for line in section.splitlines() if line.startswith("- (")] == [
        "- (1) the task offers no options, so guessing has no score",
        "- (2) the interval is not bounded above",
        "- (3) the answers are not known, so one wrong answer cannot be told from another",
        "- (4) too few discordant documents",
        "- (5) the teacher's score is 0, so a ratio to it is undefined",
    ]


def test_a_missing_reason_is_said(examples: Any) -> None:
    entry = examples.entry("s", "t", retention=Estimate(value=0.9), difference=Estimate(value=None))
    record = examples.retention((examples.model("s"),), (entry,))
    text = render(record)
    assert column(tables(text)["Retention"], "retention [95 %]") == ["90.0 % [-, -] (1)"]
    assert column(tables(text)["Retention"], "difference [95 %]") == ["- (1)"]
    assert "- (1) no reason was recorded\n" in text


def test_the_verdict_comes_first(examples: Any) -> None:
    quotes = {name: render(getattr(examples, name)()).split("\n\n")[1] for name in ("fail", "group", "single")}
    assert quotes["fail"] == (
        "> **Do not ship `student`.** It keeps 86.3 % of the teacher on average over the 3 of 4 tasks where retention "
        "is defined (worst: `hellaswag` 61.0 % [57.8, 64.2]); 2 of 4 tasks fail the criterion of at least 95 % "
        "retention, 1 is inconclusive."
    )
    assert quotes["group"].splitlines() == [
        (
            "> **Ship `student-w8a8@v2`.** It keeps 98.6 % of the teacher on average over 2 tasks (worst: `wikitext` "
            "98.5 % [97.4, 99.6]); both tasks meet the criterion of at least 95 % retention."
        ),
        ">",
        (
            "> **Not enough evidence to ship `student-w4a16`.** It keeps 97.2 % of the teacher on average over 2 tasks "
            "(worst: `mmlu` 95.8 % [94.6, 97.0]); 1 of 2 tasks is inconclusive under the criterion of at least 95 % "
            "retention: `mmlu` would need about 32,000 documents, more than the 14,042 that it has."
        ),
    ]
    assert quotes["single"] == (
        "> **Ship `SmolLM2-135M-Instruct`.** It keeps 100.0 % [100.0, 100.0] of the teacher on `arc_easy`; it meets "
        "the criterion of at most 1 pp lost. But the teacher cannot be told from guessing on `arc_easy`: what is kept "
        "of it there means nothing."
    )


@pytest.mark.parametrize(
    ("num_unsettled", "needed", "ending"),
    [
        (1, 1873, "at least 95 % retention: `task0` would need about 1,900 documents instead of 500."),
        (1, None, "`task0` (how many documents would settle it is not known)."),
        (5, 1873, "`task2` would need about 1,900 documents instead of 500, and 2 others."),
    ],
)
def test_inconclusive_names_what_would_settle_it(
    examples: Any, num_unsettled: int, needed: int | None, ending: str
) -> None:
    power = examples.power(num_docs_to_settle=needed)
    entries = tuple(
        examples.entry("s", f"task{number}", num_pairs=500, num_docs_total=5153, verdict="INCONCLUSIVE", power=power)
        for number in range(num_unsettled)
    )
    verdict = examples.verdict("s", "INCONCLUSIVE", (0, 0, num_unsettled), worst_task="task0", worst_retention=0.9)
    record = examples.retention((examples.model("s"),), entries, verdicts=(verdict,))
    assert render(record).split("\n\n")[1].endswith(ending)


def test_undefined_mean_retention_is_said(examples: Any) -> None:
    verdict = examples.verdict("s", "FAIL", (0, 3, 0), mean_retention=None)
    record = examples.retention((examples.model("s"),), (), verdicts=(verdict,))
    assert (
        "> **Do not ship `s`.** Its mean retention over 3 tasks is undefined; 3 of 3 tasks fail the criterion of "
        "at least 95 % retention.\n" in render(record)
    )
    assert "## Retention" not in render(record)


def test_margin_is_in_the_metrics_own_unit(examples: Any) -> None:
    criterion = Criterion(min_retention=None, margin=0.015, level=0.95)
    model, share, bits = examples.model("s"), examples.entry("s", "t"), examples.bits("s", "w")

    def rule(*entries: Any) -> str:
        text = render(examples.retention((model,), entries, criterion=criterion))
        return text.partition("Criterion, on every task: ")[2].partition(". PASS")[0]

    assert rule(share) == "at most 1.5 pp lost"
    assert rule(bits) == "at most 0.015 lost in each metric's own unit"
    assert rule(share, bits) == "at most 0.015 lost in each metric's own unit (1.5 pp for shares)"


@pytest.mark.parametrize(("num_rows", "folded"), [(12, False), (13, True)])
def test_long_detail_tables_are_folded(examples: Any, num_rows: int, folded: bool) -> None:
    members = [examples.secondary(examples.entry("s", f"t{number}", group="g")) for number in range(num_rows)]
    text = render(examples.retention((examples.model("s"),), tuple(members)))
    assert ("<details>" in text) is folded
    assert len(tables(text)["Members of g"]) == num_rows + 1


def test_equal_short_names_are_told_apart_by_the_whole_reference(examples: Any) -> None:
    students = (examples.model("runs/a/student"), examples.model("runs/b/student"))
    entries = tuple(examples.entry(student.ref, "t") for student in students)
    found = tables(render(examples.retention(students, entries)))
    assert column(found["Retention"], "variant") == ["runs/a/student", "runs/b/student"]
    assert column(found["Models"], "model") == ["SmolLM2-135M-Instruct", "runs/a/student", "runs/b/student"]


def test_students_of_a_chain_are_called_by_their_sizes() -> None:
    assert [str(link.student) for link in links(Path("runs/a"), ("1.5B", "80M"))] == [
        "runs/a/1-1.5B/student", "runs/a/2-80M/student",
    ]  # fmt: skip
    refs = ["org/teacher", "runs/a/1-1.5B/student", "runs/a/2-80M/student", "runs/a/2-80M/baseline"]
    assert list(short_names(refs).values()) == ["teacher", "1.5B", "80M", "baseline"]
    assert short_names(["runs/a/2-80M/prepared"]) == {"runs/a/2-80M/prepared": "80M before training"}
    others = ["runs/a/student", "runs/2026-11/prepared", "runs/2-80M", "2-80M/w8a8"]
    assert list(short_names(others).values()) == ["student", "prepared", "2-80M", "w8a8"]


def test_findings_are_ranked(examples: Any) -> None:
    findings = tuple(Finding(weight=weight, subject="run", text=weight) for weight in ("low", "high", "medium"))
    text = render(examples.retention((examples.model("s"),), (), findings=findings))
    assert "1. **run** (high): high\n2. **run** (medium): medium\n3. **run** (low): low\n" in text


def test_hostile_names_stay_text(examples: Any) -> None:
    record = examples.hostile()
    text = render(record)
    assert_nothing_foreign_is_markup(text, html=set())
    name = clean(examples.hostile_name)
    found = tables(text)
    assert found["Retention"][1][:2] == [name, f"{name} ({name})"]
    assert {len(row) for row in found["Retention"]} == {13}
    assert column(found["Models"], "model") == [clean(f"teachers/{examples.hostile_name}"), f"runs/{name}"]
    data = clean(f"org/{examples.hostile_name}@0123456789ab")
    assert found["How to repeat this 2"][1] == [name, "1.0", "0", data]
    assert found["How to repeat this 3"] == [["package", "version"], [name, name]]
    fences = [token for token in parse(text) if token.type == "fence"]
    assert [fence.content for fence in fences] == [record.provenance.command + "\n"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_no_html_but_our_own(examples: Any, name: str) -> None:
    assert_nothing_foreign_is_markup(render(getattr(examples, name)()), html=OUR_HTML)


FOREIGN = st.text(max_size=20) | st.text(alphabet="|`<>[]()!*_\\~$&#;\n\r\t -+.:/@ab1\u202e\u3000", max_size=30)


@given(name=FOREIGN)
@settings(deadline=None, max_examples=40)
def test_any_name_keeps_the_tables_whole(examples: Any, name: str) -> None:
    text = render(examples.hostile(name))
    assert_nothing_foreign_is_markup(text, html=set())
    found = tables(text)
    assert len(found) == 7
    assert all(len({len(row) for row in table}) == 1 for table in found.values())
    assert column(found["Retention"], "task") == [clean(name), "wikitext"]
    assert column(found["Other metrics"], "metric") == [
        clean(name) if name == "none" else f"{clean(name)} ({clean(name)})"
    ]
    assert found["How to repeat this 3"][1] == [clean(name), clean(name)]


def test_tasks_are_named_with_what_their_documents_are(examples: Any) -> None:
    tasks = (
        examples.task("arc_easy", version="2.0", num_fewshot=25),
        examples.task("own", dataset=None, dataset_revision=None),
        examples.task("late", dataset_revision=None),
    )
    record = replace(examples.retention((examples.model("s"),), (examples.entry("s", "arc_easy"),)), tasks=tasks)
    assert tables(render(record))["How to repeat this 2"] == [
        ["task", "version", "shots", "data set"],
        ["arc_easy", "2.0", "25", "org/arc_easy@0123456789ab"],
        ["own", "1.0", "0", "not named"],
        ["late", "1.0", "0", "org/late"],
    ]
    many = replace(record, tasks=tuple(examples.task(f"t{number}") for number in range(13)))
    assert "<summary>Show 13 rows</summary>" in render(many)


def test_what_lm_eval_prints_is_shown_where_it_is_another_quantity(examples: Any) -> None:
    reason = "lm-eval does not print bits per byte for this task"
    entries = (
        examples.entry("s", "same"),
        examples.entry("s", "other", lm_eval_teacher=61.2),
        examples.bits("s", "none", lm_eval_teacher=None, lm_eval_student=None, lm_eval_reason=reason),
        examples.bits("s", "half", lm_eval_student=None, lm_eval_reason="it overflows"),
    )
    text = render(examples.retention((examples.model("s"),), entries))
    shown = column(tables(text)["Retention"], "lm-eval prints")
    assert [cell.partition(" (")[0] for cell in shown] == ["same", "61.2000 / 0.5400", "-", "0.8123 / -"]
    assert reason in text
    assert "it overflows" in text


def test_tasks_on_which_the_teacher_may_be_guessing_are_named_beside_the_verdict(examples: Any) -> None:
    moot = Estimate(value=None, reason="the teacher cannot be told from guessing (0.25)")
    entries = (
        examples.entry("s", "winogrande", retention_above_chance=moot, verdict="PASS"),
        examples.entry("s", "arc", verdict="PASS"),
        examples.entry("s", "lambada", retention_above_chance=moot, chance=None, verdict="PASS"),
        examples.entry("s", "mmlu", retention_above_chance=moot, verdict="PASS"),
    )
    verdict = examples.verdict("s", "PASS", (4, 0, 0), mean_retention=1.0)
    quote = render(examples.retention((examples.model("s"),), entries, verdicts=(verdict,))).split("\n\n")[1]
    assert quote == (
        "> **Ship `s`.** It keeps 100.0 % of the teacher on average over 4 tasks; all 4 tasks meet the criterion of at "
        "least 95 % retention. But the teacher cannot be told from guessing on `winogrande`, `mmlu`: what is kept of "
        "it there means nothing."
    )


@given(needed=st.integers(501, 10**6), total=st.integers(500, 10**6))
@settings(deadline=None, max_examples=100)
def test_the_documents_needed_never_contradict_those_there_are(examples: Any, needed: int, total: int) -> None:
    power = examples.power(num_docs_to_settle=needed)
    entry = examples.entry("s", "t", num_pairs=500, num_docs_total=total, verdict="INCONCLUSIVE", power=power)
    verdict = examples.verdict("s", "INCONCLUSIVE", (0, 0, 1))
    record = examples.retention((examples.model("s"),), (entry,), verdicts=(verdict,))
    quote = render(record).split("\n\n")[1]
    shown = int(quote.partition("would need about ")[2].partition(" documents")[0].replace(",", ""))
    assert (shown > total) == (needed > total) == ("more than the" in quote)
    assert shown >= needed


def test_which_way_is_better_is_said_of_the_metrics_where_it_is_not_up(examples: Any) -> None:
    entries = (
        examples.entry("s", "crows_pairs", metric="pct_stereotype", higher_is_better=False),
        examples.bits("s", "wikitext"),
    )
    text = render(examples.retention((examples.model("s"),), entries))
    lower = "lower is better: a positive difference is a loss, and retention is teacher / student"
    assert column(tables(text)["Retention"], "metric") == ["pct_stereotype (1)", "bits_per_byte (2)"]
    assert f"- (1) {lower}; a document is right that scores 0\n" in text
    assert f"- (2) in bits per byte of text, so that models with different tokenizers compare; {lower}\n" in text
