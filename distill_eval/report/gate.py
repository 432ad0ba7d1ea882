"""The gate in words: a sentence, the section of a report, and lines for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from distill_eval.report import escape, numbers
from distill_eval.report.sections import folded, plain_table
from distill_eval.schema.gate import RuleResult, overall
from distill_eval.schema.retention import Verdict

WORDS: dict[Verdict, tuple[str, str]] = {
    "FAIL": ("is broken", "are broken"),
    "INCONCLUSIVE": ("is inconclusive", "are inconclusive"),
    "PASS": ("is kept", "are kept"),
}
"""Worst first."""
RULE = "PASS: the whole interval keeps the bound. FAIL: none of it does. INCONCLUSIVE: it holds both, or there is none."


def sentence(results: Sequence[RuleResult]) -> str:
    """How many rules are kept, e.g. `1 of 12 rules is broken, 2 are inconclusive, 9 are kept`.

    A rule counts once per student and place.
    """
    parts: list[str] = []
    total = numbers.plural(len(results), "rule")
    for verdict, words in WORDS.items():
        number = sum(result.verdict == verdict for result in results)
        if number:
            of_all = "" if parts else f" of {total}"
            parts.append(f"{number:,}{of_all} {words[number != 1]}")
    return ", ".join(parts) or "no rule was judged"


def section(results: Sequence[RuleResult]) -> str:
    """The section of a report: the verdict, then every rule with its reason."""
    rows = [result for worst in WORDS for result in results if result.verdict == worst]
    table = plain_table(
        {
            "verdict": [result.verdict for result in rows],
            "student": [escape.text(result.student) for result in rows],
            "rule": [escape.text(result.text) for result in rows],
        }
    )
    return f"## Gate\n\n**{overall(results)}**: {sentence(results)}. {RULE}\n\n{folded(table, len(rows))}"


def lines(results: Sequence[RuleResult]) -> list[str]:
    """A line per rule, those that stop it last, and then the verdict: the end is what is on the screen."""
    rows = [result for verdict in reversed(WORDS) for result in results if result.verdict == verdict]
    told = [f"{result.verdict}: {escape.clean(result.student)}: {escape.clean(result.text)}" for result in rows]
    return [*told, f"Gate: {overall(results)}, {sentence(results)}"]
