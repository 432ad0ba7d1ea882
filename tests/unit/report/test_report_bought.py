"""What distillation bought, in `report.md` and in the terminal; every number is invented."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console
from unit.report.read import assert_golden, assert_nothing_foreign_is_markup, column, tables

from distill_eval.record import from_json, to_json
from distill_eval.report.bought import held, sentence
from distill_eval.report.escape import clean
from distill_eval.report.markdown import render
from distill_eval.report.terminal import print_table
from distill_eval.schema.retention import Bought, Entry, Estimate, Retention

NO_GAP = "the baseline cannot be told from the teacher on these 1,000 documents: there is no gap to recover"


def bought(examples: Any, entry: Entry, baseline: float, outcome: str | None, **changes: Any) -> Entry:
    """The entry beside a baseline of that score; what follows from the scores is computed."""
    gained, gap = entry.student.value - baseline, entry.teacher.value - baseline
    made = Bought(
        baseline_ref="runs/baseline",
        baseline=examples.estimate(baseline, 0.03),
        difference=examples.estimate(gained, 0.01),
        gap=examples.estimate(gap, 0.02),
        gap_recovered=examples.estimate(gained / (gap or 1.0), 0.19),
        test="exact McNemar",
        p_value=0.0002,
        p_adjusted=0.0008,
        outcome=outcome,
    )
    return replace(entry, bought=replace(made, **changes))


def make_baseline(examples: Any, name: str = "arc_easy", baseline: str = "runs/baseline") -> Retention:
    """Two students and their baseline: something bought, harm, nothing, no gap, no test, and a text."""
    first, second = "runs/forward-kl", "runs/jsd"
    no_gap = Estimate(value=None, reason=NO_GAP)
    bits = {"p_value": 0.00001, "p_adjusted": 0.00004, "test": "paired t, documents weighted by bytes"}
    entries = (
        bought(examples, examples.entry(first, name, student=0.541), 0.5, "better"),
        bought(examples, examples.entry(first, "sciq"), 0.6, "worse", gap_recovered=no_gap),
        bought(examples, examples.entry(first, "winogrande"), 0.535, "unclear", p_value=0.6, p_adjusted=0.6),
        bought(examples, examples.bits(first, "wikitext"), 0.8547, "better", **bits),
        bought(examples, examples.entry(second, name, student=0.62), 0.6, "better", gap_recovered=no_gap),
        bought(
            examples,
            examples.entry(second, "wmt"),
            0.5,
            None,
            difference=Estimate(value=0.04, reason="its uncertainty is not known"),
            gap_recovered=Estimate(value=None, reason="its uncertainty is not known"),
            test=None,
            p_value=None,
            p_adjusted=None,
        ),
    )
    named = tuple(replace(entry, bought=replace(entry.bought, baseline_ref=baseline)) for entry in entries)
    return examples.retention(
        (examples.model(first), examples.model(second)),
        named,
        baselines=(examples.model(baseline, weights_digest="ba5e" * 16),),
        verdicts=(examples.verdict(first, "FAIL", (0, 4, 0)), examples.verdict(second, "FAIL", (0, 2, 0))),
    )


def printed(record: Retention, **options: Any) -> str:
    console = Console(file=io.StringIO(), **options)
    print_table(record, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(("suffix", "show"), [("md", render), ("txt", printed)])
def test_golden(examples: Any, suffix: str, show: Any) -> None:
    text = show(make_baseline(examples))
    assert_golden(f"report_baseline.{suffix}", text)
    assert show(from_json(Retention, to_json(make_baseline(examples)), source="memory")) == text


def test_the_sentence_of_each_student_stands_with_its_verdict(examples: Any) -> None:
    quotes = [line for line in render(make_baseline(examples)).splitlines() if line.startswith("> **")]
    assert [quote.partition(" retention. ")[2] for quote in quotes] == [
        (
            "Distillation recovered 41.0 % [22.0, 60.0] of the gap on `arc_easy` and 70.8 % [51.8, 89.8] of the gap on "
            "`wikitext`; it did harm: -6.0 pp [-7.0, -5.0] on `sciq`; on `winogrande` what it bought is not "
            "distinguishable from nothing."
        ),
        (
            "Distillation gained +2.0 pp [1.0, 3.0] on `arc_easy`, where there is no gap to recover; on `wmt` what it "
            "bought is not known."
        ),
    ]


def test_nothing_bought_is_said_first(examples: Any) -> None:
    entries = [bought(examples, examples.entry("s", f"{{it}}{n}"), 0.535, "unclear") for n in range(6)]
    assert sentence(held(entries[:2]), str) == (
        "On {it}0 and {it}1 what distillation bought is not distinguishable from nothing."
    )
    assert sentence(held(entries), str) == (
        "On {it}0, {it}1, {it}2 and 3 other tasks what distillation bought is not distinguishable from nothing."
    )


def test_harm_of_a_text_has_its_unit(examples: Any) -> None:
    entry = bought(examples, examples.bits("s", "wikitext"), 0.8147, "worse")
    assert sentence(held([entry]), str) == ("Distillation did harm: +0.0100 [0.0000, 0.0200] bits/byte on wikitext.")


def test_the_table_of_what_was_bought(examples: Any) -> None:
    found = tables(render(make_baseline(examples)))
    table = found["What distillation bought"]
    assert list(found)[:2] == ["Retention", "What distillation bought"]
    assert table[1] == [
        "arc_easy",
        "forward-kl",
        "acc",
        "60.0 %",
        "54.1 %",
        "50.0 %",
        "+4.1 pp [3.1, 5.1]",
        "0.0008",
        "better",
        "+10.0 pp [8.0, 12.0]",
        "41.0 % [22.0, 60.0]",
    ]
    assert column(table, "gap recovered [95 %]")[1] == "- (1)"
    assert column(table, "p (Holm)")[-1] == "- (3)"
    assert f"- (1) {NO_GAP}" in render(make_baseline(examples))
    assert column(found["Models"], "role") == ["teacher", "student", "student", "baseline"]
    assert column(found["Models"], "model")[-1] == "baseline"


def test_several_baselines_are_told_apart_and_one_that_is_a_student_is_no_second_row(examples: Any) -> None:
    record = make_baseline(examples)
    other = [
        replace(entry, bought=replace(entry.bought, baseline_ref="runs/jsd")) if entry.task == "sciq" else entry
        for entry in record.entries
    ]
    record = replace(record, entries=tuple(other), baselines=(*record.baselines, examples.model("runs/jsd")))
    found = tables(render(record))
    assert column(found["What distillation bought"], "held against") == [
        "baseline",
        "baseline",
        "jsd",
        "baseline",
        "baseline",
        "baseline",
    ]
    assert column(found["Models"], "role") == ["teacher", "student", "student", "baseline"]


def test_without_a_baseline_nothing_is_said_of_it(examples: Any) -> None:
    record = make_baseline(examples)
    alone = replace(record, entries=tuple(replace(e, bought=None) for e in record.entries), baselines=())
    for show in (render, printed):
        assert "baseline" not in show(alone)
        assert "istillation" not in show(alone)


def test_foreign_text_is_escaped(examples: Any) -> None:
    hostile = examples.hostile_name
    record = make_baseline(examples, name=hostile, baseline=f"runs/{hostile}")
    reasons = Estimate(value=None, reason=hostile)
    entries = tuple(replace(e, bought=replace(e.bought, gap_recovered=reasons)) for e in record.entries)
    for one in (record, replace(record, entries=entries)):
        text = render(one)
        assert_nothing_foreign_is_markup(text, html=set())
        found = tables(text)
        assert all(len({len(row) for row in table}) == 1 for table in found.values())
        assert column(found["What distillation bought"], "task")[:2] == [clean(hostile)] * 2
    assert "[red]t" in printed(make_baseline(examples, name="[red]t\x1b[5m"), width=120, force_terminal=True)
    assert "\x1b[5m" not in printed(make_baseline(examples, name="[red]t\x1b[5m"), width=120, force_terminal=True)


@pytest.mark.parametrize("width", [80, 100, 140])
def test_the_terminal_cuts_no_number(examples: Any, width: int) -> None:
    text = printed(make_baseline(examples), width=width, force_terminal=True, color_system="standard")
    for number in ("[3.1,5.1]", "[22.0,60.0]", "0.8547", "[-0.0400,-0.0200]"):
        assert number in text
    assert "\x1b[32mbetter" in text
    assert "\x1b[31mworse" in text
    plain = printed(make_baseline(examples), width=width)
    assert plain.isascii()
    assert max(len(line) for line in plain.splitlines()) <= 100
