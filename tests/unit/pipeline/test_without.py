"""Measurements go on without a variant that could not be made, and stop where that leaves nothing."""

import tomllib

import pytest

from distill_eval.pipeline.plan import steps
from distill_eval.pipeline.without import without
from distill_eval.recipe import resolve

RECIPE = """
teacher = "org/teacher"
output_dir = "out"
{top}
[[quantize]]
name = "w8a8"
scheme = "W8A8"
[[quantize]]
name = "nf4"
scheme = "nf4"
[compare]
engine = [{engine}]
parity = false
[compare.evaluation]
tasks = ["arc_easy"]
[fidelity]
text = "org/other"
[bench]
model = [{model}]
engine = ["hf", "vllm", "hf"]
[report]
"""
TRAINED = """baseline = true
[data]
data = "org/text"
[distill]
[prepare]
ratio = 0.5
"""


def planned(top=TRAINED, model='"teacher", "w8a8", "student"', engine='"hf", "vllm", "auto"'):
    text = RECIPE.format(top=top, model=model, engine=engine)
    return {step.name: step for step in steps(resolve(tomllib.loads(text), source="a.toml"))}


def test_a_variant_is_left_out_with_what_is_said_of_it_alone():
    found = planned()
    lost = [found["quantize w8a8"]]
    compare, fidelity, bench = (without(found[name], lost) for name in ("compare", "fidelity", "bench"))
    assert compare.config.student == ("out/student", "out/variants/nf4")
    assert compare.config.engine == ("hf", "auto")
    assert compare.config.baseline == ("out/baseline",)
    assert compare.needs == ("distill", "quantize nf4", "baseline")
    assert fidelity.config.candidate == ("out/student", "out/variants/nf4")
    assert (bench.config.model, bench.config.engine) == (("org/teacher", "out/student"), ("hf", "hf"))
    for step in (compare, fidelity, bench):
        assert step.config_digest != found[step.name].config_digest
    assert without(found["compare"], []) is found["compare"]


@pytest.mark.parametrize("lost", [["distill"], ["quantize w8a8", "distill"], ["baseline"]])
def test_a_student_that_failed_stops_what_reads_it(lost):
    found = planned()
    assert without(found["compare"], [found[name] for name in lost]) is None
    assert without(found["quantize w8a8"], [found[name] for name in lost]) is None


def test_what_is_left_must_be_something_to_measure():
    found = planned(top='[data]\ndata = "org/text"', model='"w8a8", "teacher", "nf4"', engine='"hf"')
    both = [found["quantize w8a8"], found["quantize nf4"]]
    assert without(found["compare"], both) is None
    assert without(found["fidelity"], both) is None
    assert without(found["fidelity"], both[:1]).config.candidate == ("out/variants/nf4",)
    assert without(found["bench"], both[:1]) is None  # the others are held against the first
    assert without(found["bench"], both[1:]).config.model == ("out/variants/w8a8", "org/teacher")
    alone = planned(top='[data]\ndata = "org/text"', model='"teacher", "w8a8", "nf4"', engine='"hf"')
    assert without(alone["bench"], both) is None
