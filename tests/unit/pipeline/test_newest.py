"""Which models a command takes when none is named, and which comparisons."""

import json
import os
import shutil
import tomllib
from pathlib import Path

import pytest

from distill_eval.errors import ArtifactError, UsageError
from distill_eval.pipeline.newest import comparisons, newest
from distill_eval.pipeline.plan import steps
from distill_eval.recipe import resolve
from distill_eval.record import from_json, to_json
from distill_eval.schema.recipe import RecipeRun, StageRun
from distill_eval.schema.retention import Provenance, Retention

ROOT = Path(__file__).resolve().parents[3]
COMPARED = ROOT / "reports" / "2026-11-26-smollm2-distilled" / "wikitext" / "retention.json"
RECIPE = """
output_dir = "runs/x"
teacher = "org/teacher"
chain = {chain}
baseline = true
[data]
data = "text.jsonl"
[distill]
"""


COMPARING = """
output_dir = "runs/mine"
teacher = "org/teacher"
[data]
data = "text.jsonl"
[prepare]
ratio = 0.5
[distill]
[compare.evaluation]
tasks = ["arc_easy"]
"""


def stage(name, folder, status="done"):
    return StageRun(
        name=name, stage="distill", status=status, config_digest="", input_digests={}, folder=folder, files={},
        seconds=1.0, num_attempts=1, error=None,
    )  # fmt: skip


def write_run(path, stages, *, recipe, age):
    provenance = Provenance(command="", versions={}, hardware="cpu", git_commit=None)
    run = RecipeRun(source="x.toml", recipe=recipe, stages=tuple(stages), provenance=provenance)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(to_json(run))
    os.utime(path, (1_000_000 - age, 1_000_000 - age))


def test_a_comparison_names_its_models(tmp_path):
    (tmp_path / "eval").mkdir()
    shutil.copy(COMPARED, tmp_path / "eval" / "retention.json")
    said = from_json(Retention, COMPARED.read_bytes(), source="x")
    found = newest(tmp_path)
    assert found.models == (said.teacher.ref, *(student.ref for student in said.students))
    assert found.source == tmp_path / "eval" / "retention.json"


def test_the_newest_run_counts_and_only_what_is_trained(tmp_path):
    chain = RECIPE.format(chain='["20M", "10M"]')
    done = [stage("1-20M distill", "1-20M/student"), stage("2-10M distill", "2-10M/student", "unfinished")]
    write_run(tmp_path / "runs" / "old" / "run.json", [stage("distill", "student")], recipe=chain, age=100)
    write_run(tmp_path / "runs" / "new" / "run.json", done, recipe=chain, age=1)
    assert newest(tmp_path).models == ("org/teacher", str(tmp_path / "runs" / "new" / "1-20M" / "student"))


def test_a_baseline_is_as_fast_as_the_student_and_left_out(tmp_path):
    recipe = RECIPE.replace("chain = {chain}", 'student = "org/student"')
    done = [stage("distill", "student"), stage("baseline", "baseline")]
    write_run(tmp_path / "run.json", done, recipe=recipe, age=1)
    assert newest(tmp_path).models == ("org/teacher", str(tmp_path / "student"))


def test_a_recipe_says_where_its_run_is(tmp_path):
    (tmp_path / "recipe.toml").write_text(RECIPE.format(chain='["20M"]'))
    with pytest.raises(UsageError, match="was not run yet"):
        newest(tmp_path)


def test_no_run(tmp_path):
    with pytest.raises(UsageError, match="--model is missing, and there is no run below this folder"):
        newest(tmp_path)


def test_a_run_without_a_student(tmp_path):
    unfinished = [stage("1-20M distill", "1-20M/student", "failed")]
    write_run(tmp_path / "run.json", unfinished, recipe=RECIPE.format(chain='["20M"]'), age=1)
    with pytest.raises(UsageError, match="no student that is trained"):
        newest(tmp_path)


def test_a_damaged_run(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(ArtifactError, match=r"run\.json is not a valid RecipeRun"):
        newest(tmp_path)


# ---- comparisons


def compared(root, *folders):
    """What is found and told where comparisons lie in these folders."""
    for folder in folders:
        (root / folder).mkdir(parents=True)
        shutil.copy(COMPARED, root / folder / "retention.json")
    told = []
    return comparisons(root, told.append), told


def test_the_comparison_of_a_recipes_run_is_found(tmp_path):
    recipe = resolve(tomllib.loads(COMPARING), source="recipe.toml")
    (folder,) = (step.folder for step in steps(recipe) if step.stage == "compare")
    found, told = compared(tmp_path, folder, "mine")
    assert found == (tmp_path / "mine" / "retention.json", tmp_path / "runs" / "mine" / "compare" / "retention.json")
    assert told == [f"your own runs: {', '.join(map(str, found))} (others: --runs)"]


def test_what_is_no_artifact_is_passed_by_and_what_is_damaged_or_older_is_told(tmp_path):
    (tmp_path / "docs" / "schema").mkdir(parents=True)
    shutil.copy(ROOT / "docs" / "schema" / "retention.json", tmp_path / "docs" / "schema")
    assert compared(tmp_path) == ((), [])
    said = json.loads(COMPARED.read_text())
    for name, text in (
        ("cut", COMPARED.read_text()[:-10]),
        ("older", (ROOT / "reports" / "2026-11-22-smollm2-layers-dropped" / "retention.json").read_text()),
        ("lacking", json.dumps({key: said[key] for key in said if key != "entries"})),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "retention.json").write_text(text)
    found, told = compared(tmp_path, "good")
    assert found == (tmp_path / "good" / "retention.json",)
    assert [str(tmp_path / name) in line for name, line in zip(("cut", "lacking", "older"), told[:3], strict=True)]
    assert all(line.endswith(": left out of your own runs") for line in told[:3])
    assert len(told) == 4


def test_a_recipes_comparison_does_not_change_which_run_is_the_newest(tmp_path):
    """Its manifest names the models, and a comparison in a stage of it has them by other paths."""
    done = [stage("1-20M distill", "1-20M/student")]
    write_run(tmp_path / "runs" / "x" / "run.json", done, recipe=RECIPE.format(chain='["20M"]'), age=1)
    compared(tmp_path, "runs/x/compare")
    assert newest(tmp_path).source == tmp_path / "runs" / "x" / "run.json"
