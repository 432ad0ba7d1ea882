"""The recipe that `distill-eval plan --write-recipe` writes: what it says, and what becomes of it when it is run."""

import math
import re
import shlex
import tomllib
from pathlib import Path

import pytest
from fakes import tiny_classifiers
from fakes.runs import record, write_text
from fakes.tiny_families import make_tokenizer
from fakes.tiny_tasks import write_tasks
from fakes.tiny_teachers import save_teacher

from distill_eval.cli import main, parse
from distill_eval.compare import planned_power
from distill_eval.pipeline.gathered import gather
from distill_eval.plan.evaluation import docs_to_detect, well_known
from distill_eval.record import from_json
from distill_eval.schema.distill import DistillRun
from distill_eval.schema.plan import Plan
from distill_eval.schema.teacher_cache import CacheManifest

NUMBERS = ["--flops", "100", "--bandwidth", "1000", "--memory", "16"]
ROWS = ["--tokens", "8192", "--batch-size", "4", "--max-length", "64"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Teachers, tasks, and texts to train on."""
    root = tmp_path_factory.mktemp("plan")
    for family in ("llama", "gpt2"):
        save_teacher(family, root / family)
        make_tokenizer().save_pretrained(root / family)
    tiny_classifiers.save(root / "classifier", tiny_classifiers.bert(6), labels=tiny_classifiers.NAMES)
    tiny_classifiers.write_rows(root / "labeled.jsonl", tiny_classifiers.make_rows(120))
    write_tasks(root / "tasks")
    write_text(root / "text.jsonl")
    return root


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Runs that lie below the working folder are taken for the reader's."""
    monkeypatch.chdir(tmp_path)


def written(teacher, *options, hardware="mine"):
    """The plan, its recipe as text, and that as a table."""
    size = [] if "--target-params" in options else ["--ratio", "1.5"]
    words = ["plan", "--teacher", str(teacher), *size, "--hardware", hardware, *NUMBERS, *options]
    assert main([*words, "--write-recipe", "mine.toml"]) == 0
    text = Path("mine.toml").read_text(encoding="utf-8")
    return from_json(Plan, Path("plan/plan.json").read_bytes(), source="plan.json"), text, tomllib.loads(text)


def value(plan, name):
    return next(figure.value for figure in plan.training if figure.name == f"training.{name}")


def test_a_run_of_the_recipe_is_held_against_its_plan(place, tmp_path, capsys):
    options = ["--tokens", "512", "--batch-size", "2", "--max-length", "32", "--dtype", "float32"]
    options += ["--teacher-source", "cached", "--utilisation", "0.4", "--input-len", "48", "--price-per-hour", "2"]
    tasks = ["--tasks", "tiny_mc", "--include-path", str(place / "tasks"), "--limit", "8"]
    before, text, table = written(place / "llama", *options, *tasks)
    assert table["plan"] == {
        "ratio": 1.5,
        "hardware": {"hardware": "mine", "flops": 100, "bandwidth": 1000, "memory": 16, "price_per_hour": 2},
        "training": {"utilisation": 0.4},
        "serving": {"input_len": 48, "output_len": 80},  # of 128
    }
    assert text.startswith("# Written by")  # it fits
    assert "It lacks the data alone" in text

    command = ["run", "mine.toml", "--data", str(place / "text.jsonl"), "--output-dir", "out"]
    assert main([*command, "--dry-run"]) == 0
    assert f"{before.students[0].sizes.parts.total:,} parameters" in capsys.readouterr().out
    assert main(command) == 0
    out = tmp_path / "out"
    stages = [step.stage for step in record(out).stages]
    assert stages == ["plan", "prepare", "cache-teacher", "distill", "compare", "report"]
    after = from_json(Plan, (out / "plan" / "plan.json").read_bytes(), source="plan.json")
    assert after.students == before.students
    assert after.training == before.training
    assert after.serving == before.serving
    assert [(one.task, one.num_docs) for one in after.evaluation] == [("tiny_mc", 8)]

    report = (out / "report" / "report.md").read_text()
    assert "## Planned and measured" in report
    assert "disk of the cached teacher" in report
    found = {one.what: one for one in gather([out], provenance=after.provenance).checks["out/plan/plan.json"]}
    trained = from_json(DistillRun, (out / "student" / "distill.json").read_bytes(), source="distill.json")
    assert found["parameters of the student"].error == 0
    assert (found["training tokens"].planned.value, found["training tokens"].measured) == (512, trained.num_tokens_seen)
    cache = from_json(CacheManifest, (out / "teacher-cache" / "manifest.json").read_bytes(), source="manifest.json")
    disk = found["disk of the cached teacher"]
    assert disk.measured == cache.size_bytes > 0
    assert disk.planned.value == pytest.approx(value(after, "teacher_cache_bytes") / 512 * cache.num_rows)
    assert {"time of the training's steps", "memory of the training", "documents of tiny_mc"} <= found.keys()


def test_a_chain_is_planned_as_it_is_made(place, capsys):
    plan, _, table = written(place / "llama", *ROWS, "--method", "progressive")
    assert (table["plan"]["ratio"], table["plan"]["method"]) == (1.5, "progressive")
    total = plan.students[0].sizes.parts.total
    assert main(["run", "mine.toml", "--data", str(place / "text.jsonl"), "--dry-run"]) == 0
    made = [int(number.replace(",", "")) for number in re.findall(r"([\d,]+) parameters", capsys.readouterr().out)]
    assert made[-1] == pytest.approx(total, rel=0.05)


def commands(text):
    """Those of the head that are for several devices, as configs."""
    lines = [line.removeprefix("#     ") for line in text.splitlines() if line.startswith("#     ")]
    found = []
    for line in lines:
        words = shlex.split(line)
        launched = words[0] == "accelerate"
        found.append((launched, parse(words[words.index("distill_eval.cli") + 1 :] if launched else words[1:])))
    return found[1:]  # the first is the recipe's own


def test_several_devices_are_for_commands_by_hand(place, tmp_path):
    plan, text, table = written(place / "llama", *ROWS, "--price-per-hour", "4", hardware="4xmine")
    assert table["distill"]["training"]["steps"] == 8192 // (4 * 64)
    assert table["plan"]["hardware"] == {
        "hardware": "mine",
        "flops": 100,
        "bandwidth": 1000,
        "memory": 16,
        "price_per_hour": 1,
    }
    assert "`run` uses one device" in text
    (_, prepare), (launched, distill) = commands(text)
    assert prepare.num_layers == plan.students[0].sizes.shape.num_layers
    assert launched
    assert "accelerate launch --multi_gpu --num_processes 4 -m distill_eval.cli distill" in text
    assert distill.training.steps == 8192 // (4 * 64 * 4)
    assert (distill.training.batch_size, distill.training.dtype) == (4, "bfloat16")
    assert (distill.data.max_length, distill.loss.alpha, distill.teacher_dtype) == (64, 0.7, "bfloat16")

    (tmp_path / "mine.toml").unlink()
    again, single, _ = written(place / "llama", *ROWS)
    line = next(line for line in single.splitlines() if line.startswith("# seconds"))
    assert line in text  # of one device, as the recipe does it
    assert value(again, "seconds") == pytest.approx(4 * value(plan, "seconds"))
    peak = next(line for line in single.splitlines() if line.startswith("# peak bytes"))
    assert peak in text
    assert value(again, "peak_bytes") < value(plan, "peak_bytes")  # gradients in buckets


@pytest.mark.parametrize(
    ("options", "verbs"),
    [
        (["--method", "feature", "--teacher-source", "cached"], ["Prepare", "CacheTeacher", "Distill"]),
        (["--method", "progressive"], ["Prepare", "Distill", "Prepare", "Distill"]),
        (["--method", "response", "--gradient-checkpointing"], ["Prepare", "Distill"]),
    ],
)
def test_every_method_has_commands_for_several_devices(place, options, verbs):
    _, text, _ = written(place / "llama", *ROWS, *options, hardware="2xmine")
    found = commands(text)
    assert [type(config).__name__.removesuffix("Config") for _, config in found] == verbs
    assert [launched for launched, _ in found] == [verb == "Distill" for verb in verbs]
    assert found[-1][1].training.steps == 8192 // (4 * 64 * 2)
    if "progressive" in options:
        assert found[2][1].teacher == str(found[1][1].output_dir)


def test_a_training_that_does_not_fit_is_said_first(place):
    plan, text, _ = written(place / "llama", *ROWS, "--memory", "0.001")
    assert value(plan, "fits") > 1
    assert text.startswith("# THE TRAINING DOES NOT FIT: it takes ")
    assert " of 1 MB on mine." in text.splitlines()[0]


def test_a_classifiers_recipe_asks_for_its_labels(place, tmp_path, capsys):
    options = ["--tokens", "256", "--batch-size", "4", "--max-length", "16", "--dtype", "float32"]
    plan, text, table = written(place / "classifier", *options)
    assert "It lacks the data and the labels' column (label_column, below)" in text
    assert "cache_teacher" not in table
    assert "compare" not in table
    command = ["run", "mine.toml", "--data", str(place / "labeled.jsonl"), "--output-dir", "out"]
    assert main([*command, "--dry-run"]) == 2
    assert "--label-column: expected a column's name" in capsys.readouterr().err
    filled = text.replace('label_column = ""', 'label_column = "label"\nmeasure_speed = false')
    (tmp_path / "mine.toml").write_text(filled)
    assert main([*command, "--dry-run"]) == 0
    assert f"{plan.students[0].sizes.parts.total:,} parameters" in capsys.readouterr().out
    assert main(command) == 0
    checks = gather([tmp_path / "out"], provenance=plan.provenance).checks["out/plan/plan.json"]
    found = {one.what: one for one in checks}
    trained = from_json(DistillRun, (tmp_path / "out" / "student" / "distill.json").read_bytes(), source="distill.json")
    student, teacher = trained.classification.student, trained.classification.teachers[0]
    assert found["kept, by a planner's rule"].measured == student.accuracy / teacher.accuracy
    assert found["parameters of the student"].error == 0


def test_one_limit_lets_every_task_that_can_show_the_drop_show_it(place):
    drop = 0.03
    needed = docs_to_detect(drop, kind="binary", level=0.95)
    names = ["arc_easy", "arc_challenge", "mmlu"]
    totals = {name: [size.num_docs_total for size in well_known(name).values()] for name in names}
    assert sum(totals["arc_challenge"]) < needed < sum(totals["arc_easy"])
    plan, text, table = written(place / "llama", *ROWS, "--tasks", ",".join(names), "--detect", str(drop))
    limits = {one.task: one.limit_to_detect for one in plan.evaluation}
    assert limits["arc_challenge"] is None
    assert limits["mmlu"] < limits["arc_easy"]
    assert table["compare"]["evaluation"] == {"tasks": names, "limit": limits["arc_easy"]}
    assert not {"detect", "limit"} & table["plan"].keys()
    for name in names:
        num_docs = sum(min(needed, total) for total in totals[name])
        found = planned_power(num_docs, kind="binary", level=0.95).planned_detectable_drop
        line = f"# {name}: {num_docs:,} documents, smallest drop that is found: {100 * found:.2g} points"
        assert line in text.splitlines()
    (missed,) = [line for line in text.splitlines() if "it cannot show" in line]
    assert f"needs {needed:,}, and the task has 1,172" in missed


def test_without_a_task_that_can_show_the_drop_there_is_no_limit(place):
    _, text, table = written(place / "llama", *ROWS, "--tasks", "arc_challenge", "--detect", "0.001")
    assert "limit" not in table["compare"]["evaluation"]
    assert "# arc_challenge: 1,172 documents" in text


@pytest.mark.parametrize(
    ("family", "options", "dtype", "why"),
    [
        ("gpt2", ["--teacher-source", "int4"], "nf4", None),
        ("llama", ["--teacher-source", "int4"], "nf4", None),
        ("llama", ["--teacher-source", "cached", "--method", "response"], "bfloat16", "not cached: nothing is learned"),
        ("llama", ["--no-chunked-loss"], "bfloat16", "The loss is chunked: distill has no --no-chunked-loss."),
    ],
)
def test_what_is_written_is_what_is_planned_or_it_is_said(place, family, options, dtype, why, capsys):
    _, text, table = written(place / family, *ROWS, *options)
    assert table["distill"]["teacher_dtype"] == dtype
    head = text.partition("\nteacher = ")[0]
    assert why is None or why in head
    assert ("held in" in head) == (why is not None and "chunked" not in why)
    assert main(["run", "mine.toml", "--data", str(place / "text.jsonl"), "--dry-run"]) == 0
    told = capsys.readouterr().out
    planned = {"bfloat16": "bf16", "nf4": "int4"}[dtype]
    assert (f"training.teacher_source = {planned}" in told) == (planned != "bf16")


def test_steps_are_for_all_tokens(place):
    _, _, table = written(place / "llama", "--tokens", "10K", "--batch-size", "4", "--max-length", "64")
    assert table["distill"]["training"]["steps"] == math.ceil(10_000 / 256)
