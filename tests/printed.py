"""What documents print for readers to type: the lines of their code blocks."""

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "serve" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
REPORTS = sorted((ROOT / "reports").rglob("README.md"))
"""Their commands were run, on real models."""
FENCED = re.compile(r"^```([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"(?:^(?: {4}|\t)[^\n]*\n)+", re.MULTILINE)
COMMAND = re.compile(r"(?:\$ )?(?:[A-Z_]+=\S+ )*(?:\S*/)?distill-eval (.*)")


def lines(markdown):
    """The lines of shell in a document's code blocks, continued ones joined."""
    blocks = [text for language, text in FENCED.findall(markdown) if language in ("", "bash", "sh", "console")]
    blocks += INDENTED.findall(FENCED.sub("", markdown))
    found = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.strip() for line in found if line.strip()]


def commands(markdown):
    """The argument lists of the `distill-eval` commands among the lines; shell operators end a command."""
    found = []
    for line in lines(markdown):
        match = COMMAND.fullmatch(line)
        if match:
            words = shlex.shlex(match[1], posix=True, punctuation_chars=True)
            words.whitespace_split = True
            found.append(until_operator(list(words)))
    return found


def until_operator(words):
    """The words before the first pipe, redirection, `;` or `&&`."""
    ends = [i for i, word in enumerate(words) if word and set(word) <= set("|&;<>()")]
    return words[: ends[0]] if ends else words
