"""What a recipe's plan takes from its other tables."""

import tomllib

import pytest

from distill_eval.errors import UsageError
from distill_eval.recipe import resolve

SIZES = """
teacher = "org/teacher"
output_dir = "out"
[data]
data = "org/text"
max_length = 256
[plan]
ratio = 4
[prepare]
num_layers = 4
hidden_size = 256
[distill]
teacher_dtype = "nf4"
[distill.training]
steps = 10
accumulate = 2
[bench.prompts]
random_input_len = 300
[bench.load]
concurrency = ["2", "8"]
[compare.evaluation]
tasks = ["arc_easy"]
limit = 100
"""


def plan(*changes):
    text = SIZES
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    return resolve(tomllib.loads(text), source="a.toml").plan


def test_a_student_of_given_sizes_is_as_large_as_its_plan_says():
    assert (plan().ratio, plan().target_params) == (4, None)
    given = plan(("ratio = 4", 'target_params = "80M"'))
    assert (given.ratio, given.target_params) == (None, "80M")
    with pytest.raises(UsageError, match=r"a.toml: plan: how small is the student\? .* add ratio = 2.0"):
        plan(("ratio = 4\n", ""))


def test_a_target_of_the_student_is_that_of_the_plan():
    sizes = "num_layers = 4\nhidden_size = 256"
    assert plan(("ratio = 4\n", ""), (sizes, "ratio = 0.2")).ratio == 5
    assert plan(("ratio = 4\n", ""), (sizes, 'target_params = "80M"')).target_params == "80M"


def test_training_requests_and_tasks_are_those_of_the_other_tables():
    found = plan()
    assert (found.training.tokens, found.training.max_length) == (str(10 * 8 * 2 * 256), 256)
    assert found.training.teacher_source == "int4"
    assert (found.serving.input_len, found.serving.output_len, found.serving.concurrency) == (300, 64, (2, 8))
    assert (found.tasks, found.limit) == (("arc_easy",), 100)
    cached = plan(('[distill]\nteacher_dtype = "nf4"\n', "[cache_teacher]\n"))
    assert cached.training.teacher_source == "cached"


def test_what_a_plan_says_itself_counts():
    own = 'ratio = 4\n[plan.training]\nteacher_source = "int8"\n[plan.serving]\ninput_len = 20\n'
    found = plan(("ratio = 4\n", own))
    assert (found.training.teacher_source, found.training.max_length) == ("int8", 256)
    assert (found.serving.input_len, found.serving.concurrency) == (20, (2, 8))


def test_a_drop_that_is_to_be_found_has_no_limit():
    found = plan(("ratio = 4\n", "ratio = 4\ndetect = 0.02\n"))
    assert (found.tasks, found.detect, found.limit) == (("arc_easy",), 0.02, None)
