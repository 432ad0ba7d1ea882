"""Which folders of a run a report leaves out: those that may be of other models than the recipe's."""

import tomllib
from dataclasses import replace

import pytest
from fakes.runs import recorded

from distill_eval.pipeline.behind import left_behind
from distill_eval.pipeline.plan import steps
from distill_eval.pipeline.without import without
from distill_eval.recipe import resolve

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


def test_what_was_measured_without_a_failed_variant_is_of_today():
    planned = {step.name: step for step in steps(resolve(tomllib.loads(RECIPE), source="a.toml"))}
    smaller = without(planned["compare"], [planned["quantize w8a8"]]).config_digest
    run = recorded(RECIPE, FOLDERS, {"quantize w8a8": "failed"})
    now = tuple(replace(stage, config_digest=smaller) if stage.name == "compare" else stage for stage in run.stages)
    assert left_behind(replace(run, stages=now)) == DROPPED
    trained = tuple(replace(stage, status="failed") if stage.name == "distill" else stage for stage in now)
    assert left_behind(replace(run, stages=trained)) == DROPPED | {"variants/w8a8", "compare", "bench"}


def test_of_a_recipe_that_cannot_be_read_the_record_decides():
    assert left_behind(recorded("teacher =", FOLDERS, {"prepare": "failed", "compare": "not run"})) == {"compare"}
    assert left_behind(recorded('teachers = "x"', FOLDERS)) == set()
