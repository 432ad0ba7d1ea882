"""What GitHub Actions shows of a verdict: annotations; its step summary is the report's own markdown."""

from __future__ import annotations

from collections.abc import Sequence

from distill_eval.report import escape
from distill_eval.report.gate import sentence
from distill_eval.schema.gate import RuleResult, overall
from distill_eval.schema.retention import Verdict

COMMANDS: dict[Verdict, str] = {"FAIL": "error", "INCONCLUSIVE": "warning", "PASS": "notice"}
_IN_TEXT = str.maketrans({"%": "%25", "\r": "%0D", "\n": "%0A"})
_IN_PROPERTY = str.maketrans({":": "%3A", ",": "%2C"})


def annotated(results: Sequence[RuleResult]) -> list[str]:
    """A workflow command for each rule that is not kept, and one for the verdict.

    Escaped as https://github.com/actions/toolkit/blob/main/packages/core/src/command.ts does.
    """
    verdict = overall(results)
    unkept = [result for result in results if result.verdict != "PASS"]
    told = [_command(result.verdict, f"{result.student}: {result.verdict}", result.text) for result in unkept]
    return [*told, _command(verdict, f"distill-eval: {verdict}", sentence(results))]


def _command(verdict: Verdict, title: str, text: str) -> str:
    shown, said = (escape.clean(part).translate(_IN_TEXT) for part in (title, text))
    return f"::{COMMANDS[verdict]} title={shown.translate(_IN_PROPERTY)}::{said}"
