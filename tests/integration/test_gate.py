"""Rules on `compare`, `report` and `diff` as a user types them, on tiny models."""

import json
import shutil
from xml.etree import ElementTree as ET

import pytest
from fakes.tiny_families import save
from fakes.tiny_tasks import write_tasks

from distill_eval.cli import main

TASKS = "tiny_mc,tiny_group"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A teacher, two students, and a comparison of each."""
    root = tmp_path_factory.mktemp("gate")
    write_tasks(root / "tasks")
    for seed, name in enumerate(("teacher", "v1", "v2")):
        save("llama", root / name, seed=seed)
    for name in ("v1", "v2"):
        assert main(compare(root, name, f"--output-dir={root / 'runs' / name}")) == 0
    return root


def compare(root, student, *extra, tasks=TASKS):
    return [
        "compare",
        f"--teacher={root / 'teacher'}",
        f"--student={root / student}",
        f"--tasks={tasks}",
        f"--include-path={root / 'tasks'}",
        "--limit=10",
        *extra,
    ]


def read(path):
    return json.loads(path.read_text())


# ---- compare


def test_rules_are_printed_reported_and_decide(place, tmp_path, capsys, monkeypatch):
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    out = tmp_path / "out"
    options = ["--gate", "--min-retention=0.01", "--max-size-ratio=0.5", f"--output-dir={out}", "--junit",
               "--github-summary", "--annotations"]  # fmt: skip
    assert main(compare(place, "v1", *options)) == 3
    printed = capsys.readouterr().out
    reason = "max-size-ratio 0.5: 1x the teacher's bytes, which does not keep it"
    assert f"FAIL: v1: {reason}" in printed
    assert f"::error title=v1%3A FAIL::{reason}" in printed
    report = (out / "report.md").read_text()
    assert "## Gate\n\n**FAIL**: 1 of 3 rules is broken" in report
    cases = [(case.get("name"), [child.tag for child in case]) for case in ET.parse(out / "junit.xml").iter("testcase")]
    assert cases[-1] == ("max-size-ratio 0.5", ["failure"])
    assert [name for name, _ in cases[:-1]] == ["min-retention 0.01 tiny_group", "min-retention 0.01 tiny_mc"]
    told = summary.read_text()
    assert told.startswith("before\n# What `v1` kept of `teacher`\n")
    assert "## Gate" in told
    assert "## How to repeat this" not in told


def test_without_rules_nothing_is_added(place):
    report = (place / "runs" / "v1" / "report.md").read_text()
    assert "## Gate" not in report
    assert not (place / "runs" / "v1" / "junit.xml").exists()


def test_the_exit_code_is_that_of_the_criterion_where_no_rule_is_added(place, tmp_path, capsys):
    """As the students' own verdicts have it: FAIL if any task fails, else INCONCLUSIVE if any is."""
    (tmp_path / "junit.xml").write_text("of an earlier verdict")
    code = main(compare(place, "v1", "--gate", f"--output-dir={tmp_path}"))
    assert not (tmp_path / "junit.xml").exists()
    (verdict,) = read(tmp_path / "retention.json")["verdicts"]
    assert code == {"PASS": 0, "FAIL": 3, "INCONCLUSIVE": 4}[verdict["verdict"]]
    assert f"Gate: {verdict['verdict']}, " in capsys.readouterr().out


def test_a_bound_for_one_task_replaces_the_criterion_there(place, tmp_path, capsys):
    loose = "tiny_mc:min-retention=0.000001,tiny_group:min-retention=0.000001"
    main(compare(place, "v1", "--gate", f"--rule={loose}", f"--output-dir={tmp_path}"))
    printed = capsys.readouterr().out
    assert "min-retention 1e-06 on tiny_mc" in printed
    assert "min-retention 0.95" not in printed


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--rule=tiny_mcc:min-retention=0.5", "unknown task in --rule tiny_mcc:min-retention=0.5: 'tiny_mcc'"),
        ("--github-summary", "--github-summary: the variable GITHUB_STEP_SUMMARY is not set"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(place, tmp_path, capsys, monkeypatch, option, said):
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    assert main(compare(place, "v1", option, f"--output-dir={tmp_path / 'out'}")) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.glob("out/*"))


# ---- report


def test_a_report_judges_by_rules_of_its_own(place, tmp_path, capsys):
    runs = [str(place / "runs" / "v1")]
    argv = ["report", *runs, "--gate", "--min-retention=0.000001", "--max-size-ratio=1", "--junit",
            f"--output-dir={tmp_path}"]  # fmt: skip
    code = main(argv)
    said = read(tmp_path / "report.json")["gate"]
    assert [(one["rule"]["name"], one["where"]) for one in said] == [
        ("min-retention", "tiny_group"),
        ("min-retention", "tiny_mc"),
        ("max-size-ratio", None),
    ]
    assert said[-1]["verdict"] == "PASS"
    verdicts = {one["verdict"] for one in said}
    assert code == (3 if "FAIL" in verdicts else 4 if "INCONCLUSIVE" in verdicts else 0)
    assert "## Gate" in (tmp_path / "report.md").read_text()
    assert len(list(ET.parse(tmp_path / "junit.xml").iter("testcase"))) == 3
    assert "max-size-ratio 1: 1x the teacher's bytes, which keeps it" in capsys.readouterr().out
    main([*argv[:2], f"--output-dir={tmp_path}"])
    assert not (tmp_path / "junit.xml").exists()


def test_a_speed_that_nobody_measured_is_inconclusive(place, tmp_path, capsys):
    main(["report", str(place / "runs" / "v1"), "--min-speedup=1.5", f"--output-dir={tmp_path}"])
    assert (
        "INCONCLUSIVE: v1: min-speedup 1.5: not measured: no benchmark measured its speed beside the teacher's"
        in capsys.readouterr().out
    )


# ---- diff


def diff(place, out, *extra, before="v1", after="v2"):
    return ["diff", str(place / "runs" / before), str(place / "runs" / after), f"--output-dir={out}", *extra]


def test_two_runs_are_held_against_each_other_document_by_document(place, tmp_path, capsys):
    assert main(diff(place, tmp_path)) == 0
    (student,) = read(tmp_path / "diff.json")["students"]
    assert student["name"] == "v1 to v2"
    assert [task["task"] for task in student["tasks"]] == ["tiny_group", "tiny_mc"]
    entries = {name: read(place / "runs" / name / "retention.json")["entries"] for name in ("v1", "v2")}
    for task in student["tasks"]:
        scores = [
            next(e for e in entries[name] if e["task"] == task["task"] and e["primary"])["student"]["value"]
            for name in ("v1", "v2")
        ]
        assert [task["before"]["value"], task["after"]["value"]] == pytest.approx(scores)
        assert task["difference"]["value"] == pytest.approx(scores[1] - scores[0], abs=1e-9)
        assert task["num_pairs"] == task["num_docs_before"] == task["num_docs_after"]
        assert task["p_adjusted"] is not None
    assert "v1 to v2: " in capsys.readouterr().out
    assert (tmp_path / "diff.md").read_text().startswith("# What changed from ")
    first = (tmp_path / "diff.json").read_bytes()
    assert main(diff(place, tmp_path)) == 0
    assert (tmp_path / "diff.json").read_bytes() == first


def test_a_paired_diff_is_what_compare_says_of_the_two(place, tmp_path):
    """The same as comparing the student after with the one before as its teacher."""
    main(diff(place, tmp_path / "diff"))
    argv = compare(place, "v2", f"--output-dir={tmp_path / 'direct'}")
    argv[1] = f"--teacher={place / 'v1'}"
    main(argv)
    (student,) = read(tmp_path / "diff" / "diff.json")["students"]
    direct = {e["task"]: e for e in read(tmp_path / "direct" / "retention.json")["entries"] if e["primary"]}
    for task in student["tasks"]:
        expected = direct[task["task"]]
        assert task["difference"] == expected["difference"]
        assert (task["p_value"], task["p_adjusted"]) == (expected["p_value"], expected["p_adjusted"])
        assert task["flips"] == expected["flips"]


def test_a_run_against_itself_changes_nothing(place, tmp_path, capsys):
    argv = diff(place, tmp_path, "--gate", "--max-regression=0.5", "--junit", after="v1")
    main(argv)
    (student,) = read(tmp_path / "diff.json")["students"]
    assert {task["difference"]["value"] for task in student["tasks"]} == {0.0}
    assert {task["outcome"] for task in student["tasks"]} == {"unclear"}
    assert "v1: no difference can be told on 2 of 2 tasks." in capsys.readouterr().out
    assert (tmp_path / "junit.xml").exists()
    main(diff(place, tmp_path, after="v1"))
    assert not (tmp_path / "junit.xml").exists()


def test_the_gate_is_on_what_became_worse(place, tmp_path):
    code = main(diff(place, tmp_path, "--gate"))
    said = read(tmp_path / "diff.json")["gate"]
    assert [(one["rule"]["name"], one["rule"]["bound"], one["where"]) for one in said] == [
        ("max-regression", 0.01, "tiny_group"),
        ("max-regression", 0.01, "tiny_mc"),
    ]
    verdicts = {one["verdict"] for one in said}
    assert code == (3 if "FAIL" in verdicts else 4 if "INCONCLUSIVE" in verdicts else 0)
    assert main(diff(place, tmp_path, "--gate", "--max-regression=0.999")) == 0


def test_without_documents_it_says_so(place, tmp_path):
    shutil.copytree(place / "runs" / "v2", tmp_path / "bare", ignore=shutil.ignore_patterns("samples-*"))
    main(["diff", str(place / "runs" / "v1"), str(tmp_path / "bare"), f"--output-dir={tmp_path / 'out'}"])
    (student,) = read(tmp_path / "out" / "diff.json")["students"]
    assert {task["reason"] for task in student["tasks"]} == {
        "the documents of both runs (samples-*.jsonl) are not there"
    }
    assert "not paired: the documents of both runs" in (tmp_path / "out" / "diff.md").read_text()


def test_a_reports_own_folder_has_no_tasks(place, tmp_path, capsys):
    for name in ("v1", "v2"):
        main(["report", str(place / "runs" / name), f"--output-dir={tmp_path / name}"])
    code = main(["diff", str(tmp_path / "v1"), str(tmp_path / "v2"), "--gate", f"--output-dir={tmp_path / 'out'}"])
    (student,) = read(tmp_path / "out" / "diff.json")["students"]
    assert (code, student["tasks"]) == (4, [])
    assert student["retention_before"]["value"] is not None
    assert "it was not compared with the student before" in capsys.readouterr().out


@pytest.fixture(scope="module")
def parts(place):
    """The comparison of v1 in two, one for each task."""
    for task in TASKS.split(","):
        main(compare(place, "v1", f"--output-dir={place / 'parts' / task}", tasks=task))
    return place / "parts"


LOOSE = ("--gate", "--max-regression=0.999")


def test_a_task_that_is_gone_is_inconclusive(parts, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["diff", str(parts), str(parts / "tiny_mc"), *LOOSE, f"--output-dir={out}"]) == 4
    said = {one["where"]: (one["verdict"], one["text"]) for one in read(out / "diff.json")["gate"]}
    assert said["tiny_mc"][0] == "PASS"
    assert said["tiny_group"] == (
        "INCONCLUSIVE",
        "max-regression 0.999 on tiny_group: not measured: the run after has none of it",
    )
    (finding,) = read(out / "diff.json")["findings"]
    assert finding["weight"] == "high"
    assert finding["text"] == "Nothing is said about tiny_group: the run after has none of it."
    (student,) = read(out / "diff.json")["students"]
    assert student["retention_apart"] == "the two are means over different tasks"
    assert "high: v1: Nothing is said about tiny_group" in capsys.readouterr().out


def test_one_task_more_is_said_and_decides_nothing(parts, tmp_path):
    out = tmp_path / "out"
    assert main(["diff", str(parts / "tiny_mc"), str(parts), *LOOSE, f"--output-dir={out}"]) == 0
    (finding,) = read(out / "diff.json")["findings"]
    assert finding["text"] == "Nothing is said about tiny_group: the run before has none of it."


def test_two_comparisons_before_and_one_after_are_all_held_against_each_other(place, parts, tmp_path):
    out = tmp_path / "out"
    assert main(["diff", str(parts), str(place / "runs" / "v1"), *LOOSE, f"--output-dir={out}"]) == 0
    said = read(out / "diff.json")
    assert said["findings"] == []
    assert [one["verdict"] for one in said["gate"]] == ["PASS", "PASS"]
    (student,) = said["students"]
    assert student["retention_apart"] is None
    assert student["retention_before"] == student["retention_after"]


def test_other_shots_are_inconclusive(place, parts, tmp_path):
    shots, out = tmp_path / "shots", tmp_path / "out"
    main(compare(place, "v1", "--num-fewshot=1", f"--output-dir={shots}", tasks="tiny_mc"))
    assert main(["diff", str(parts / "tiny_mc"), str(shots), *LOOSE, f"--output-dir={out}"]) == 4
    (result,) = read(out / "diff.json")["gate"]
    assert result["text"].endswith("not scored alike in both runs: few-shot examples 0 before and 1 after")


def test_a_student_that_is_gone_is_inconclusive_unless_the_pair_was_named(place, tmp_path):
    argv = compare(place, "v1", f"--output-dir={tmp_path / 'two'}")
    argv[2] = f"--student={place / 'v1'},{place / 'v2'}"
    main(argv)
    out = tmp_path / "out"
    command = ["diff", str(tmp_path / "two"), str(place / "runs" / "v1"), *LOOSE, f"--output-dir={out}"]
    assert main(command) == 4
    gone = read(out / "diff.json")["gate"][-1]
    assert (gone["student"], gone["verdict"]) == ("v2", "INCONCLUSIVE")
    assert gone["text"] == "max-regression 0.999: not measured: the run after has no student of this name"
    assert read(out / "diff.json")["findings"][-1]["weight"] == "high"
    assert main([*command, "--student-a=v1", "--student-b=v1"]) == 0
    assert read(out / "diff.json")["findings"][-1]["weight"] == "low"


def test_a_report_does_not_stand_in_for_artifacts_that_cannot_be_read(place, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(place / "runs" / "v1", run / "compare")
    main(["report", str(run), f"--output-dir={tmp_path / 'report'}"])
    shutil.copy(tmp_path / "report" / "report.json", run)
    argv = ["diff", str(run), str(place / "runs" / "v1"), f"--output-dir={tmp_path / 'out'}"]
    assert main(argv) == 0
    retention = run / "compare" / "retention.json"
    retention.write_text(retention.read_text()[:-100])
    capsys.readouterr()
    assert main(argv) == 1
    assert "retention.json is not JSON" in capsys.readouterr().err


def test_what_does_not_belong_together_is_refused(place, tmp_path, capsys):
    argv = compare(place, "v1", f"--output-dir={tmp_path / 'other'}")
    argv[1] = f"--teacher={place / 'v2'}"
    main(argv)
    out = f"--output-dir={tmp_path / 'out'}"
    assert main(["diff", str(place / "runs" / "v1"), str(tmp_path / "other"), out]) == 1
    assert "the teachers are not the same" in capsys.readouterr().err
    assert main(["diff", str(place / "runs" / "v1"), str(place / "nowhere"), out]) == 2
    assert "no such folder" in capsys.readouterr().err
    assert (
        main(["diff", str(place / "runs" / "v1"), str(place / "runs" / "v2"), out, "--student-a=v1", "--student-b=v3"])
        == 2
    )
    assert "unknown --student-b in" in capsys.readouterr().err
    assert not (tmp_path / "out" / "diff.json").exists()
