"""The steps of a recipe, their order, and what they depend on."""

import tomllib
from pathlib import Path

import pytest

from distill_eval.errors import UsageError
from distill_eval.pipeline.plan import steps
from distill_eval.recipe import resolve

CHAIN = """
teacher = "org/teacher"
output_dir = "out"
chain = ["110M", "80M"]
baseline = true
[data]
data = "org/text"
[cache_teacher]
[distill.loss]
alpha = 0.6
[compare.evaluation]
tasks = ["arc_easy"]
"""
DIRECT = CHAIN.replace('chain = ["110M", "80M"]', "[prepare]\nratio = 0.5").replace("baseline = true", "")


def read(text):
    return resolve(tomllib.loads(text), source="a.toml")


def test_each_link_is_made_and_taught_by_the_one_before_it():
    found = {step.name: step for step in steps(read(CHAIN))}
    assert {name: step.needs for name, step in found.items()} == {
        "1-110M prepare": (),
        "1-110M cache-teacher": ("1-110M prepare",),
        "1-110M distill": ("1-110M prepare", "1-110M cache-teacher"),
        "2-80M prepare": ("1-110M distill",),
        "2-80M cache-teacher": ("2-80M prepare",),
        "2-80M distill": ("2-80M prepare", "2-80M cache-teacher"),
        "baseline": ("2-80M prepare", "2-80M cache-teacher"),
        "compare": ("2-80M distill", "baseline"),
    }
    first, second = found["1-110M prepare"].config, found["2-80M prepare"].config
    assert (first.teacher, first.target_params) == ("org/teacher", "110M")
    assert (second.teacher, second.target_params) == ("out/1-110M/student", "80M")
    assert found["2-80M cache-teacher"].config.teacher == "out/1-110M/student"
    assert found["2-80M distill"].config.cached_teacher == Path("out/2-80M/teacher-cache")
    untaught = found["baseline"].config
    assert (untaught.baseline, untaught.student, untaught.alpha) == (True, "out/2-80M/prepared", 0.0)
    assert found["compare"].config.student == ("out/2-80M/student",)
    assert found["compare"].config.baseline == ("out/2-80M/baseline",)
    assert found["compare"].config.teacher == "org/teacher"


def test_a_direct_recipe_is_one_link_without_a_number():
    assert [(step.name, str(step.folder)) for step in steps(read(DIRECT))] == [
        ("prepare", "out/prepared"),
        ("cache-teacher", "out/teacher-cache"),
        ("distill", "out/student"),
        ("compare", "out/compare"),
    ]


def test_without_training_the_prepared_student_is_compared():
    found = steps(read(DIRECT.replace("[cache_teacher]\n[distill.loss]\nalpha = 0.6\n", "")))
    assert [(step.name, step.needs) for step in found] == [("prepare", ()), ("compare", ("prepare",))]
    assert found[-1].config.student == ("out/prepared",)


WHOLE = (
    DIRECT.replace("[cache_teacher]\n", "").replace("[prepare]", "baseline = true\n[prepare]")
    + """
[[quantize]]
name = "w8a8"
scheme = "W8A8"
[[quantize]]
name = "w4a16"
scheme = "W4A16"
[[export]]
name = "onnx"
[fidelity]
text = "org/other"
[bench]
model = ["teacher", "student"]
[report]
"""
)


def test_a_step_needs_what_it_reads_and_no_more():
    variants = ("quantize w8a8", "quantize w4a16", "export onnx")
    assert {step.name: step.needs for step in steps(read(WHOLE))} == {
        "prepare": (),
        "distill": ("prepare",),
        "baseline": ("prepare",),
        "quantize w8a8": ("distill",),
        "quantize w4a16": ("distill",),
        "export onnx": ("distill",),
        "compare": ("distill", *variants, "baseline"),
        "fidelity": ("distill", *variants),
        "bench": ("distill",),
        "report": (),
    }
    assert [step.stage for step in steps(read(WHOLE))][3:] == [
        "quantize", "quantize", "export", "compare", "fidelity", "bench", "report",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('teacher = "org/teacher"', 'teacher = "./out/student"'), r"prepare reads ./out/student \(teacher\), which"),
        (('data = "org/text"', 'data = "out/bench"'), r"prepare reads out/bench \(calibration\), which bench makes"),
        (
            ('text = "org/other"', 'text = "out/fidelity"'),
            r"fidelity reads out/fidelity \(text\), which fidelity makes",
        ),
    ],
)
def test_a_cycle_is_refused(change, said):
    assert change[0] in WHOLE
    with pytest.raises(UsageError, match=said):
        steps(read(WHOLE.replace(*change)))


def test_a_variants_options_repeat_that_variant_alone():
    before = {step.name: step.config_digest for step in steps(read(WHOLE))}
    changed = WHOLE.replace('scheme = "W4A16"', 'scheme = "W4A16"\ngroup_size = 64')
    after = {step.name: step.config_digest for step in steps(read(changed))}
    assert {name for name in before if before[name] != after[name]} == {"quantize w4a16"}


def test_a_variants_name_repeats_what_calls_it_by_its_name():
    before = {step.name: step.config_digest for step in steps(read(WHOLE))}
    renamed = {step.name: step.config_digest for step in steps(read(WHOLE.replace('"w8a8"', '"int8"')))}
    assert {name for name in before if before[name] != renamed.get(name)} == {"quantize w8a8", "compare", "fidelity"}
    moved = WHOLE.replace('output_dir = "out"', 'output_dir = "runs/elsewhere"')
    assert {step.name: step.config_digest for step in steps(read(moved))} == before


@pytest.mark.parametrize(
    ("change", "repeated"),
    [
        (("alpha = 0.6", "alpha = 0.7"), {"distill"}),
        (("alpha = 0.6", "temperature = 4.0"), {"cache-teacher", "distill", "baseline"}),
        (("ratio = 0.5", "ratio = 0.4"), {"prepare"}),
        (('tasks = ["arc_easy"]', 'tasks = ["sciq"]'), {"compare"}),
        (
            ('data = "org/text"', 'data = "org/text"\nmax_length = 128'),
            {"prepare", "cache-teacher", "distill", "baseline"},
        ),
        (('teacher = "org/teacher"', 'teacher = "org/other"'), {"compare"}),  # known by content, but for its name
        (('data = "org/text"', 'data = "org/other"'), set()),
        (('output_dir = "out"', 'output_dir = "elsewhere"'), set()),
        (("[distill.loss]", '[distill.training]\nreport_to = "tensorboard"\n[distill.loss]'), set()),
    ],
)
def test_what_an_option_changes(change, repeated):
    text = DIRECT.replace('output_dir = "out"', 'output_dir = "out"\nbaseline = true')
    before = {step.name: step.config_digest for step in steps(read(text))}
    after = {step.name: step.config_digest for step in steps(read(text.replace(*change)))}
    assert {name for name in before if before[name] != after[name]} == repeated
