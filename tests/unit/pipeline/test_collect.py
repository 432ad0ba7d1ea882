"""What is found below the folders of runs, and what is refused there."""

import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest

from distill_eval.errors import ArtifactError, UsageError
from distill_eval.pipeline.collect import collect, search
from distill_eval.record import to_json
from distill_eval.schema.recipe import RecipeRun, StageRun
from distill_eval.schema.retention import Provenance

REPORTS = Path(__file__).resolve().parents[3] / "reports"
QUANT = REPORTS / "2026-11-26-smollm2-variants" / "w8a8" / "quant.json"
BENCH = REPORTS / "2026-11-26-smollm2-serving" / "bench.json"


@pytest.fixture
def run(tmp_path):
    """A variant two levels below, and a benchmark."""
    folder = tmp_path / "run"
    (folder / "variants" / "w8a8").mkdir(parents=True)
    shutil.copy(QUANT, folder / "variants" / "w8a8" / "quant.json")
    shutil.copy(BENCH, folder / "bench.json")
    return folder


def found(*runs):
    return [one.where for one in collect(runs)]


def test_artifacts_are_found_below_a_folder_and_named_from_it(run):
    assert found(run) == ["run/bench.json", "run/variants/w8a8/quant.json"]
    assert found(run / "variants" / "w8a8" / "quant.json") == ["w8a8/quant.json"]
    assert found(run / "variants", run) == ["run/bench.json", "variants/w8a8/quant.json"]  # each once


def test_the_digest_is_that_of_the_file(run):
    assert collect([run])[0].digest == hashlib.sha256(BENCH.read_bytes()).hexdigest()


@pytest.mark.parametrize("name", ["checkpoints", "checkpoint-8", "samples", "teacher-cache", ".old", "w8a8.replaced-1"])
def test_what_is_no_result_is_passed_by(run, name):
    shutil.copytree(run / "variants" / "w8a8", run / name)
    assert found(run) == ["run/bench.json", "run/variants/w8a8/quant.json"]


def test_folders_of_one_name_are_told_apart(run, tmp_path):
    shutil.copytree(run, tmp_path / "again" / "run")
    shutil.rmtree(tmp_path / "again" / "run" / "variants")
    parent = tmp_path.name
    assert found(run, tmp_path / "again" / "run") == [
        f"{parent}/run/bench.json", "again/run/bench.json", f"{parent}/run/variants/w8a8/quant.json",
    ]  # fmt: skip


def test_no_run_and_no_such_folder_are_refused(tmp_path):
    with pytest.raises(UsageError, match="expected the folder of a run"):
        collect([])
    with pytest.raises(UsageError, match="nowhere: no such folder or file"):
        collect([tmp_path / "nowhere"])


def test_a_folder_without_an_artifact_says_which_verb_makes_one(tmp_path):
    with pytest.raises(ArtifactError, match=r"holds no artifact: expected one of retention.json \(compare\), "):
        collect([tmp_path])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"version": 7},
            "is of schema version 7, and this distill-eval reads version 1: make it again with distill-eval",
        ),
        ({"schema": "distill-eval/benches"}, "its schema is 'distill-eval/benches', expected distill-eval/"),
        ({"complet": True}, "complet: unknown key. Did you mean 'complete'?"),
    ],
    ids=["version", "kind", "key"],
)
def test_what_cannot_be_read_is_refused_by_name(run, change, message):
    path = run / "bench.json"
    path.write_text(json.dumps(json.loads(BENCH.read_text()) | change))
    with pytest.raises(ArtifactError, match=f"{re.escape(str(path))}.*{re.escape(message)}"):
        collect([run])


@pytest.mark.parametrize("said", ['{"a": 1}', "[1]", '{"schema": "other/bench"}', '{"schema": 3}'])
def test_a_foreign_file_in_a_folder_is_passed_over_and_named_and_by_hand_it_is_refused(run, said):
    path = run / "run.json"
    path.write_text(said)
    assert found(run) == ["run/bench.json", "run/variants/w8a8/quant.json"]
    assert search([run]).foreign == ("run/run.json",)
    with pytest.raises(ArtifactError, match=r"run.json is not an artifact that a report reads: its schema is "):
        collect([run, path])


def test_nothing_but_foreign_files_is_refused(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(ArtifactError, match=r"run.json is of another program, and there is no artifact beside"):
        collect([tmp_path])


def test_an_artifact_under_another_name_is_found_and_other_json_is_not(run):
    (run / "bench.json").rename(run / "first.json")
    for name, said in {"a": '{"schema": "distill-eval/report", ', "b": '{"model": 1}', "c": "", "d": "[]"}.items():
        (run / f"{name}.json").write_text(said)
    assert found(run) == ["run/first.json", "run/variants/w8a8/quant.json"]
    assert search([run]).foreign == ()


def test_what_is_not_json_is_refused(run):
    (run / "bench.json").write_text("{")
    with pytest.raises(ArtifactError, match=r"bench.json is not JSON"):
        collect([run])


def recorded(digest):
    stage = StageRun(
        name="quantize", stage="compare", status="done", config_digest="", input_digests={}, folder="variants/w8a8",
        files={"quant.json": digest, "model.safetensors": "0" * 64}, seconds=1.0, num_attempts=1, error=None,
    )  # fmt: skip
    provenance = Provenance(command="", versions={}, hardware="cpu", git_commit=None)
    return to_json(RecipeRun(source="x.toml", recipe="", stages=(stage,), provenance=provenance))


def test_an_artifact_that_is_as_recorded_is_taken_and_an_edited_one_is_not(run):
    (run / "run.json").write_text(recorded(hashlib.sha256(QUANT.read_bytes()).hexdigest()))
    assert len(collect([run])) == 3
    path = run / "variants" / "w8a8" / "quant.json"
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 1'))
    assert path.read_bytes() != QUANT.read_bytes()
    with pytest.raises(ArtifactError, match=r"quant.json was edited by hand.*run.json has [0-9a-f]{12} on record"):
        collect([run])
