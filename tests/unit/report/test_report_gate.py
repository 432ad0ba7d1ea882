"""The gate's verdicts as text, as JUnit XML and as annotations."""

from xml.etree import ElementTree as ET

from unit.report.conftest import HOSTILE

from distill_eval.report import gate, github, junit
from distill_eval.schema.gate import Rule, RuleResult
from distill_eval.schema.retention import Estimate


def result(verdict, student="small", where="arc", text="min-retention 0.95 on arc: 97.0 % [95.5, 98.5], kept"):
    return RuleResult(
        rule=Rule(name="min-retention", bound=0.95),
        student=student,
        where=where,
        observed=Estimate(value=0.97, stderr=0.01, ci_low=0.955, ci_high=0.985),
        verdict=verdict,
        text=text,
    )


MIXED = [result("PASS"), result("FAIL", where="sciq", text="lost"), result("INCONCLUSIVE", "tiny", text="too few"),
         result("PASS", "tiny")]  # fmt: skip


def test_sentence():
    assert gate.sentence(MIXED) == "1 of 4 rules is broken, 1 is inconclusive, 2 are kept"
    assert gate.sentence([result("PASS")]) == "1 of 1 rule is kept"
    assert gate.sentence([]) == "no rule was judged"


def test_section_has_the_verdict_first_and_a_line_per_rule_the_worst_first():
    title, _, head, _, header, _, *rows = gate.section(MIXED).splitlines()
    assert title == "## Gate"
    assert head.startswith("**FAIL**: 1 of 4 rules is broken, 1 is inconclusive, 2 are kept. PASS: ")
    assert [cell.strip() for cell in header.split("|")[1:-1]] == ["verdict", "student", "rule"]
    cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows]
    assert [row[0] for row in cells] == ["FAIL", "INCONCLUSIVE", "PASS", "PASS"]
    assert cells[0] == ["FAIL", "small", "lost"]


def test_foreign_text_is_shown_and_never_markup():
    section = gate.section([result("FAIL", HOSTILE, text=HOSTILE)])
    assert "<script>" not in section
    assert len(section.splitlines()) == 7
    assert "<script>" in gate.lines([result("FAIL", HOSTILE)])[0]  # a terminal has no markup
    assert "\n" not in gate.lines([result("FAIL", HOSTILE)])[0]


def test_lines_end_with_what_stops_it_and_the_verdict():
    told = gate.lines(MIXED)
    assert [line.partition(":")[0] for line in told] == ["PASS", "PASS", "INCONCLUSIVE", "FAIL", "Gate"]
    assert told[-2] == "FAIL: small: lost"
    assert told[-1] == "Gate: FAIL, 1 of 4 rules is broken, 1 is inconclusive, 2 are kept"


# What the schemas of Ant and of Jenkins' xUnit plugin both know, by element.
KNOWN = {
    "testsuites": {"name", "tests", "failures", "errors", "time"},
    "testsuite": {"name", "tests", "failures", "errors", "skipped", "time"},
    "testcase": {"name", "classname", "time"},
    "failure": {"message", "type"},
    "skipped": {"message"},
}
CHILDREN = {"testsuites": {"testsuite"}, "testsuite": {"testcase"}, "testcase": {"failure", "skipped"}}


def test_junit_has_a_suite_per_student_and_a_case_per_rule():
    text = junit.render(MIXED)
    assert text.startswith('<?xml version="1.0" encoding="UTF-8"?>\n<testsuites name="distill-eval"')
    assert text.endswith("</testsuites>\n")
    root = ET.fromstring(text)
    for element in root.iter():
        assert set(element.attrib) == KNOWN[element.tag], element.tag
        assert {child.tag for child in element} <= CHILDREN.get(element.tag, set())
    small, tiny = root
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("4", "1", "0")
    assert [(s.get("name"), s.get("tests"), s.get("failures"), s.get("skipped")) for s in (small, tiny)] == [
        ("small", "2", "1", "0"),
        ("tiny", "2", "0", "1"),
    ]
    kept, broken = small
    assert (kept.get("classname"), kept.get("name"), len(kept)) == ("small", "min-retention 0.95 arc", 0)
    assert [(child.tag, child.get("message"), child.get("type"), child.text) for child in broken] == [
        ("failure", "lost", "FAIL", "lost")
    ]
    assert [(child.tag, child.get("message")) for child in tiny[0]] == [("skipped", "too few")]


def test_junit_holds_any_text():
    root = ET.fromstring(junit.render([result("FAIL", "a\x00\x1b<b>&\"'\ud800\ufffe", text=HOSTILE)]))
    assert root[0].get("name") == "a <b>&\"'"
    assert "<script>alert(1)</script>" in root[0][0][0].text
    assert junit.render(MIXED) == junit.render(MIXED)


def test_annotations_are_one_line_each_and_escaped():
    broken = result("FAIL", "a,b:c\n::error::x", text="50 % lost\r\n::error::y")
    first, last = github.annotated([result("PASS"), broken])
    assert first == "::error title=a%2Cb%3Ac %3A%3Aerror%3A%3Ax%3A FAIL::50 %25 lost ::error::y"
    assert last == "::error title=distill-eval%3A FAIL::1 of 2 rules is broken, 1 is kept"
    assert github.annotated([result("PASS")]) == ["::notice title=distill-eval%3A PASS::1 of 1 rule is kept"]
    assert github.annotated([result("INCONCLUSIVE", text="few")])[0] == "::warning title=small%3A INCONCLUSIVE::few"
