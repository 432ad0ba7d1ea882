"""What `distill-eval compare` leaves in its output folder, and what it refuses or does once before it starts."""

import json

import pytest
from fakes.tiny_families import save
from fakes.tiny_tasks import write_tasks

from distill_eval.cli import main


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with tasks, a teacher and a student."""
    root = tmp_path_factory.mktemp("output")
    write_tasks(root / "tasks")
    save("llama", root / "teacher", seed=0)
    save("llama", root / "student", seed=1)
    return root


def compare(place, output, *extra, tasks="tiny_mc", student="student"):
    students = ",".join(str(place / name) for name in student.split(","))
    models = [f"--teacher={place / 'teacher'}", f"--student={students}"]
    where = [f"--include-path={place / 'tasks'}", f"--output-dir={output}"]
    return main(["compare", *models, f"--tasks={tasks}", "--limit=4", *where, *extra])


def names(folder):
    return {path.name for path in folder.iterdir()}


def of_run(task):
    return {
        "report.md",
        "retention.json",
        f"samples-teacher-teacher-{task}.jsonl",
        f"samples-student-student-{task}.jsonl",
    }


def test_a_used_folder_holds_the_last_run_alone_beside_what_is_not_ours(place, tmp_path):
    assert compare(place, tmp_path / "out") == 0
    (tmp_path / "out" / "notes.txt").write_text("mine")
    assert compare(place, tmp_path / "out", tasks="tiny_cloze") == 0
    assert names(tmp_path / "out") == of_run("tiny_cloze") | {"notes.txt"}


def test_a_run_that_cannot_write_leaves_no_report_beside_the_facts_of_another(place, tmp_path, capsys):
    assert compare(place, tmp_path / "out") == 0
    (tmp_path / "out" / "samples-student-student-tiny_cloze.jsonl").mkdir()
    assert compare(place, tmp_path / "out", tasks="tiny_cloze") == 1
    assert "--output-dir" in capsys.readouterr().err
    assert not {"report.md", "retention.json"} & names(tmp_path / "out")


def test_the_home_folder_may_be_written_short(place, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert compare(place, "~/out") == 0
    assert names(tmp_path / "out") == of_run("tiny_mc")
    assert str(tmp_path / "out" / "report.md") in capsys.readouterr().out.replace("\n", "")
    assert not (tmp_path / "~").exists()


def test_a_student_or_a_task_that_is_named_twice_is_done_once(place, tmp_path):
    assert compare(place, tmp_path / "out", tasks="tiny_mc,tiny_mc", student="student,student") == 0
    retention = json.loads((tmp_path / "out" / "retention.json").read_text())
    assert len(retention["verdicts"]) == len(retention["students"]) == len(retention["tasks"]) == 1
    assert [(entry["task"], entry["metric"]) for entry in retention["entries"]] == [
        ("tiny_mc", "acc"),
        ("tiny_mc", "acc_norm"),
    ]
    assert names(tmp_path / "out") == of_run("tiny_mc")


def test_a_margin_in_points_is_refused_before_anything_is_scored_and_from_the_cache(place, tmp_path, capsys):
    assert compare(place, tmp_path / "out", "--margin=2") == 2
    told = capsys.readouterr().err
    assert "type --margin 0.02" in told
    assert "tiny_mc 100%" not in told
    assert not list(tmp_path.glob("out/*"))
    assert compare(place, tmp_path / "out") == 0
    before = (tmp_path / "out" / "retention.json").read_bytes()
    assert compare(place, tmp_path / "out", "--margin=2") == 2
    assert "type --margin 0.02" in capsys.readouterr().err
    assert (tmp_path / "out" / "retention.json").read_bytes() == before


def test_what_can_be_detected_is_said_of_what_carries_a_verdict_whether_or_not_it_is_cached(place, tmp_path, capsys):
    said = []
    for _ in range(2):
        assert compare(place, tmp_path / "out", tasks="tiny_group,tiny_text") == 0
        lines = " ".join(capsys.readouterr().err.split()).split("tiny_")
        said.append({line.split(" documents")[0] for line in lines if " documents" in line})
    assert said == [{"group: 8", "text: 4"}] * 2


def test_subgroups_and_the_tasks_facts_are_in_the_artifacts(place, tmp_path):
    tasks = tmp_path / "tasks"
    write_tasks(tasks)
    outer = "group: outer\ntask: [tiny_group, tiny_mc]\naggregate_metric_list: [{metric: acc, weight_by_size: true}]\n"
    (tasks / "outer.yaml").write_text(outer)
    assert compare(place, tmp_path / "out", f"--include-path={tasks}", tasks="outer") == 0
    retention = json.loads((tmp_path / "out" / "retention.json").read_text())
    found = {(e["task"], e["metric"]): (e["primary"], e["group"], e["num_tasks"]) for e in retention["entries"]}
    assert found["outer", "acc"] == (True, None, 3)
    assert found["tiny_group", "acc"] == (False, "outer", 2)
    assert found["tiny_a", "acc"] == (False, "tiny_group", 1)
    assert found["tiny_mc", "acc"] == (False, "outer", 1)
    facts = {task["task"]: task for task in retention["tasks"]}
    assert set(facts) == {"tiny_a", "tiny_b", "tiny_mc"}
    assert {(task["version"], task["num_docs"], task["dataset"]) for task in facts.values()} == {("1.0", 4, "json")}
    report = (tmp_path / "out" / "report.md").read_text()
    assert "| tiny_mc | 1.0     |     0 | json     |" in report
