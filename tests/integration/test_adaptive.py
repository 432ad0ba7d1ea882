"""`distill-eval compare --adaptive`: it stops early, goes on when it was killed, and scores nothing twice."""

import json
import shutil

import pytest
import torch
from fakes.tiny_families import save
from fakes.tiny_tasks import write_tasks

from distill_eval.cli import main
from distill_eval.compare_config import CompareConfig
from distill_eval.errors import UsageError
from distill_eval.evaluate.options import EvaluateOptions
from distill_eval.pipeline import compare
from distill_eval.store import Store

TASKS = ("tiny_mc", "tiny_group")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with tasks, a teacher, a student that is nearly the teacher, and another."""
    root = tmp_path_factory.mktemp("adaptive")
    write_tasks(root / "tasks", num_docs=120)
    save("llama", root / "teacher", seed=0)
    near = save("llama", root / "near", seed=0)
    with torch.no_grad():
        near.lm_head.weight += 1e-4 * torch.randn(near.lm_head.weight.shape, generator=torch.Generator().manual_seed(0))
    near.save_pretrained(root / "near")
    save("llama", root / "student", seed=1)
    return root


def indexed(task_index, root):
    """A cache with the index of tasks alone."""
    shutil.copytree(task_index, root)
    return Store(root)


class Heard:
    """A progress that remembers, and interrupts where it is told to."""

    def __init__(self, stop_at=None):
        self.stop_at, self.lines, self.first = stop_at, [], {}

    def start(self, work, num_models):
        pass

    def update(self, model, task, fraction):
        self.first.setdefault((model.rpartition("/")[2], task), fraction)

    def say(self, text):
        self.lines.append(text)
        if self.stop_at is not None and self.stop_at in text:
            raise KeyboardInterrupt


def run(place, store, heard, *, output="out", adaptive=True, tasks=TASKS, student=("near",), **options):
    """`compare` with a margin of 25 points."""
    config = CompareConfig(
        teacher=str(place / "teacher"),
        student=tuple(str(place / name) for name in student),
        evaluation=EvaluateOptions(tasks=tasks, include_path=place / "tasks"),
        margin=0.25,
        adaptive=adaptive,
        output_dir=place / output,
        **options,
    )
    return compare(config, store=store, progress=heard, argv=["compare"]).retention


def test_it_stops_when_the_verdicts_hold_and_a_full_comparison_goes_on_from_there(place, task_index, tmp_path):
    store, heard = indexed(task_index, tmp_path / "cache"), Heard()
    found = run(place, store, heard)
    primary = {entry.task: entry for entry in found.entries if entry.primary}
    assert {name: entry.verdict for name, entry in primary.items()} == {"tiny_mc": "PASS", "tiny_group": "PASS"}
    used = {name: entry.adaptive.num_docs for name, entry in primary.items()}
    assert used == {"tiny_mc": 64, "tiny_group": 64}
    assert [entry.num_docs_total for entry in primary.values()] == [240, 120]
    assert "tiny_mc: 64 of 120 documents, every verdict holds" in heard.lines
    report = (place / "out" / "report.md").read_text()
    assert "64 of 120 documents were enough for every verdict, after 1 look." in report
    assert "of all of every task, in a random order, until every verdict held" in report
    lines = (place / "out" / "samples-student-near-tiny_mc.jsonl").read_text().splitlines()
    taken = {json.loads(line)["doc_id"]: json.loads(line)["responses"] for line in lines}
    assert len(taken) == 64
    assert max(taken) > 80

    heard = Heard()
    whole = run(place, store, heard, output="whole", adaptive=False)
    assert heard.first["teacher", "tiny_mc"] == pytest.approx(64 / 120)
    assert heard.first["near", "tiny_mc"] == pytest.approx(64 / 120)
    assert [entry.verdict for entry in whole.entries if entry.primary] == ["PASS", "PASS"]
    lines = (place / "whole" / "samples-student-near-tiny_mc.jsonl").read_text().splitlines()
    assert len(lines) == 120
    assert {
        i: r for i, r in ((json.loads(x)["doc_id"], json.loads(x)["responses"]) for x in lines) if i in taken
    } == taken

    again = run(place, store, Heard(), output="again")
    assert [entry.adaptive for entry in again.entries] == [entry.adaptive for entry in found.entries]


def test_a_killed_run_goes_on_and_ends_as_it_would_have(place, task_index, tmp_path):
    options = {"tasks": ("tiny_mc",), "student": ("student",)}
    whole = run(place, indexed(task_index, tmp_path / "whole"), Heard(), output="one", **options)
    looks = next(entry.adaptive.looks for entry in whole.entries if entry.primary)
    assert len(looks) > 1
    store = indexed(task_index, tmp_path / "cut")
    with pytest.raises(KeyboardInterrupt):
        run(place, store, Heard(stop_at=f"{looks[-2].num_docs} of 120"), output="two", **options)
    assert not (place / "two" / "retention.json").exists()
    heard = Heard()
    assert run(place, store, heard, output="two", **options).entries == whole.entries
    assert heard.first["teacher", "tiny_mc"] == pytest.approx(looks[-2].num_docs / 120)


def test_what_has_no_bounds_is_refused_by_name_before_anything_is_scored(place, task_index, tmp_path):
    store = indexed(task_index, tmp_path / "cache")
    told = r"--adaptive: tiny_text \(bits_per_byte\) cannot be stopped early.*: --tasks tiny_mc$"
    with pytest.raises(UsageError, match=told):
        run(place, store, Heard(), output="refused", tasks=("tiny_text", "tiny_mc"))
    assert not {entry.kind for entry in store.entries()} & {"responses", "evaluation"}
    assert not (place / "refused" / "retention.json").exists()


def test_a_baseline_is_refused(place, capsys):
    argv = ["compare", "--teacher=t", "--student=s", "--baseline=b", "--tasks=tiny_mc", "--adaptive"]
    assert main(argv) == 2
    assert "--adaptive stops when the verdict against the teacher holds" in " ".join(capsys.readouterr().err.split())
