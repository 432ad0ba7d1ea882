"""`distill-eval compare --baseline` as a user types it, on tiny models."""

import json
import math
import shutil

import pytest
import torch
from fakes.tiny_families import save
from fakes.tiny_tasks import write_tasks

from distill_eval.cli import main


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with tasks, a teacher, two students, and a baseline that is sure of itself and wrong."""
    root = tmp_path_factory.mktemp("models")
    write_tasks(root / "tasks")
    save("llama", root / "teacher", seed=0)
    save("llama", root / "student", seed=1)
    save("llama", root / "other", seed=2)
    bare = save("llama", root / "bare", seed=3)
    with torch.no_grad():
        bare.lm_head.weight *= 20
    bare.save_pretrained(root / "bare")
    return root


def compare(place, output, *extra, student="student", baseline=None, tasks="tiny_text,tiny_mc,tiny_group"):
    def models(names):
        return ",".join(name if name in ("none", "") else str(place / name) for name in names.split(","))

    argv = ["compare", f"--teacher={place / 'teacher'}", f"--student={models(student)}", f"--tasks={tasks}"]
    if baseline is not None:
        argv.append(f"--baseline={models(baseline)}")
    try:
        return main([*argv, f"--include-path={place / 'tasks'}", f"--output-dir={output}", *extra])
    except SystemExit as error:
        return error.code


def facts(output):
    return json.loads((output / "retention.json").read_text())


def samples(output, name, task, metric):
    """The numbers of one model by document, and their bytes."""
    (path,) = output.glob(f"samples-{name}-{task}.jsonl")
    found = [m for line in path.read_text().splitlines() for m in json.loads(line)["metrics"] if m["metric"] == metric]
    return [m["value"] for m in found], [m["num_bytes"] for m in found]


def test_what_distillation_bought_reaches_the_artifact_the_report_and_the_terminal(place, tmp_path, capsys):
    out = tmp_path / "out"
    assert compare(place, out, baseline="bare") == 0
    found = facts(out)
    assert [model["ref"] for model in found["baselines"]] == [str(place / "bare")]
    bought = {entry["task"]: entry["bought"] for entry in found["entries"] if entry["bought"]}
    assert list(bought) == ["tiny_group", "tiny_text", "tiny_mc"]
    assert {one["baseline_ref"] for one in bought.values()} == {str(place / "bare")}

    bits = {}
    for name in ("teacher-teacher", "student-student", "baseline-bare"):
        nats, num_bytes = samples(out, name, "tiny_text", "bits_per_byte")
        bits[name.split("-")[0]] = -sum(nats) / sum(num_bytes) / math.log(2)
    text = bought["tiny_text"]
    expected = (bits["student"] - bits["baseline"]) / (bits["teacher"] - bits["baseline"])
    assert text["baseline"]["value"] == pytest.approx(bits["baseline"])
    assert text["difference"]["value"] == pytest.approx(bits["student"] - bits["baseline"])
    assert text["gap_recovered"]["value"] == pytest.approx(expected)
    assert text["gap_recovered"]["ci_low"] < expected < text["gap_recovered"]["ci_high"]
    assert text["outcome"] == "better"

    values = {
        name: samples(out, name, "tiny_mc", "acc")[0]
        for name in ("teacher-teacher", "student-student", "baseline-bare")
    }
    student, baseline = (sum(values[name]) / 20 for name in ("student-student", "baseline-bare"))
    assert bought["tiny_mc"]["difference"]["value"] == pytest.approx(student - baseline)

    told = capsys.readouterr().out
    shown = f"{100 * expected:.1f} %"
    for text in (told, (out / "report.md").read_text()):
        assert f"Distillation recovered {shown} [" in text
        assert "gap recovered" in text
    assert "| bare    | baseline |" in (out / "report.md").read_text()


def test_without_a_baseline_the_report_is_what_it_was(place, tmp_path):
    assert compare(place, tmp_path / "with", baseline="bare", tasks="tiny_text,tiny_mc") == 0
    assert compare(place, tmp_path / "none", baseline="none", tasks="tiny_text,tiny_mc") == 0
    assert compare(place, tmp_path / "without", tasks="tiny_text,tiny_mc") == 0
    plain, held = facts(tmp_path / "without"), facts(tmp_path / "with")
    assert plain["baselines"] == []
    assert {entry["bought"] for entry in plain["entries"]} == {None}
    assert [{**entry, "bought": None} for entry in held["entries"]] == plain["entries"]
    for key in ("criterion", "teacher", "students", "manifest", "tasks", "verdicts"):
        assert held[key] == plain[key]
    report = (tmp_path / "without" / "report.md").read_text()
    told = report.partition("## How to repeat")[0] + report.partition("## How to read")[2]
    assert "baseline" not in told
    assert "istillation" not in told
    assert {path.name for path in (tmp_path / "without").iterdir()} == {
        path.name for path in (tmp_path / "with").iterdir() if "baseline" not in path.name
    }
    other = (tmp_path / "none" / "report.md").read_text()
    assert other.replace(" --baseline=none", "").replace("/none", "/without") == report


def held_against(output):
    """The last part of each student's name, with that of its baseline."""
    found = {}
    for entry in facts(output)["entries"]:
        if entry["primary"]:
            ref = entry["bought"] and entry["bought"]["baseline_ref"].rpartition("/")[2]
            found[entry["student_ref"].rpartition("/")[2]] = ref
    return found


def test_baselines_share_the_cache_and_go_to_the_students_as_asked(place, tmp_path, capsys):
    out, of_task = tmp_path / "out", {"tasks": "tiny_mc"}
    assert compare(place, out, "--limit=4", baseline="bare", **of_task) == 0
    assert "bare: tiny_mc 100%" in capsys.readouterr().err
    assert held_against(out) == {"student": "bare"}

    assert compare(place, out, "--limit=4", student="student,bare", baseline="bare", **of_task) == 0
    assert "100%" not in capsys.readouterr().err
    assert held_against(out) == {"student": "bare", "bare": None}
    assert len(facts(out)["verdicts"]) == 2
    assert {path.name for path in out.glob("samples-*")} == {
        f"samples-{name}-tiny_mc.jsonl" for name in ("teacher-teacher", "student1-student", "student2-bare")
    }

    assert compare(place, out, "--limit=4", student="student,other,bare", baseline="bare,none,other", **of_task) == 0
    told = capsys.readouterr().err
    assert "other: tiny_mc 100%" in told
    assert "bare: tiny_mc 100%" not in told
    assert held_against(out) == {"student": "bare", "other": None, "bare": "other"}


def test_another_tokenizer_is_no_problem(place, tmp_path):
    save("gpt2", tmp_path / "gpt2", seed=4)
    assert compare(place, tmp_path / "out", baseline=str(tmp_path / "gpt2"), tasks="tiny_text") == 0
    texts = [finding["text"] for finding in facts(tmp_path / "out")["findings"]]
    assert any(text.startswith("Is a LlamaForCausalLM of ") and "GPT2LMHeadModel" in text for text in texts)


BAD = {
    "the student": ({"baseline": "student"}, ["student", "itself", "distill-eval distill --baseline"]),
    "the teacher": ({"baseline": "teacher"}, ["is the teacher itself"]),
    "a copy of the student": ({"baseline": "{tmp}/copy"}, ["copy is the student", "student: expected another model"]),
    "too many": ({"baseline": "bare,other"}, ["names 2 models and --student 1", "one for each"]),
    "too few": ({"student": "student,other,bare", "baseline": "bare,other"}, ["names 2 models and --student 3"]),
    "an empty name": ({"baseline": "bare,", "student": "student,other"}, ["--baseline", "write none"]),
    "two baselines of one student": (
        {"student": "student,student", "baseline": "bare,none"},
        ["twice, with the baselines", "bare and none"],
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_baselines_are_refused_before_anything_is_scored(case, place, tmp_path, capsys):
    shutil.copytree(place / "student", tmp_path / "copy")
    options, words = BAD[case]
    assert compare(place, tmp_path / "out", **{key: value.format(tmp=tmp_path) for key, value in options.items()}) == 2
    told = " ".join(capsys.readouterr().err.split())
    for word in words:
        assert word in told
    assert "%" not in told
    assert not list(tmp_path.glob("out/*"))
