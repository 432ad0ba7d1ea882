"""Which folders of a run a report leaves out: those that may be of other models than the recipe's."""

import pytest
from fakes.runs import recorded

from distill_eval.pipeline.behind import left_behind

RECIPE = """
teacher = "org/teacher"
output_dir = "out"
[data]
data = "org/text"
[prepare]
ratio = 0.5
[distill.loss]
alpha = 0.6
[[quantize]]
name = "w8a8"
scheme = "W8A8"
[compare.evaluation]
tasks = ["arc_easy"]
[bench]
model = ["teacher", "student"]
[report]
"""
FOLDERS = {
    "prepare": "prepared",
    "distill": "student",
    "quantize w8a8": "variants/w8a8",
    "quantize old": "variants/old",
    "compare": "compare",
    "fidelity": "fidelity",
    "bench": "bench",
    "report": "report",
}
DROPPED = {"variants/old", "fidelity"}


@pytest.mark.parametrize(
    ("status", "behind"),
    [
        ({}, set()),
        ({"report": "unfinished"}, set()),
        ({"bench": "failed"}, set()),  # it may have measured a part
        ({"compare": "not run"}, {"compare"}),
        ({"quantize w8a8": "failed"}, {"compare"}),
        ({"distill": "unfinished"}, {"variants/w8a8", "compare", "bench"}),  # killed before their turn
        ({"prepare": "failed"}, {"student", "variants/w8a8", "compare", "bench"}),
    ],
)
def test_what_waits_and_what_the_recipe_no_longer_has(status, behind):
    assert left_behind(recorded(RECIPE, FOLDERS, status)) == DROPPED | behind


def test_of_a_recipe_that_cannot_be_read_the_record_decides():
    assert left_behind(recorded("teacher =", FOLDERS, {"prepare": "failed", "compare": "not run"})) == {"compare"}
    assert left_behind(recorded('teachers = "x"', FOLDERS)) == set()
