"""The gate's verdicts as JUnit XML, which most CI systems show as tests.

The elements and attributes are those that the Apache Ant schema and the one of Jenkins' xUnit plugin have in common
with what pytest writes: `testsuites`, a `testsuite` per student, a `testcase` per rule and place.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree as ET

from distill_eval.report import escape
from distill_eval.schema.gate import RuleResult

FILE = "junit.xml"


def render(results: Sequence[RuleResult]) -> str:
    """The whole file; no clock time, so that the same verdicts give the same bytes.

    FAIL is a failure. INCONCLUSIVE is skipped with its reason: the test could not be made with these documents or these
    repeats, which is what `skipped` says, while `error` would blame the program.
    """
    root = ET.Element("testsuites", {"name": "distill-eval", **_counts(results, skipped=False)})
    for student in dict.fromkeys(result.student for result in results):
        mine = [result for result in results if result.student == student]
        suite = ET.SubElement(root, "testsuite", {"name": escape.clean(student), **_counts(mine)})
        for result in mine:
            _case(suite, result)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=False).join(
        ('<?xml version="1.0" encoding="UTF-8"?>\n', "\n")
    )


def _counts(results: Sequence[RuleResult], *, skipped: bool = True) -> dict[str, str]:
    """Jenkins' schema has no `skipped` for all suites together."""
    numbers = {"tests": len(results), "failures": sum(result.verdict == "FAIL" for result in results), "errors": 0}
    if skipped:
        numbers["skipped"] = sum(result.verdict == "INCONCLUSIVE" for result in results)
    return {name: str(number) for name, number in numbers.items()} | {"time": "0"}


def _case(suite: ET.Element, result: RuleResult) -> None:
    rule, place = result.rule, "" if result.where is None else f" {escape.clean(result.where)}"
    name = f"{rule.name} {rule.bound:g}{place}"
    case = ET.SubElement(suite, "testcase", {"classname": escape.clean(result.student), "name": name, "time": "0"})
    text = escape.clean(result.text)
    if result.verdict == "FAIL":
        ET.SubElement(case, "failure", {"message": text, "type": "FAIL"}).text = text
    elif result.verdict == "INCONCLUSIVE":
        ET.SubElement(case, "skipped", {"message": text})
