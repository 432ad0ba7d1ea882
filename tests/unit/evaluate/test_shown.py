"""What is kept of a document's prompt."""

import pytest

from distill_eval.evaluate.harness.shown import MOST_CHARS, MOST_OPTION_CHARS, shown

PROMPT = "Question: what shines?\nAnswer:"


def test_a_prompt_and_its_options_are_what_was_scored():
    requests = [(PROMPT, " the sun"), (PROMPT, " a stone")]
    assert shown("multiple_choice", requests, 2) == (PROMPT, (" the sun", " a stone"))


def test_options_without_their_prompt_are_not_options():
    requests = [(PROMPT, " the sun"), (PROMPT, " a stone"), ("", " the sun"), ("", " a stone")]
    assert shown("multiple_choice", requests, 2) == (PROMPT, (" the sun", " a stone"))


@pytest.mark.parametrize("names", [("Sarah", "Sally"), ("Ann", "Ben")])
def test_options_within_the_prompt_begin_with_the_word_that_differs(names):
    requests = [(f"It was warm because {name}", " opened the door.") for name in names]
    prompt, options = shown("multiple_choice", requests, 2)
    assert prompt == "It was warm because"
    assert [prompt + option for option in options] == ["".join(request) for request in requests]
    assert options[0] == f" {names[0]} opened the door."


def test_options_without_a_common_word_have_no_prompt():
    assert shown("multiple_choice", [("Sarah", " ran"), ("Sally", " ran")], 2) == ("", ("Sarah ran", "Sally ran"))


def test_other_tasks_have_a_prompt_alone():
    assert shown("loglikelihood", [(PROMPT, " the sun")], None) == (PROMPT, ())
    assert shown("generate_until", [(PROMPT, {"until": ["\n"]})], None) == (PROMPT, ())
    assert shown("loglikelihood_rolling", [("a whole book",)], None) == (None, ())


def test_of_a_long_prompt_the_end_is_kept_and_of_a_long_option_the_beginning():
    prompt, option = "x" + "p" * MOST_CHARS, "o" * MOST_OPTION_CHARS + "x"
    found = shown("multiple_choice", [(prompt, option), (prompt, "o")], 2)
    assert found.prompt == "..." + "p" * MOST_CHARS
    assert found.options == ("o" * MOST_OPTION_CHARS + "...", "o")
