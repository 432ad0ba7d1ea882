"""Recipes: what they say once, what follows from it, and what is refused."""

import dataclasses
import tomllib
from pathlib import Path

import pytest

from distill_eval.bench.config import BenchConfig
from distill_eval.compare_config import CompareConfig
from distill_eval.distill.cache_config import CacheTeacherConfig
from distill_eval.distill.config import DistillConfig, LossConfig, TrainingConfig
from distill_eval.errors import UsageError
from distill_eval.export.config import ExportConfig
from distill_eval.fidelity.config import FidelityConfig
from distill_eval.quantize.config import QuantizeConfig
from distill_eval.recipe import KNOWN, SIZES, STAGES, Overrides, Recipe, load, resolve
from distill_eval.report_config import ReportConfig
from distill_eval.student.config import PrepareConfig

FULL = """
teacher = "org/teacher"
output_dir = "out"
baseline = true
[data]
data = "org/text"
data_config = "clean"
max_length = 256
[prepare]
ratio = 0.5
[cache_teacher]
kind = "top_k"
[distill.loss]
temperature = 3.0
[distill.training]
seed = 7
steps = 10
[compare.evaluation]
tasks = ["arc_easy"]
"""


def read(text):
    return resolve(tomllib.loads(text), source="a.toml")


def refused(text, changes=()):
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    with pytest.raises(UsageError) as caught:
        read(text)
    return str(caught.value)


def test_what_is_said_once_reaches_every_stage():
    recipe = read(FULL)
    assert recipe.prepare.teacher == recipe.cache_teacher.teacher == recipe.compare.teacher == "org/teacher"
    assert recipe.distill.teacher == ()  # the cache is the teacher
    assert recipe.distill.cached_teacher == recipe.cache_teacher.output_dir == Path("out/teacher-cache")
    assert recipe.distill.student == recipe.cache_teacher.student == str(recipe.prepare.output_dir) == "out/prepared"
    assert recipe.distill.data == recipe.cache_teacher.data == recipe.data
    assert (recipe.cache_teacher.temperature, recipe.cache_teacher.seed) == (3.0, 7)
    calibration = recipe.prepare
    assert (calibration.calibration, calibration.calibration_subset) == ("org/text", "clean")
    assert calibration.calibration_length == 256
    assert recipe.compare.output_dir == Path("out/compare")


def test_a_cache_keeps_the_hidden_states_that_the_training_compares():
    assert read(FULL).cache_teacher.layer_map is None
    assert read(FULL.replace("temperature = 3.0", "feature_weight = 0.5")).cache_teacher.layer_map == "uniform"
    last = read(FULL.replace("temperature = 3.0", 'feature_weight = 0.5\nlayer_map = "last"'))
    assert last.cache_teacher.layer_map == last.distill.loss.layer_map == "last"


def test_what_the_training_would_refuse_is_refused_before_the_stages_before_it():
    changed = [("temperature = 3.0", 'temperature = 3.0\nloss = "jsd"')]
    assert "a.toml: distill: --loss jsd: it needs the teacher's whole distribution" in refused(FULL, changed)
    hidden = refused(FULL, [('kind = "top_k"', 'kind = "hidden"')])
    assert "cache_teacher.kind hidden: it keeps no soft labels" in hidden
    features = [("temperature = 3.0", "feature_weight = 0.5"), ('kind = "top_k"', 'layer_map = "last"')]
    said = refused(FULL, features)
    assert "cache_teacher.layer_map last: distill.loss.layer_map is uniform" in said


def test_a_cache_has_the_defaults_of_the_training_that_reads_it():
    options = {field.name: field.default for field in dataclasses.fields(CacheTeacherConfig)}
    assert options["temperature"] == LossConfig().temperature
    assert options["seed"] == TrainingConfig().seed


def test_every_option_that_a_recipe_knows_is_one_of_its_stage():
    for stage, config in (
        ("prepare", PrepareConfig),
        ("cache_teacher", CacheTeacherConfig),
        ("distill", DistillConfig),
        ("quantize", QuantizeConfig),
        ("export", ExportConfig),
        ("compare", CompareConfig),
        ("fidelity", FidelityConfig),
        ("bench", BenchConfig),
        ("report", ReportConfig),
    ):
        assert KNOWN[stage].keys() <= {field.name for field in dataclasses.fields(config)}
    assert set(SIZES) <= {field.name for field in dataclasses.fields(PrepareConfig)}
    assert KNOWN.keys() == set(STAGES) <= {field.name for field in dataclasses.fields(Recipe)}


@pytest.mark.parametrize(
    "changes",
    [
        (),
        (("[prepare]\nratio = 0.5", "[prepare]\nkeep_layers = '::2'"), ("kind = 'top_k'", "")),
        (("baseline = true", "chain = ['80M', '60M']"), ("[prepare]\nratio = 0.5", "")),
        (("baseline = true", "student = 'org/student'"), ("[prepare]\nratio = 0.5", "")),
        (("[prepare]\nratio = 0.5", "[prepare]\nratio = 0.5\ncalibration = 'other.txt'"),),
    ],
)
def test_the_whole_recipe_as_toml_reads_as_the_same_recipe(changes):
    text = FULL
    for before, after in changes:
        text = text.replace(before, after)
    recipe = read(text)
    written = recipe.to_toml()
    assert read(written) == recipe
    table = tomllib.loads(written)
    assert table["distill"]["loss"] == {**dataclasses.asdict(LossConfig()), "temperature": 3.0}  # defaults too
    for stage, known in KNOWN.items():
        assert not known.keys() & table.get(stage, {}).keys()


def test_calibration_is_the_users_own_when_named_and_none_where_none_is_needed():
    own = read(FULL.replace("ratio = 0.5", "ratio = 0.5\ncalibration = 'other.txt'")).prepare
    assert (own.calibration, own.calibration_subset, own.calibration_length) == ("other.txt", None, 512)
    assert read(FULL.replace("ratio = 0.5", "keep_layers = '::2'")).prepare.calibration is None
    assert read(FULL.replace("ratio = 0.5", "fresh = true\nratio = 0.5")).prepare.calibration is None
    assert read(FULL.replace("ratio = 0.5", "drop_layers = '3'\nffn_size = 64")).prepare.calibration == "org/text"


def test_stages_may_be_left_out():
    only_compare = read('teacher = "a/b"\nstudent = "a/c"\noutput_dir = "o"\n[compare.evaluation]\ntasks = ["x"]')
    assert only_compare.compare.student == ("a/c",)
    assert read('teacher = "a/b"\noutput_dir = "o"\n[prepare]\nkeep_layers = "::2"').distill is None


def test_what_is_said_in_the_wrong_place_is_refused_with_the_right_one():
    assert "distill.alpha: unknown key" in refused(FULL, [("[distill.loss]", "[distill]\nalpha = 0.5\n[distill.loss]")])
    assert "distill.loss.temprature: unknown key. Did you mean 'temperature'?" in refused(
        FULL, [("temperature", "temprature")]
    )
    assert "cache-teacher: unknown key. Did you mean 'cache_teacher'?" in refused(
        FULL, [("[cache_teacher]", "[cache-teacher]")]
    )
    assert "prepare.teacher: say it once, at the top" in refused(FULL, [("ratio", "teacher = 'x/y'\nratio")])
    assert "[distill.loss]" in refused(FULL, [('kind = "top_k"', "temperature = 4.0")])
    assert "data: expected a table: [data]" in refused('teacher = "a/b"\noutput_dir = "o"\ndata = "x"\nstudent = "s/t"')
    assert "distill.loss: --temperature 0: expected a number above 0" in refused(FULL, [("= 3.0", "= 0.0")])


def test_what_is_missing_or_said_twice_is_refused():
    assert "no teacher. Type --teacher" in refused(FULL, [('teacher = "org/teacher"', "")])
    assert "no data to train on. Type --data" in refused(FULL, [('data = "org/text"', "")])
    assert "no student: add [prepare]" in refused(FULL, [("[prepare]\nratio = 0.5", "")])
    assert "leave one of them out" in refused(FULL, [("baseline = true", 'student = "a/b"')])
    assert "prepare.ratio: chain says the sizes" in refused(FULL, [("baseline = true", 'chain = ["80M"]')])
    assert "no stage" in refused('teacher = "a/b"\nstudent = "a/c"\noutput_dir = "o"')
    cut = FULL[: FULL.index("[distill.loss]")]
    assert "baseline: expected a table [distill]" in refused(cut)
    assert "cache_teacher: nothing trains on it" in refused(cut, [("baseline = true", "")])


def test_inputs_that_are_given_take_the_place_of_the_recipes_own(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(FULL)
    own = load(str(path), Overrides())
    assert (own.teacher, own.data.data, own.output_dir) == ("org/teacher", "org/text", Path("out"))
    given = load(str(path), Overrides(teacher="a/b", data="c.jsonl", output_dir=Path("there")))
    assert (given.teacher, given.compare.teacher, given.distill.data.data) == ("a/b", "a/b", "c.jsonl")
    assert given.distill.output_dir == Path("there/student")
    path.write_text(FULL.replace('output_dir = "out"', ""))
    assert load(str(path), Overrides()).output_dir == Path("runs/mine")


def test_a_recipe_that_is_not_there_or_no_toml(tmp_path):
    with pytest.raises(UsageError, match=r"unknown recipe 'smoek'. Did you mean 'smoke'\?"):
        load("smoek", Overrides())
    with pytest.raises(UsageError, match=r"x\.toml: no such recipe. Shipped ones: .*smoke"):
        load("x.toml", Overrides())
    (tmp_path / "bad.toml").write_text("a = = 1")
    with pytest.raises(UsageError, match=r"bad\.toml is not TOML: .*line 1"):
        load(str(tmp_path / "bad.toml"), Overrides())
