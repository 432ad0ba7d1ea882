"""The table in the terminal."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console
from unit.report.read import assert_golden

from distill_eval.report.terminal import print_table
from distill_eval.schema.retention import Retention

EXAMPLES = ("fail", "group", "hostile", "single")


def printed(record: Retention, *, width: int = 80, terminal: bool = False) -> str:
    console = Console(
        file=io.StringIO(), width=width, force_terminal=terminal, color_system="standard" if terminal else None
    )
    print_table(record, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("name", EXAMPLES)
def test_golden(examples: Any, name: str) -> None:
    text = printed(getattr(examples, name)())
    assert_golden(f"report_{name}.txt", text)


@pytest.mark.parametrize("name", EXAMPLES)
def test_plain_output_fits_100_columns_of_ascii_whatever_the_console(examples: Any, name: str) -> None:
    text = printed(getattr(examples, name)(), width=40)
    assert text.isascii()
    assert "\x1b" not in text
    assert max(len(line) for line in text.splitlines()) <= 100
    assert text == printed(getattr(examples, name)(), width=200)


def test_verdicts_are_colored_in_a_terminal(examples: Any) -> None:
    text = printed(examples.fail(), width=120, terminal=True)
    assert "\x1b[31mFAIL" in text
    assert "\x1b[32mPASS" in text
    assert "\x1b[33mINCONCLUSIVE" in text
    assert "\x1b[1;31mDo not ship student." in text


@pytest.mark.parametrize("width", [80, 100, 130])
def test_numbers_are_never_cut(examples: Any, width: int) -> None:
    text = printed(examples.group(), width=width, terminal=True)
    assert text.count("INCONCLUSIVE") == 1
    assert text.count("\x1b[32mPASS") == 3
    for number in ("14,042", "60.0%", "57.5%", "[-4.5,-0.5]", "[94.6,97.0]", "0.8247", "[0.0044,0.0204]"):
        assert number in text
    assert "\u2026" not in text


def test_a_wide_terminal_has_one_line_for_each_entry(examples: Any) -> None:
    lines = printed(examples.fail(), width=140).splitlines()
    wide = printed(examples.fail(), width=140, terminal=True).splitlines()
    assert len(lines) > len(wide)
    row = next(line for line in wide if line.startswith("gsm8k"))
    assert row.split()[:4] == ["gsm8k", "exact_match", "(strict-match)", "1,319"]
    assert row.split()[4:-1] == ["0.0%", "0.0%", "0.0", "[0.0,0.0]", "-", "(2)", "\x1b[31mFAIL"]


def test_names_are_not_read_as_rich_markup(examples: Any) -> None:
    record = examples.retention(
        (examples.model("[red]s"),),
        (examples.entry("[red]s", "[bold]t\x1b[5m"),),
        verdicts=(examples.verdict("[red]s", "FAIL", (0, 1, 0), worst_task="[bold]t", worst_retention=0.9),),
    )
    text = printed(record, width=120, terminal=True)
    assert "Do not ship [red]s." in text
    assert "[bold]t [5m" in text
    assert "\x1b[5m" not in text


def test_a_student_without_primary_entries_has_its_sentence(examples: Any) -> None:
    verdict = examples.verdict("s", "FAIL", (0, 3, 0), mean_retention=None)
    text = printed(examples.retention((examples.model("s"),), (), verdicts=(verdict,)))
    assert text == (
        "Do not ship s. Its mean retention over 3 tasks is undefined; 3 of 3 tasks fail the criterion of at\n"
        "least 95 % retention.\n\n"
    )
