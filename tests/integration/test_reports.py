"""What `prepare`, `distill` and `curves` leave for a reader, through the command line."""

import json
import shutil
from functools import partial

import pytest
from fakes.tiny_families import logits, save
from fakes.tiny_teachers import TEXT
from transformers import AutoModelForCausalLM, AutoTokenizer

from distill_eval import cli
from distill_eval.errors import StoreError
from distill_eval.record import from_json
from distill_eval.report import student as student_report
from distill_eval.report import training as training_report
from distill_eval.schema.distill import DistillRun
from distill_eval.schema.student import StudentInit
from distill_eval.student import prepare as stage
from distill_eval.student.config import PrepareConfig

run = partial(stage.run, argv=["prepare"])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A teacher, a text, and two trainings of one student: with the teacher and without."""
    root = tmp_path_factory.mktemp("reports")
    save("llama", root / "teacher", seed=0)
    (root / "text.txt").write_text("\n\n".join(TEXT))
    (root / "text.jsonl").write_text("".join(json.dumps({"text": line}) + "\n" for line in TEXT))
    prepared = ["--num-layers", "4", "--ffn-size", "32", "--calibration-samples", "2", "--calibration-length", "16"]
    teacher, text = str(root / "teacher"), str(root / "text.txt")
    assert main("prepare", "--teacher", teacher, "--calibration", text, *prepared, "--output-dir", root / "init") == 0
    for name, option in (("taught", []), ("plain", ["--baseline"])):
        options = ["--max-length", "16", "--batch-size", "2", "--steps", "4", "--eval-every", "2", "--device", "cpu"]
        data = ["--data", root / "text.jsonl", "--validation-documents", "2"]
        models = ["--student", root / "init", "--teacher", teacher]
        assert main("distill", *models, *data, *options, *option, "--output-dir", root / name) == 0
    return root


def main(*words):
    return cli.main([str(word) for word in words])


def record(folder):
    return from_json(DistillRun, (folder / "distill.json").read_bytes(), source="distill.json")


def test_a_students_folder_says_how_it_was_cut(place):
    folder = place / "init"
    made = from_json(StudentInit, (folder / "student.json").read_bytes(), source="student.json")
    assert (folder / "student.md").read_text() == student_report.render(made)
    assert (folder / "layers.svg").read_text() == student_report.draw(made)
    assert made.layer_importance is not None
    assert {group.axis for group in made.channels} == {"ffn"}


def test_a_runs_folder_shows_its_curves(place):
    done = record(place / "taught")
    assert (place / "taught" / "training.md").read_text() == training_report.render({"taught": done})
    assert (place / "taught" / "curves.svg").read_text() == training_report.draw({"taught": done})
    assert f"{done.after.perplexity:,.2f}" in (place / "taught" / "training.md").read_text()


@pytest.mark.parametrize("name", ["init", "taught"])
def test_the_folder_stays_one_that_transformers_loads(place, tmp_path, name):
    loaded = AutoModelForCausalLM.from_pretrained(place / name)
    assert AutoTokenizer.from_pretrained(place / name)("a").input_ids
    bare = shutil.copytree(place / name, tmp_path / name, ignore=shutil.ignore_patterns("*.md", "*.svg"))
    assert not list(bare.glob("*.md"))
    assert logits(AutoModelForCausalLM.from_pretrained(bare)).equal(logits(loaded))


def test_curves_writes_again_what_distill_wrote(place, tmp_path, capsys):
    folder = shutil.copytree(place / "taught", tmp_path / "taught")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / "training.md").unlink()
    (folder / "curves.svg").unlink()
    assert main("curves", folder) == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert f"Curves: {folder / 'training.md'}" in capsys.readouterr().out


def test_curves_draws_a_baseline_beside_its_run(place, tmp_path):
    before = (place / "taught" / "training.md").read_bytes()
    assert main("curves", place / "taught", place / "plain", "--output-dir", tmp_path / "both") == 0
    runs = {"taught": record(place / "taught"), "plain": record(place / "plain")}
    assert (tmp_path / "both" / "training.md").read_text() == training_report.render(runs)
    assert "plain (without the teacher)" in (tmp_path / "both" / "curves.svg").read_text()
    assert (place / "taught" / "training.md").read_bytes() == before


def test_runs_of_one_name_keep_their_paths(place, tmp_path):
    folder = shutil.copytree(place / "plain", tmp_path / "taught")
    assert main("curves", place / "taught", folder, "--output-dir", tmp_path / "both") == 0
    text = (tmp_path / "both" / "training.md").read_text()
    assert str(folder) in text
    assert str(place / "taught") in text


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["{place}/teacher"], 1, "holds no finished run: expected distill.json"),
        (["{place}/taught", "{place}/nowhere"], 1, "nowhere holds no finished run"),
        ([], 2, "curves: name the folder of a run"),
        ([f"run{number}" for number in range(7)], 2, "7 runs, expected 6 at most"),
        (["{place}/taught", "--output-dir", "{place}/text.txt/x"], 1, "cannot write"),
    ],
)
def test_what_cannot_be_drawn_is_refused(place, capsys, words, code, said):
    try:
        found = main("curves", *(word.format(place=place) for word in words))
    except SystemExit as stop:  # the parser's own way out
        found = stop.code
    assert found == code
    assert said in " ".join(capsys.readouterr().err.split())


def test_a_run_of_another_version_is_refused(place, tmp_path, capsys):
    folder = tmp_path / "future"
    folder.mkdir()
    content = json.loads((place / "taught" / "distill.json").read_text()) | {"version": 99}
    (folder / "distill.json").write_text(json.dumps(content))
    assert main("curves", folder) == 1
    assert "is of version 99, expected" in capsys.readouterr().err
    assert [path.name for path in folder.iterdir()] == ["distill.json"]


def test_a_student_that_cannot_be_described_is_not_left_half_written(place, tmp_path):
    config = PrepareConfig(teacher=str(place / "teacher"), keep_layers="::2", output_dir=tmp_path / "out" / "student")
    with pytest.raises(StoreError, match="cannot write"):
        run(config, describe=lambda _: {"no-such-folder/student.md": "text"})
    assert list((tmp_path / "out").iterdir()) == []
