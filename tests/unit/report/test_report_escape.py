"""Foreign text stays text."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from distill_eval.report import escape

PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
FOREIGN = st.text(max_size=25) | st.text(alphabet="|`<>[]()!*_\\~$&#;\n\r\t -+.:/@ab1\u202e\u3000", max_size=40)


def shown(markdown: str) -> str:
    """What a reader sees of inline markdown; anything but text and code spans fails."""
    tokens = PARSER.parse(f"x {markdown}")
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    children = tokens[1].children or []
    assert {child.type for child in children} <= {"text", "code_inline"}
    return "".join(child.content for child in children).removeprefix("x ")


@pytest.mark.parametrize(
    ("foreign", "written"),
    [
        ("arc_challenge", "arc_challenge"),
        ("_private_", r"\_private\_"),
        ("a|b", r"a\|b"),
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("[x](javascript:1)", r"\[x\](javascript:1)"),
        ("![x](y)", r"!\[x\](y)"),
        ("a\r\nb\tc\x1b[31m", r"a b c \[31m"),
        ("https://x.example www.x.example", r"https:\/\/x.example www\.x.example"),
        ("see org/name@v1.main.", "see `org/name@v1.main.`"),
        ("x$y$", "x&#36;y&#36;"),
        ("\\", r"\\"),
        (" \u202e ", "(empty)"),
    ],
)
def test_text_escapes_what_would_be_markup(foreign: str, written: str) -> None:
    assert escape.text(foreign) == written


@given(FOREIGN)
@settings(deadline=None, max_examples=150)
def test_text_and_name_are_shown_as_they_are(foreign: str) -> None:
    assert shown(escape.text(foreign)) == escape.clean(foreign)
    assert shown(escape.name(foreign)) == escape.clean(foreign)


def test_names_are_code_only_when_nothing_in_them_is_special() -> None:
    assert escape.name("org/student-4@v1.2") == "`org/student-4@v1.2`"
    assert escape.name("a`b") == r"a\`b"
    assert escape.name("two words") == "two words"


def test_code_block_fence_is_longer_than_any_run_inside() -> None:
    block = escape.code_block("a\n````\nb", language="sh")
    assert block == "`````sh\na\n````\nb\n`````"


@given(FOREIGN)
@settings(deadline=None, max_examples=150)
def test_code_block_shows_the_text_verbatim(foreign: str) -> None:
    tokens = PARSER.parse(escape.code_block(foreign))
    assert [token.type for token in tokens] == ["fence"]
    visible = "".join(
        char.encode("unicode_escape").decode()
        if (ord(char) < 32 or 127 <= ord(char) < 160) and char not in "\n\t"
        else char
        for char in foreign
    )
    assert tokens[0].content == visible + "\n"


def test_code_block_survives_bytes_that_are_not_text() -> None:
    assert escape.code_block("a\udcffb").encode("utf-8") == b"```\na\\udcffb\n```"
