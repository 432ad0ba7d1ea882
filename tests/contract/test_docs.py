"""Every `distill-eval ...` command in a code block of the README and the docs is one that the parser accepts."""

import shlex

import pytest
from printed import DOCUMENTS, REPORTS, ROOT, commands

from distill_eval import cli

PRINTED = [
    pytest.param(argv, id=f"{path.relative_to(ROOT)}: {shlex.join(argv)[:60]}")
    for path in [*DOCUMENTS, *REPORTS]
    for argv in commands(path.read_text(encoding="utf-8"))
]


def test_commands_are_found_where_they_stand():
    markdown = """
Inline `distill-eval compare` is prose.

```bash
distill-eval compare --teacher A \\
    --tasks 'a,b'   # a comment
$ HF_HOME=/tmp .venv/bin/distill-eval cache list | head > out.txt
pip install distill-eval
```

    distill-eval prepare --teacher B
"""
    assert commands(markdown) == [
        ["compare", "--teacher", "A", "--tasks", "a,b"],
        ["cache", "list"],
        ["prepare", "--teacher", "B"],
    ]


def test_the_readme_prints_commands():
    assert any(argv[:1] == ["compare"] for argv in commands((ROOT / "README.md").read_text(encoding="utf-8")))


def exit_code(argv):
    """0 when the arguments parse, or when they only ask for help."""
    try:
        cli.parse(argv)
    except SystemExit as stop:
        return stop.code or 0
    return 0


@pytest.mark.parametrize("argv", PRINTED)
def test_printed_command_parses(argv, capsys):
    assert exit_code(argv) == 0, capsys.readouterr().err


def test_a_wrong_command_is_noticed(capsys):
    assert exit_code(["compare", "--no-such-option", "1"]) == 2
    assert "no-such-option" in capsys.readouterr().err
