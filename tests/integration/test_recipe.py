"""`distill-eval run` and `distill --chain` on tiny models: what is skipped, gone on with, stopped and begun again."""

import json
import shutil
import signal
import tomllib
from pathlib import Path

import pytest
from fakes.runs import by_name, killed, recipe_text, record, skipped, tools, write, write_text
from fakes.tiny_tasks import write_tasks
from fakes.tiny_teachers import save_teacher
from safetensors.torch import load_file
from torch import equal
from transformers import AutoModelForCausalLM

from distill_eval.cli import main, parse
from distill_eval.errors import UsageError
from distill_eval.pipeline.chain import chain_recipe
from distill_eval.pipeline.gathered import gather
from distill_eval.pipeline.run import run
from distill_eval.recipe import Overrides, load
from distill_eval.record import from_json
from distill_eval.report.scorecard import render
from distill_eval.schema.distill import DistillRun

STAGES = ["prepare", "cache-teacher", "distill", "baseline", "compare"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A teacher, a text and tasks."""
    root = tmp_path_factory.mktemp("recipe")
    save_teacher("llama", root / "teacher")
    write_tasks(root / "tasks")
    write_text(root / "text.jsonl")
    return root


def recipe(place, **changes):
    """The text of a recipe with all stages; `changes` are tables, of which `None` leaves one out."""
    tables = {
        "": f'teacher = "{place / "teacher"}"\nbaseline = true',
        "data": f'data = "{place / "text.jsonl"}"\nmax_length = 32\nvalidation_documents = 10',
        "prepare": "ratio = 0.6\ncalibration_samples = 4\ncalibration_length = 32",
        "cache_teacher": "batch_size = 8",
        "distill.training": 'steps = 4\nbatch_size = 2\neval_every = 2\nlearning_rate = 3e-3\ndevice = "cpu"',
        "compare.evaluation": f'tasks = ["tiny_mc"]\nlimit = 8\ninclude_path = "{place / "tasks"}"',
    } | changes
    return recipe_text(tables)


def weights(folder):
    return load_file(folder / "model.safetensors")


def same(a, b):
    return a.keys() == b.keys() and all(equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def finished(place, task_index, tmp_path_factory):
    """A folder with a recipe that was run once to its end."""
    root = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISTILL_EVAL_CACHE", str(shutil.copytree(task_index, root / "cache")))
        assert main(["run", write(root, recipe(place)), "--output-dir", str(root / "out")]) == 0
    return root


@pytest.fixture
def done(finished, tmp_path):
    """A copy of it, of which anything may be changed."""
    return shutil.copytree(finished, tmp_path / "copy")


def again(done, *options, text=None):
    path = done / "tiny.toml"
    if text is not None:
        path.write_text(text)
    return main(["run", str(path), "--output-dir", str(done / "out"), *options])


# ---- the whole way


def test_every_stage_runs_and_is_recorded(finished, place):
    out = finished / "out"
    run = record(out)
    assert [stage.name for stage in run.stages] == STAGES
    assert {stage.status for stage in run.stages} == {"done"}
    assert all(stage.seconds > 0 and stage.num_attempts == 1 for stage in run.stages)
    student, teacher = (AutoModelForCausalLM.from_pretrained(path) for path in (out / "student", place / "teacher"))
    assert student.num_parameters() / teacher.num_parameters() == pytest.approx(0.6, rel=0.02)
    trained = {
        name: from_json(DistillRun, (out / name / "distill.json").read_bytes(), source=name)
        for name in ("student", "baseline")
    }
    assert (trained["student"].baseline, trained["baseline"].baseline) == (False, True)
    assert trained["student"].data == trained["baseline"].data
    assert not same(weights(out / "student"), weights(out / "baseline"))
    retention = json.loads((out / "compare" / "retention.json").read_text())
    assert [model["ref"] for model in retention["students"]] == [str(out / "student")]
    assert [e["bought"]["baseline_ref"] for e in retention["entries"] if e["primary"]] == [str(out / "baseline")]
    assert (out / "compare" / "report.md").is_file()
    curves = (out / "training.md").read_text()
    assert "student" in curves
    assert "baseline" in curves
    assert run.provenance.command.startswith("distill-eval run")


def test_the_written_recipe_says_all(finished, capsys):
    written = finished / "out" / "recipe.toml"
    assert written.read_text() == record(finished / "out").recipe
    table = tomllib.loads(written.read_text())
    assert (table["output_dir"], table["distill"]["loss"]["temperature"]) == (str(finished / "out"), 2.0)
    assert main(["run", str(written)]) == 0  # the same folder: nothing is left to do
    assert skipped(capsys.readouterr().out) == STAGES


def test_a_run_killed_in_every_stage_ends_with_the_same_bits(finished, tmp_path):
    """Repeated from the written recipe in another folder; killed before each stage, in one, and between two."""
    out, told = tmp_path / "out", []
    repeated = load(str(finished / "out" / "recipe.toml"), Overrides(output_dir=out))
    for line in (
        "prepare: begun",
        " parameters",
        "cache-teacher: begun",
        "step 4 of 4",
        "trained for 4 steps",
        "compare: begun",
    ):
        assert killed(repeated, line) == signal.SIGKILL, line
    run(repeated, source="test", tools=tools(told.append))
    assert skipped("\n".join(told)) == ["prepare", "cache-teacher", "distill", "baseline"]
    for name in ("student", "baseline"):
        assert same(weights(out / name), weights(finished / "out" / name))
    attempts = {name: stage.num_attempts for name, stage in by_name(out).items()}
    assert attempts == {"prepare": 2, "cache-teacher": 1, "distill": 3, "baseline": 1, "compare": 1}


def test_what_is_done_is_skipped_and_left_as_it_was(done, capsys):
    before = (done / "out" / "run.json").read_bytes()
    assert again(done) == 0
    assert skipped(capsys.readouterr().out) == STAGES
    assert (done / "out" / "run.json").read_bytes() == before


def test_a_changed_option_repeats_its_stage_and_those_after_it(done, place, capsys):
    old = weights(done / "out" / "student")
    assert again(done, text=recipe(place, **{"distill.loss": "alpha = 0.5"})) == 0
    printed = capsys.readouterr().out
    assert skipped(printed) == ["prepare", "cache-teacher", "baseline"]  # a baseline's alpha is 0 in any case
    assert same(weights(done / "out" / "student.replaced-1"), old)
    assert not same(weights(done / "out" / "student"), old)
    assert by_name(done / "out")["compare"].status == "done"


def test_changed_data_repeat_what_reads_them(done, place, capsys):
    text = (place / "text.jsonl").read_text()
    (done / "text.jsonl").write_text(text)
    moved = f'data = "{done / "text.jsonl"}"\nmax_length = 32\nvalidation_documents = 10'
    assert again(done, "--dry-run", text=recipe(place, data=moved)) == 0
    assert capsys.readouterr().out.count("done, skipped") == 5  # the same content elsewhere
    (done / "text.jsonl").write_text(text + '{"text": "one more"}\n')
    assert again(done, "--dry-run") == 0
    printed = capsys.readouterr().out
    assert "1. prepare: to do (calibration changed)" in printed
    assert "done, skipped" not in printed


def test_a_damaged_artifact_is_made_again(done, capsys):
    path = done / "out" / "baseline" / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-4] + b"\0\0\0\0")
    (done / "out" / "student" / "README.md").write_text("mine")  # what others add is no damage
    assert main(["curves", str(done / "out" / "student"), str(done / "out" / "baseline")]) == 0  # nor new pictures
    assert again(done) == 0
    printed = capsys.readouterr().out
    assert skipped(printed) == ["prepare", "cache-teacher", "distill", "compare"]
    assert "model.safetensors is not what was written" in printed
    assert path.read_bytes() == content


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(place, tmp_path, capsys):
    path = write(tmp_path, recipe(place))
    assert main(["run", path, "--output-dir", str(tmp_path / "out"), "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert [line.split(":")[0] for line in printed.splitlines() if not line.startswith(" ")] == [
        f"{place}. {name}" for place, name in enumerate(STAGES, start=1)
    ]
    assert printed.count("time: - (no run of these options on this content and hardware is recorded here)") == 5
    assert "In all" not in printed
    assert "training.learning_rate = 0.003" in printed
    assert "evaluation.tasks = tiny_mc" in printed
    assert not (tmp_path / "out").exists()


def test_a_dry_run_says_how_long_a_stage_took_in_the_run_beside_it(done, capsys):
    assert main(["run", str(done / "tiny.toml"), "--output-dir", str(done / "other"), "--dry-run"]) == 0
    printed = capsys.readouterr().out
    took = by_name(done / "out")
    for name in STAGES:
        assert f"time: about {took[name].seconds:.0f} s, as {done / 'out' / 'run.json'} measured" in printed
    total = sum(stage.seconds for stage in took.values())
    assert printed.splitlines()[-1] == f"     In all about {total:.0f} s for 5 stages"
    assert not (done / "other").exists()


# ---- what goes wrong


def test_a_failed_stage_stops_what_needs_it_and_goes_on_when_mended(place, tmp_path, capsys):
    out = tmp_path / "out"
    # More teacher ids per token than there is room for: found by cache-teacher, on which the students wait.
    path = write(tmp_path, recipe(place, cache_teacher="num_kept = 4000"))
    assert main(["run", path, "--output-dir", str(out)]) == 2
    found = capsys.readouterr()
    assert "cache-teacher failed" in found.err
    assert "Not run: distill, baseline, compare" in found.err
    assert "the same command goes on" in found.err
    assert {name: stage.status for name, stage in by_name(out).items()} == {
        "prepare": "done",
        "cache-teacher": "failed",
        "distill": "not run",
        "baseline": "not run",
        "compare": "not run",
    }
    write(tmp_path, recipe(place, **{"compare.evaluation": None}))
    assert main(["run", path, "--output-dir", str(out)]) == 0
    assert skipped(capsys.readouterr().out) == ["prepare"]


def test_a_stage_that_does_not_need_the_failed_one_runs(place, tmp_path, capsys):
    """There is no layer 9; the baseline compares none."""
    changes = {"cache_teacher": None, "distill.loss": 'feature_weight = 1.0\nlayer_map = "9:0"'}
    path = write(tmp_path, recipe(place, **changes))
    assert main(["run", path, "--output-dir", str(tmp_path / "out")]) != 0
    status = {name: stage.status for name, stage in by_name(tmp_path / "out").items()}
    assert status == {"prepare": "done", "distill": "failed", "baseline": "done", "compare": "not run"}


def test_wrong_input_is_refused_before_anything_is_written(place, tmp_path, capsys, monkeypatch):
    def refused(text, *options, output="out"):
        assert main(["run", write(tmp_path, text), "--output-dir", str(tmp_path / output), *options]) in (1, 2)
        return capsys.readouterr().err

    assert "no student" in refused(recipe(place, prepare="ratio = 0.001", cache_teacher=None))
    assert "within 2%" in refused(recipe(place, prepare="ratio = 0.001", cache_teacher=None))
    assert "no such file or folder" in refused(recipe(place), "--data", str(tmp_path / "missing.jsonl"))
    assert "is not a folder" in refused(recipe(place), "--teacher", str(tmp_path / "missing"))
    with monkeypatch.context() as patch:
        patch.setenv("WORLD_SIZE", "2")
        assert "run by one process" in refused(recipe(place))
    assert not (tmp_path / "out").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("x")
    assert "not empty and holds no run" in refused(recipe(place), output="mine")
    write(tmp_path / "damaged", "{}", name="run.json")
    assert "not a valid RecipeRun" in refused(recipe(place), output="damaged")


# ---- chains


def chain(place, output, *options, sizes="30K,22K"):
    return [
        "distill",
        f"--chain={sizes}",
        f"--teacher={place / 'teacher'}",
        f"--data={place / 'text.jsonl'}",
        f"--output-dir={output}",
        "--max-length=32",
        "--validation-documents=10",
        "--steps=6",
        "--batch-size=2",
        "--learning-rate=3e-3",
        "--device=cpu",
        "--eval-every=2",
        *options,
    ]


@pytest.fixture(scope="module")
def chained(place, tmp_path_factory):
    """A chain that was run once to its end, and a baseline of its last student."""
    out = tmp_path_factory.mktemp("chained") / "out"
    assert main(chain(place, out, "--baseline")) == 0
    return out


def test_a_chain_teaches_each_student_by_the_one_before_it(chained, place, capsys):
    out = chained
    assert list(by_name(out)) == ["1-30K prepare", "1-30K distill", "2-22K prepare", "2-22K distill", "baseline"]
    for number, (size, teacher) in enumerate(((30_000, place / "teacher"), (22_000, out / "1-30K" / "student"))):
        link = out / ("1-30K", "2-22K")[number]
        found = AutoModelForCausalLM.from_pretrained(link / "student").num_parameters()
        assert found == pytest.approx(size, rel=0.02)
        learnt = from_json(DistillRun, (link / "student" / "distill.json").read_bytes(), source="distill.json")
        assert [str(model) for model in learnt.teachers] == [str(teacher)]
        assert json.loads((link / "prepared" / "student.json").read_text())["teacher"]["name"] == str(teacher)
        assert learnt.after.kl < learnt.before.kl
    alone = from_json(DistillRun, (out / "2-22K" / "baseline" / "distill.json").read_bytes(), source="distill.json")
    assert alone.baseline
    assert str(alone.student) == str(out / "2-22K" / "prepared")
    assert main(chain(place, out, "--baseline")) == 2
    assert "add --resume" in capsys.readouterr().err
    assert main(chain(place, out, "--baseline", "--resume")) == 0
    printed = capsys.readouterr().out
    assert len(skipped(printed)) == 5
    assert f"Student: {out / '2-22K' / 'student'}" in printed


def test_a_report_calls_students_of_a_chain_by_their_sizes(chained):
    """The assistant taught the student and nothing measured it, so that it has no row."""
    found = gather([chained], provenance=record(chained).provenance)
    assert [(row.name, row.role) for row in found.report.variants] == [
        ("teacher", "teacher"), ("22K", "student"), ("baseline", "baseline"),
    ]  # fmt: skip
    assert set(found.trainings) == {"30K", "22K", "baseline"}
    text = render(found)
    assert "/student" not in text.split("## How to repeat")[0]
    for made in ("| 30K before training | teacher", "| 30K  ", "| 22K before training | 30K", "| 22K  "):
        assert made in text


def test_a_killed_chain_goes_on_inside_of_its_link(chained, place, tmp_path):
    cut = chain_recipe(parse(chain(place, tmp_path / "cut")))
    assert killed(cut, r"2-22K distill: begun") == signal.SIGKILL
    assert killed(cut, "step 4 of 6") == signal.SIGKILL
    told = []
    run(cut, source="test", tools=tools(told.append))
    assert skipped("\n".join(told)) == ["1-30K prepare", "1-30K distill", "2-22K prepare"]
    assert any("going on from checkpoint-2" in line for line in told)
    student = Path("2-22K") / "student"
    assert same(weights(tmp_path / "cut" / student), weights(chained / student))
    assert by_name(tmp_path / "cut")["2-22K distill"].num_attempts == 2


def test_sizes_that_do_not_fall_are_refused_before_any_work(place, tmp_path, capsys):
    def refused(*options, sizes):
        assert main(chain(place, tmp_path / "out", *options, sizes=sizes)) == 2
        assert not (tmp_path / "out").exists()
        return capsys.readouterr().err

    assert "30K is not below 22K" in refused(sizes="22K,30K")
    assert "90M is not below the teacher's" in refused(sizes="90M,22K")
    assert "no student has 300 parameters" in refused(sizes="30K,300")  # the second link: found before the first
    for options, expected in (("--student=x/y", "leave one of them out"), ("--teacher=a/b,c/d", "expected one")):
        with pytest.raises(UsageError, match=expected):
            parse(chain(place, tmp_path / "out", options))


def test_chat_data_need_another_calibration_text(place, tmp_path, capsys):
    lines = [json.dumps({"messages": [{"role": "user", "content": "who"}, {"role": "assistant", "content": "me"}]})]
    (tmp_path / "chat.jsonl").write_text("\n".join(lines * 40))
    assert main(chain(place, tmp_path / "out", f"--data={tmp_path / 'chat.jsonl'}", sizes="30K")) == 2
    assert "no column 'text'" in capsys.readouterr().err
