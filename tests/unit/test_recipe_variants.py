"""Recipes with variants and what is measured of them: what they say once, and what is refused."""

import tomllib
from pathlib import Path

import pytest

from distill_eval.errors import UsageError
from distill_eval.recipe import resolve

FULL = """
teacher = "org/teacher"
output_dir = "out"
[data]
data = "org/text"
data_config = "clean"
data_split = "part"
max_length = 256
[prepare]
ratio = 0.5
[distill.training]
steps = 10
[[quantize]]
name = "w8a8"
scheme = "W8A8"
[[quantize]]
name = "nf4"
scheme = "nf4"
calibration = "mine.txt"
[[export]]
name = "onnx-int4"
precision = "int4"
[compare.evaluation]
tasks = ["arc_easy"]
[fidelity]
text = "org/other"
[bench]
[report]
"""
ALONE = """
teacher = "org/teacher"
output_dir = "out"
[data]
data = "org/text"
[[quantize]]
name = "w8a8"
scheme = "W8A8"
[compare.evaluation]
tasks = ["arc_easy"]
[bench]
"""


def read(text):
    return resolve(tomllib.loads(text), source="a.toml")


def refused(text, *changes):
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    with pytest.raises(UsageError) as caught:
        read(text)
    return str(caught.value)


def test_a_variant_is_made_of_the_trained_student_into_a_folder_of_its_name():
    recipe = read(FULL)
    found = [(config.model, config.output_dir) for config in (*recipe.quantize, *recipe.export)]
    assert found == [("out/student", Path("out/variants") / name) for name in ("w8a8", "nf4", "onnx-int4")]
    chained = read(FULL.replace("[prepare]\nratio = 0.5", "").replace("[data]", 'chain = ["80M", "60M"]\n[data]', 1))
    assert chained.quantize[0].model == "out/2-60M/student"
    untrained = read(FULL.replace("[distill.training]\nsteps = 10", ""))
    assert untrained.export[0].model == "out/prepared"


def test_student_and_variants_are_held_against_the_teacher():
    recipe = read(FULL)
    made = ("out/student", "out/variants/w8a8", "out/variants/nf4", "out/variants/onnx-int4")
    assert (recipe.compare.teacher, recipe.compare.student, recipe.compare.baseline) == ("org/teacher", made, ())
    assert (recipe.fidelity.reference, recipe.fidelity.candidate) == ("org/teacher", made)
    assert recipe.bench.model == ("org/teacher", *made)
    folders = [config.output_dir for config in (recipe.compare, recipe.fidelity, recipe.bench, recipe.report)]
    assert folders == [Path("out") / name for name in ("compare", "fidelity", "bench", "report")]
    assert recipe.report.runs == (Path("out"),)
    with_baseline = read(FULL.replace("[data]", "baseline = true\n[data]", 1))
    assert with_baseline.compare.baseline == ("out/baseline",)


def test_without_a_student_variants_are_of_the_teacher():
    recipe = read(ALONE)
    assert recipe.models == {"teacher": "org/teacher", "w8a8": "out/variants/w8a8"}
    assert recipe.quantize[0].model == "org/teacher"
    assert recipe.compare.student == ("out/variants/w8a8",)
    named = read(ALONE.replace("[data]", 'student = "org/student"\n[data]'))
    assert named.quantize[0].model == "org/student"
    assert named.compare.student == ("org/student", "out/variants/w8a8")


def test_text_is_that_of_the_data_where_a_variant_names_none():
    w8a8, nf4 = read(FULL).quantize
    assert (w8a8.calibration, w8a8.calibration_subset, w8a8.calibration_split) == ("org/text", "clean", "part")
    assert w8a8.calibration_length == 256
    assert (nf4.calibration, nf4.calibration_subset, nf4.calibration_length) == ("mine.txt", None, 512)
    [exported] = read(FULL).export
    assert (exported.text, exported.text_subset, exported.text_split) == ("org/text", "clean", "part")
    validated = FULL.replace("max_length", 'validation_data = "org/held-out"\nvalidation_split = "valid"\nmax_length')
    fidelity = read(validated.replace('text = "org/other"\n', "")).fidelity
    assert (fidelity.text, fidelity.text_split) == ("org/held-out", "valid")
    assert read(validated).fidelity.text == "org/other"


def test_a_benchmark_may_be_of_some_models_by_their_names_in_the_run():
    some = read(FULL.replace("[bench]", '[bench]\nmodel = ["teacher", "w8a8"]\nengine = ["hf", "vllm"]'))
    assert some.bench.model == ("org/teacher", "out/variants/w8a8")
    assert tomllib.loads(some.to_toml())["bench"]["model"] == ["teacher", "w8a8"]
    assert "unknown model in a.toml: bench.model 'studnet'. Did you mean 'student'?" in refused(
        FULL, ("[bench]", '[bench]\nmodel = ["studnet"]')
    )
    assert "--engine has 2 names and --model 5" in refused(FULL, ("[bench]", '[bench]\nengine = ["hf", "vllm"]'))


@pytest.mark.parametrize("text", [FULL, ALONE, FULL.replace("[data]", "baseline = true\n[data]", 1)])
def test_the_whole_recipe_as_toml_reads_as_the_same_recipe(text):
    recipe = read(text)
    written = recipe.to_toml()
    assert read(written) == recipe
    assert tomllib.loads(written)["quantize"][0]["name"] == "w8a8"
    assert "endpoint" not in written


def test_what_a_variant_lacks_or_says_twice_is_refused():
    assert "quantize.name is missing" in refused(ALONE, ('name = "w8a8"\n', ""))
    assert "quantize.name 'a/b': expected letters" in refused(ALONE, ("w8a8", "a/b"))
    assert "quantize.name 'student': the run has a model of that name" in refused(ALONE, ("w8a8", "student"))
    assert "quantize.name 'w8a8': two variants have it" in refused(FULL, ("onnx-int4", "w8a8"))
    assert "[quantize]: a recipe has several of them" in refused(ALONE, ("[[quantize]]", "[quantize]"))
    assert "quantize.model: leave it out" in refused(ALONE, ('name = "w8a8"', 'name = "w8a8"\nmodel = "x/y"'))
    assert "quantize.output_dir: leave it out: `name` says it" in refused(
        ALONE, ('name = "w8a8"', 'name = "w8a8"\noutput_dir = "x"')
    )
    assert "quantize.0.scheem: unknown key. Did you mean 'scheme'?" in refused(ALONE, ("scheme", "scheem"))
    assert "unknown scheme 'W4A61'. Did you mean 'W4A16'" in refused(ALONE, ("W8A8", "W4A61"))
    assert "quantise: unknown key. Did you mean 'quantize'?" in refused(FULL, ("[[quantize]]", "[[quantise]]"))


def test_what_has_no_text_is_refused():
    said = refused(ALONE, ('[data]\ndata = "org/text"\n', ""))
    assert "quantize w8a8: no text to measure on. Type --data DATA, or add calibration = ..." in said
    assert "export onnx-int4: no text" in refused(
        ALONE, ('[data]\ndata = "org/text"\n', ""), ("quantize", "export"), ('"w8a8"', '"onnx-int4"'),
        ('scheme = "W8A8"', 'precision = "int4"'),
    )  # fmt: skip
    assert "fidelity.text is missing: name a text that no student was trained on" in refused(
        FULL, ('text = "org/other"\n', "")
    )


def test_what_a_run_does_not_measure_is_refused():
    assert "bench.endpoint: a recipe measures models that it starts itself" in refused(
        FULL, ("[bench]", '[bench]\nendpoint = ["http://127.0.0.1:8000"]')
    )
    assert "bench.from_timings: leave it out" in refused(FULL, ("[bench]", '[bench]\nfrom_timings = "x"'))
    assert "fidelity.candidate: leave it out" in refused(FULL, ("[fidelity]", '[fidelity]\ncandidate = ["x/y"]'))
    assert "report.publish: leave it out: when the run is done, type `distill-eval report RUN --card`" in refused(
        FULL, ("[report]", "[report.publish]\ncard = true")
    )
    assert "report.runs: leave it out" in refused(FULL, ("[report]", '[report]\nruns = ["x"]'))
    labels = ("steps = 10", 'steps = 10\n[distill.labels]\nlabel_column = "label"')
    no_tasks = ('[compare.evaluation]\ntasks = ["arc_easy"]\n', "")
    assert "fidelity: a classifier has no next token" in refused(FULL, labels, no_tasks)
    assert "quantize: it takes causal language models" in refused(
        FULL, labels, no_tasks, ('[fidelity]\ntext = "org/other"\n', "")
    )
