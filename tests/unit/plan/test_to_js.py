"""What is outside the subset is refused; what is inside runs in tests/integration/test_plan_page.py."""

import math

import pytest
from fakes import small_functions as small
from to_js import Translation
from to_js_function import RefusedError


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (small.formats, "formats, line 98: JoinedStr"),
        (small.rounds, "round(x)"),
        (small.compares, "neither is a string, a number or None"),
        (small.nested, "FunctionDef"),
        (small.unknown_member, ".nothing_has_this is of no translated class"),
        (small.spreads, "* and ** in a signature"),
    ],
)
def test_what_python_means_otherwise_is_refused(function, said):
    script = Translation()
    with pytest.raises(RefusedError) as refused:
        script.add(function)
        script.text()
    assert said.partition(", line")[0] in str(refused.value)
    assert said.rpartition(": ")[2] in str(refused.value)


@pytest.mark.parametrize("value", [math.inf, math.nan, 2**53 + 1, {1}, object()])
def test_what_is_no_number_there_is_no_constant(value):
    with pytest.raises(RefusedError, match=r"no exact number|is no constant"):
        Translation().constant("X", value)


def test_two_things_of_one_name_are_refused():
    script = Translation()
    script.constant("floors", 1)
    with pytest.raises(RefusedError, match="two things are called floors"):
        script.add(small.floors)


def test_what_a_function_uses_comes_before_it_and_once():
    script = Translation()
    script.add(small.by_name, small.keeps)
    lines = script.text().splitlines()
    assert [line.partition("(")[0] for line in lines] == ["const LIMIT = 7;", "function keeps", "function by_name"]
    assert "keeps([5, 6, 7, 8], 6, a)" in lines[2]
    assert "least = 0, most = LIMIT" in lines[1]


def test_a_text_ends_no_script():
    script = Translation()
    script.constant("TEXT", "</script>")
    assert script.text() == 'const TEXT = "<\\/script>";\n'
