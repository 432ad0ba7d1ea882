"""The page: foreign text stays text, what was not measured is left out, figures are those of the records."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from unit.report.conftest import HOSTILE, make_entry, make_hostile, make_model, make_retention, make_verdict
from unit.report.made import trained
from unit.report.made_page import (
    NAMES,
    STUDENT,
    Seen,
    changes_of,
    documents,
    entry_of,
    facts,
    report,
    speed,
    variant,
)

from distill_eval.record import from_json
from distill_eval.report.flips import changed
from distill_eval.report.html.browser import MOST_DOCUMENTS, MOST_HARMFUL, browser
from distill_eval.report.html.markup import Html, tag
from distill_eval.report.html.page import NO_DOCUMENTS, render
from distill_eval.report.html.tables import sort_key, table
from distill_eval.report.table import Cell, Column
from distill_eval.schema.bench import BenchRun
from distill_eval.schema.fidelity import Fidelity
from distill_eval.schema.gate import Rule, RuleResult
from distill_eval.schema.quant import QuantRun
from distill_eval.schema.report import Source
from distill_eval.schema.retention import Criterion, Estimate

REPORTS = Path(__file__).parents[3] / "reports"
BREAKOUT = "</pre></script></title><script>alert(1)</script><!-- <img src=x onerror=alert(1)> &lt; &amp;lt; \" '"
FLIPS = {"out/retention.json": [changes_of("LLW=x=======")]}


def stored(cls, path):
    return from_json(cls, (REPORTS / path).read_bytes(), source=path)


def seen(made=None, flips=FLIPS):
    """The page, in which nothing can run but its own script, and nothing loads."""
    page = Seen(render(made or facts(), flips))
    (script,) = page.all("script")
    assert "alert" not in script.text
    digest = base64.b64encode(hashlib.sha256(script.text.encode()).digest()).decode()
    (policy,) = page.all("meta", http_equiv="Content-Security-Policy") or page.all("meta", **{"http-equiv": POLICY})
    assert policy.attrs["content"].startswith("default-src 'none';")
    assert f"script-src 'sha256-{digest}'" in policy.attrs["content"]
    for element in page.elements:
        assert not [name for name in element.attrs if name.startswith("on") or name in ("src", "style", "srcset")]
        assert element.attrs.get("href", "#").startswith("#") or element.attrs["href"] == "data:,"
        assert element.tag not in ("img", "iframe", "object", "embed", "form", "base")
    assert not re.search(r"url\(|@import", "".join(page.texts("style")))
    names = [element.attrs["id"] for element in page.elements if "id" in element.attrs]
    assert len(names) == len(set(names))
    assert {e.attrs["href"][1:] for e in page.all("a")} <= set(names)
    return page


POLICY = "Content-Security-Policy"


def headings(page):
    return page.texts("h2")


def test_the_verdict_comes_first_and_sections_follow_in_order():
    page = seen()
    assert page.texts("p")[0].startswith("Do not ship student.")
    assert headings(page) == [
        "Variants",
        "Charts",
        "Task by task",
        "Documents that changed",
        "Findings, heaviest first",
        "How to repeat this",
    ]
    assert page.texts("li")[-2:] == ["a (high): Two.", "run (low): One."]
    assert "distill-eval compare X\ndistill-eval report out" in page.texts("pre")[-1]


def test_what_was_not_measured_is_left_out():
    bare = seen(facts(retentions={}), {})
    assert headings(bare) == ["Variants", "Findings, heaviest first", "How to repeat this"]
    assert bare.all("svg") == []
    assert len(seen().all("svg")) == 1  # the forest plot


def test_the_same_records_give_the_same_bytes():
    made = facts()
    again = facts(retentions={k: from_json(type(r), json_of(r), source="") for k, r in made.retentions.items()})
    assert render(made, FLIPS) == render(again, FLIPS)


def json_of(value):
    from distill_eval.record import to_json

    return to_json(value)


@pytest.mark.parametrize("text", [HOSTILE, BREAKOUT, "\x00\x1b[31m\u202e&#x3c;script>", "{{7*7}} ${x} \ud800"])
def test_foreign_text_is_text_everywhere(text):
    entry = replace(make_hostile(text).entries[0], flips=entry_of("LW=x").flips, num_pairs=4)
    hostile = replace(
        make_hostile(text), entries=(entry,), verdicts=(make_verdict(entry.student_ref, "FAIL", (0, 1, 0)),)
    )
    teacher, student = documents("LW=x", task=text, prompt=text)
    spoiled = [
        [
            replace(one, options=(text,) * 3, metrics=(replace(one.metrics[0], metric=text, filter=text),))
            for one in side
        ]
        for side in (teacher, student)
    ]
    found = changed(entry, *spoiled, source="")
    made = facts(
        report=report(variant(text, "teacher"), variant(text, reasons={"verdict": text}), verdict=text, recipe=text),
        retentions={text: hostile},
        names={entry.student_ref: text},
        trainings={text: trained()},
    )
    page = seen(made, {text: [found]})
    shown = text.encode("unicode_escape").decode("ascii") if "\x00" in text or "\ud800" in text else text
    assert (
        shown in [pre.removeprefix("\n").replace("\u202e", "\\u202e") for pre in page.texts("pre")] or text == HOSTILE
    )
    assert page.texts("p")[0] in (text, shown.replace("\\u202e", "\u202e"))


def test_a_prompt_reads_as_it_was_given():
    prompt = f"\n\n  {BREAKOUT}\n\ttab\n"
    page = Seen(browser([changes_of("L===", prompt=prompt)], NAMES))
    assert page.texts("pre") == ["\n" + prompt]  # the first line break is dropped behind <pre>


# ---- elements


def test_an_element_escapes_what_is_not_markup():
    assert tag("p", "a < b", Html("<b>c</b>"), title='"x"', hidden=True, lang=None) == (
        '<p title="&quot;x&quot;" hidden>a &lt; b<b>c</b></p>\n'
    )
    assert tag("meta", http_equiv="X", name_="y") == '<meta http-equiv="X" name="y">\n'
    assert tag("span", "\x1b") == "<span>\\x1b</span>"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("97.1 % [95.9, 98.3]", 97.1),
        ("-8.3 pp", -8.3),
        ("134,515,008 (100.0 %)", 134515008.0),
        ("269.1 MB (50.0 %)", 269.1e6),
        ("1.35 GB", 1.35e9),
        ("1.90x [1.70, 2.10]", 1.9),
        ("20.0 / 81.5", 20.0),
        ("gsm8k 61.0 % [55.0, 67.0]", 61.0),
        ("task-2 97.0 % [95.0, 98.0]", 97.0),
        ("2-shot 97.0 %", 97.0),
        ("a/3.5-b:4 97.0 %", 97.0),
        ("< 0.0001", 0.0001),
        ("2e-05", 2e-5),
        ("- (1)", None),
        ("-", None),
        ("none", None),
    ],
)
def test_a_cell_sorts_by_its_first_number(text, key):
    assert sort_key(text) == (key if key is None else pytest.approx(key))


def test_a_table_names_its_rows_and_notes_its_dashes():
    columns = [
        Column("task", (Cell("a"), Cell("b")), numeric=False),
        Column("score", (Cell("50.0 %"), Cell("-", ("it < was",)))),
    ]
    page = Seen(table(columns, "Scores", prefix="t", sortable=True))
    assert [e.attrs["scope"] for e in page.all("th")] == ["col", "col", "row", "row"]
    assert [(e.text, e.attrs.get("data-number")) for e in page.all("td")] == [("50.0 %", "50.0"), ("- (1)", None)]
    assert [(e.text, e.attrs["id"]) for e in page.all("li")] == [("(1) it < was", "t-1")]
    assert [e.attrs["href"] for e in page.all("a")] == ["#t-1"]


# ---- flips


def test_documents_are_shown_harmful_first_and_how_many_of_how_many_is_said():
    page = Seen(browser([changes_of("L" * 30 + "W" * 8)], NAMES))
    first, *rest = page.texts("summary")
    assert first == f"arc_easy by acc: 30 harmful ({MOST_HARMFUL} shown), 8 beneficial (5 shown)"
    assert [text.partition(":")[0] for text in rest] == [
        *(f"Document {number}, harmful" for number in range(MOST_HARMFUL)),
        *(f"Document {number}, beneficial" for number in range(30, 35)),
    ]
    assert page.texts("h3") == ["student"]


def test_of_many_tasks_fewer_documents_are_shown_of_each():
    found = [changes_of("L" * 30)] * 50
    assert len(Seen(browser(found, NAMES)).all("details", class_="document")) == MOST_DOCUMENTS


def test_the_right_option_is_marked_whoever_chose_it():
    for outcome, chosen in (("L", ("student", "teacher")), ("W", ("teacher", "student"))):
        page = Seen(browser([changes_of(outcome)], NAMES))
        cells = page.texts("td")
        assert cells[0] == f"a stone {chosen[0]}"
        assert cells[3] == f"the sun right {chosen[1]}"
        assert cells[6] == "a tree"
        assert cells[1::3] == ["-3.50", "-2.25", "-9.00"]
        assert page.texts("pre") == ["\nQuestion 0: which is right?\nAnswer:"]


def test_a_choice_by_length_says_so():
    for metric, said in (("acc", False), ("acc_norm", True)):
        sides = [
            [replace(one, metrics=(replace(one.metrics[0], metric=metric),)) for one in side] for side in documents("L")
        ]
        page = Seen(browser([changed(entry_of("L", metric=metric), *sides, source="")], NAMES))
        assert page.texts("caption")[0].endswith("(the choice goes by it per character)") == said


def test_a_written_answer_stands_beside_the_right_one():
    teacher, student = documents("L", num_options=None)
    wrote = [
        replace(teacher[0], responses=('"so 7"',), metrics=(replace(teacher[0].metrics[0], answer="7"),), target="7")
    ]
    guessed = [replace(student[0], responses=("[-4.5, false]",))]
    page = Seen(browser([changed(entry_of("L"), wrote, guessed, source="")], NAMES))
    assert page.texts("p", class_="label") == ["Prompt", "Right answer", "Teacher", "student"]
    assert page.texts("pre")[1:] == [
        "\n7",
        "\nso 7\n\n(read as: 7)",
        "\nthe right answer is not its most likely continuation, log-likelihood -4.50",
    ]


def test_samples_of_before_say_that_the_prompt_was_not_kept():
    page = Seen(browser([changes_of("L", prompt=None)], NAMES))
    assert any(text.startswith("The prompt was not kept") for text in page.texts("p"))
    assert page.all("pre") == []


def test_documents_that_are_not_there_are_not_passed_over():
    assert NO_DOCUMENTS in seen(flips={}).texts("p")
    assert NO_DOCUMENTS not in seen().texts("p")


# ---- charts


def drawn(page, title):
    """The description of the chart with that title."""
    found = [e for e in page.all("svg") if title in e.text]
    return found[0].text if found else None


def test_retention_stands_against_speedup_with_the_teacher_at_one():
    kept = Estimate(value=0.9, ci_low=0.86, ci_high=0.94)
    rows = (
        variant("teacher", "teacher", speeds=(speed(),), on_frontier=True),
        variant("student", retention=kept, speeds=(speed(2.0),), size_ratio=0.5, on_frontier=True),
        variant("slow", retention=kept),
    )
    page = seen(facts(report=report(*rows, load="concurrency 4")))
    told = drawn(page, "Retention against speedup")
    assert "student: retention 90.0 % [86.0, 94.0], speedup 2.00x, 0.50x the size" in told
    assert any("so not drawn: slow." in text for text in page.texts("figcaption"))
    alone = seen(facts(report=report(*rows[::2], load="concurrency 4")))
    assert drawn(alone, "Retention against speedup") is None


def test_a_margin_is_drawn_as_the_retention_that_just_meets_it():
    entry = make_entry(STUDENT, "arc_easy", teacher=0.5, student=0.45)
    rule = Criterion(min_retention=None, margin=0.05, level=0.95)
    changes = {"verdicts": (make_verdict(STUDENT, "FAIL", (0, 1, 0)),), "criterion": rule}
    compared = make_retention((make_model(STUDENT),), (entry,), **changes)
    page = seen(facts(retentions={"r": compared}), {})
    texts = page.texts("text")
    assert "least that passes: at most 5 pp lost" in texts
    level, dot = drawn_level(page)
    assert level == pytest.approx(dot, abs=0.2)  # 0.45 is 90 % of 0.5


def drawn_level(page):
    """Where the bound and the dot of a forest plot of one row stand."""
    (level,) = [e for e in page.all("line", class_="reference s0") if e.attrs["x1"] == e.attrs["x2"]]
    (dot,) = page.all("circle")
    return float(level.attrs["x1"]), float(dot.attrs["cx"])


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ([Rule(name="min-retention", bound=0.9)], "at least 90 % retention on every task"),
        ([Rule(name="margin", bound=0.05)], "at most 5 pp lost on every task"),
        (
            [Rule(name="margin", bound=0.2), Rule(name="min-retention", bound=0.9)],
            "at most 20 pp lost on every task; at least 90 % retention on every task",
        ),
        ([Rule(name="min-retention", bound=0.9, where="arc_easy")], "at least 90 % retention on arc_easy"),
    ],
)
def test_a_gates_bound_is_drawn_instead_of_the_comparisons(rules, told):
    """The student keeps 90 % of 0.5, so its dot is on the bound of each; the comparison asked for 95 %."""
    entry = make_entry(STUDENT, "arc_easy", teacher=0.5, student=0.45)
    compared = make_retention((make_model(STUDENT),), (entry,), verdicts=(make_verdict(STUDENT, "FAIL", (0, 1, 0)),))
    judged = {"where": "arc_easy", "observed": entry.retention, "verdict": "INCONCLUSIVE", "text": ""}
    gate = tuple(RuleResult(rule=rule, student="student", **judged) for rule in rules)
    other = RuleResult(rule=Rule(name="max-harmful-flips", bound=0.1), student="student", **judged)
    someone = RuleResult(rule=Rule(name="min-retention", bound=0.99, where="sciq"), student="other", **judged)
    page = seen(facts(retentions={"r": compared}, report=report(gate=(*gate, other, someone))), {})
    assert any(f"least that passes: {told}" in text for text in page.texts("text"))  # the whole is under the mouse
    level, dot = drawn_level(page)
    assert level == pytest.approx(dot, abs=0.2)
    own = seen(facts(retentions={"r": compared}), {})
    assert "least that passes: at least 95 % retention" in own.texts("text")
    level, dot = drawn_level(own)
    assert level > dot + 5


def test_commands_stand_in_the_order_in_which_artifacts_are_made():
    kinds = {"bench": "bench B", "retention": "compare C", "student": "prepare P", "distill": "distill D"}
    sources = tuple(
        Source(kind=kind, path="out/retention.json", digest="ab" * 32, command=f"distill-eval {command}")
        for kind, command in kinds.items()
    )
    page = seen(facts(report=report(sources=sources)))
    told = next(text for text in page.texts("pre") if "distill-eval" in text)
    assert told.strip().splitlines() == [
        "distill-eval prepare P",
        "distill-eval distill D",
        "distill-eval compare C",
        "distill-eval bench B",
        "distill-eval report out",
    ]


def test_the_stored_reports_are_drawn_with_their_figures():
    bench = stored(BenchRun, "2026-11-26-smollm2-serving/bench.json")
    fidelity = stored(Fidelity, "2026-11-26-smollm2-variants/fidelity.json")
    quant = stored(QuantRun, "2026-11-26-smollm2-variants/w4a16/quant.json")
    made = facts(benches={"b": bench}, fidelities={"f": fidelity}, quants={"q": quant}, models={"q": "w4a16"})
    page = seen(made)
    latency, divergence, layers = (drawn(page, t) for t in ("Time to first token", "KL(reference", "quantized layer"))
    for model in bench.models:
        for one in model.results:
            assert f"{model.name} at {one.load.label}: p50 {one.metrics.ttft_ms.p50:,.1f}" in latency
    for one in fidelity.candidates:
        if one.tokens is not None:
            assert f"p99: {one.tokens.kl.p99:,.4f}" in divergence
    worst = quant.layer_errors[0]
    assert f"w4a16: at most {worst.relative_error:.4f}" in layers
    assert worst.layer in page.texts("th")
    assert json.loads((REPORTS / "2026-11-26-smollm2-variants/w4a16/quant.json").read_text())["layer_errors"][0][
        "relative_error"
    ] == max(e.relative_error for e in quant.layer_errors if e.relative_error is not None)


def test_the_rules_of_a_gate_are_a_table():
    rule = Rule(name="min-speedup", bound=1.5)
    judged = RuleResult(
        rule=rule, student="student", where="offline", observed=Estimate(value=1.0), verdict="FAIL", text="too slow"
    )
    page = seen(facts(report=report(gate=(judged,))))
    assert headings(page)[0] == "Gate"
    assert next(e.text for e in page.all("td", class_="fail")) == "FAIL"
    assert {"min-speedup 1.5", "offline", "too slow"} <= {*page.texts("th"), *page.texts("td")}
