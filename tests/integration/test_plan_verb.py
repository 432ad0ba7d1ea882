"""`distill-eval plan` from its command line to its files, on a tiny teacher."""

import json
import math
import shutil
import tomllib
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from fakes.runs import by_name, recipe_text, record, skipped, write, write_text
from fakes.tiny_families import make_tokenizer
from fakes.tiny_tasks import write_tasks
from fakes.tiny_teachers import save_teacher

from distill_eval.cli import main
from distill_eval.compare import planned_power
from distill_eval.evaluate.sizes import Tasks
from distill_eval.pipeline.gathered import gather
from distill_eval.record import from_json
from distill_eval.schema.distill import DistillRun
from distill_eval.schema.plan import Plan
from distill_eval.schema.retention import Retention
from distill_eval.store import Store

REPORTS = Path(__file__).resolve().parents[2] / "reports"
HARDWARE = ["--hardware", "2xmine", "--flops", "100", "--bandwidth", "1000", "--memory", "16"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A teacher, its tasks, and text to train on."""
    root = tmp_path_factory.mktemp("plan")
    model = save_teacher("llama", root / "teacher")
    make_tokenizer().save_pretrained(root / "teacher")
    write_tasks(root / "tasks")
    write_text(root / "text.jsonl")
    (root / "size").write_text(str(model.num_parameters()))
    return root


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Runs that lie below the working folder are taken for the reader's."""
    monkeypatch.chdir(tmp_path)


def planned(place, out, *options, teacher=None):
    """Plan into a folder; the plan."""
    words = ["plan", "--teacher", str(teacher or place / "teacher"), "--ratio", "1.5", *HARDWARE]
    assert main([*words, "--output-dir", str(out), *options]) == 0
    return from_json(Plan, (out / "plan.json").read_bytes(), source="plan.json")


def figures(plan):
    return {figure.name: figure.value for figure in plan.training}


def test_a_plan_is_written_whole_and_its_recipe_runs(place, tmp_path, capsys):
    recipe, out = tmp_path / "mine.toml", tmp_path / "out"
    options = ["--tokens", "8192", "--batch-size", "4", "--max-length", "64", "--price-per-hour", "3.6"]
    tasks = ["--tasks", "tiny_mc,tiny_gen", "--include-path", str(place / "tasks"), "--limit", "10"]
    plan = planned(place, out, *options, *tasks, "--write-recipe", str(recipe))
    total = int((place / "size").read_text())
    assert plan.teacher.parts.total == total
    assert plan.students[0].compression == pytest.approx(1.5, rel=0.02)
    assert plan.hardware.num_devices == 2
    assert figures(plan)["training.cost_usd"] == pytest.approx(figures(plan)["training.seconds"] * 3.6 / 3600)
    assert figures(plan)["training.tokens"] == 8192

    first = capsys.readouterr().out
    assert f"Plan: {out / 'plan.md'}" in first
    assert len(first.splitlines()) < 50  # one screen
    text = (out / "plan.md").read_text()
    assert f"{total:,}" in text
    assert plan.students[0].prepare in text
    ET.fromstring((out / "plan.svg").read_text())

    assert main(["run", str(recipe), "--data", str(place / "text.jsonl"), "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert f"{plan.students[0].sizes.parts.total:,} parameters" in told
    assert f"training.steps = {math.ceil(8192 / (4 * 64))}" in told
    assert "training.dtype = bfloat16" in told  # as it is planned for a GPU
    assert "evaluation.tasks = tiny_mc, tiny_gen" in told


def test_tasks_that_are_loaded_count_what_compare_would_score(place, tmp_path):
    options = ["--tasks", "tiny_mc,tiny_group", "--include-path", str(place / "tasks"), "--detect", "0.15"]
    one, group = planned(place, tmp_path / "out", *options).evaluation
    docs = [json.loads(line) for line in (place / "tasks" / "tiny_mc.jsonl").read_text().splitlines()]
    encode = make_tokenizer().encode
    prompts = [f"Question: {doc['question']}\nAnswer:" for doc in docs]
    whole = sum(
        len(encode(f"{prompt} {choice}")) - 1
        for prompt, doc in zip(prompts, docs, strict=True)
        for choice in doc["choices"]
    )
    assert f"{whole:,} without that" in one.num_tokens.source
    assert 0 < one.num_tokens.value < whole
    assert one.seconds.value > 0
    assert (one.num_docs, one.num_docs_total) == (20, 20)
    assert one.detectable_drop == planned_power(20, kind="binary", level=0.95).planned_detectable_drop
    assert one.limit_to_detect is None
    assert "too few documents" in one.reason
    assert group.num_docs == 20 * len(Tasks(Store(), place / "tasks").leaves("tiny_group")) > 20


def test_a_task_without_data_has_dashes_and_a_reason_and_the_others_are_planned(place, tmp_path, capsys):
    tasks, recipe = write_tasks(tmp_path / "tasks"), tmp_path / "mine.toml"
    (tasks / "tiny_b.jsonl").unlink()
    (tasks / "mixed.yaml").write_text("group: mixed\ntask: [tiny_b, lambada_openai]\n")
    words = ["--tasks", "mixed,tiny_mc,tiny_b", "--include-path", str(tasks), "--write-recipe", str(recipe)]
    plan = planned(place, tmp_path / "out", *words)
    (one,) = plan.evaluation
    assert (one.task, one.num_docs) == ("tiny_mc", 20)
    assert one.seconds.value > 0
    mixed, gone = plan.missing_tasks
    assert (mixed.task, gone.task) == ("mixed", "tiny_b")
    assert gone.reason.startswith("cannot load the data of task 'tiny_b'")
    assert mixed.reason == f"{gone.reason}. Of its 2 tasks these are well known: --tasks lambada_openai"
    assert f"{gone.reason}. The rest is planned without tiny_b" in capsys.readouterr().out
    rows = [line.split("|")[1:-1] for line in (tmp_path / "out" / "plan.md").read_text().splitlines() if "|" in line]
    (row,) = (cells for cells in rows if cells[0].strip() == "tiny_b")
    assert {cell.strip().partition(" ")[0] for cell in row[1:]} == {"-"}
    assert tomllib.loads(recipe.read_text())["compare"]["evaluation"]["tasks"] == ["tiny_mc"]


def test_a_teacher_that_cannot_be_had_is_planned_from_the_published_copy(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    plan = planned(None, tmp_path / "out", "--tasks", "arc_easy", teacher="meta-llama/Llama-3.2-1B")
    assert plan.teacher.parts.total == 1_235_814_400  # https://huggingface.co/meta-llama/Llama-3.2-1B: 1.24B
    assert plan.teacher.config_source.startswith("the copy in this package of https://")
    assert "planned from the config that comes with the package" in capsys.readouterr().out
    assert plan.evaluation[0].num_docs == 2376


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--ratio", "0.5"], "--ratio 0.5: expected 1 or more"),
        (["--target-params", "2B"], "--target-params 2B: the teacher has"),
        (["--ratio", "2", "--hardware", "H1000"], "--hardware H1000: unknown"),
        (["--ratio", "1.5", *HARDWARE, "--tasks", "arc_esy"], "unknown task 'arc_esy'. Did you mean 'arc_easy'"),
        (["--ratio", "1.5", *HARDWARE, "--runs", "nowhere"], "nowhere: no such folder or file"),
        (["--ratio", "1.5", *HARDWARE, "--tokens", "many"], "--tokens 'many': expected a number of tokens"),
    ],
)
def test_what_cannot_be_planned_is_refused(place, tmp_path, words, told, capsys):
    given = words if "--hardware" in words else [*words, *HARDWARE]
    assert main(["plan", "--teacher", str(place / "teacher"), *given, "--output-dir", str(tmp_path / "out")]) in (1, 2)
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out" / "plan.json").exists()


def test_a_missing_or_gated_config_is_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert main(["plan", "--teacher", "org/nowhere", "--ratio", "2", *HARDWARE]) == 1
    assert "Configs that come with the package: HuggingFaceTB/SmolLM2-135M" in capsys.readouterr().err
    assert main(["plan", "--teacher", str(tmp_path), "--ratio", "2", *HARDWARE]) == 1
    assert "cannot be read" in capsys.readouterr().err


def test_the_table_of_hardware_is_shown_without_a_plan(capsys):
    assert main(["plan", "--hardware", "list"]) == 0
    assert "A100-80GB" in capsys.readouterr().out
    assert main(["plan", "--ratio", "2"]) == 2
    assert "which teacher?" in capsys.readouterr().err


def test_by_an_assistant_both_trainings_are_planned(place, tmp_path):
    direct = planned(place, tmp_path / "direct", "--tokens", "1M", "--max-length", "64")
    plan = planned(place, tmp_path / "out", "--tokens", "1M", "--max-length", "64", "--method", "progressive")
    total, [student] = plan.teacher.parts.total, plan.students
    assert plan.assistant.compression == pytest.approx(1.5**0.5, rel=0.05)
    assert student.compression == pytest.approx(1.5, rel=0.05)
    assert total / student.sizes.parts.total == pytest.approx(student.compression)
    assert figures(plan)["training.flops"] > 1.5 * figures(direct)["training.flops"]
    text = (tmp_path / "out" / "plan.md").read_text()
    assert plan.assistant.prepare in text
    assert "--output-dir assistant" in plan.assistant.prepare
    assert "--teacher assistant" in student.prepare or "--teacher ./assistant" in student.prepare


def test_comparisons_below_this_folder_are_the_readers_own_runs(place, tmp_path, capsys):
    assert planned(place, tmp_path / "out").retained.own.value is None
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    shutil.copy(REPORTS / "2026-11-26-smollm2-distilled" / "wikitext" / "retention.json", tmp_path / "runs" / "mine")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "retention.json").write_text("{")
    found = planned(place, tmp_path / "out").retained.own
    told = capsys.readouterr().out
    assert "your own runs: runs/mine/retention.json (others: --runs)" in told
    assert "left out of your own runs" in told
    assert found == planned(place, tmp_path / "out", "--runs", "runs/mine").retained.own
    assert found.value is not None


def test_a_recipe_that_exists_is_kept(place, tmp_path, capsys):
    (tmp_path / "mine.toml").write_text("mine")
    words = ["plan", "--teacher", str(place / "teacher"), "--ratio", "1.5", *HARDWARE]
    assert main([*words, "--output-dir", str(tmp_path / "out"), "--write-recipe", str(tmp_path / "mine.toml")]) == 2
    assert (tmp_path / "mine.toml").read_text() == "mine"
    assert "exists: name another file" in capsys.readouterr().err


def test_a_run_holds_its_plan_against_what_it_measured(place, tmp_path, capsys):
    text = recipe_text(
        {
            "": f'teacher = "{place / "teacher"}"',
            "data": f'data = "{place / "text.jsonl"}"\nmax_length = 32\nvalidation_documents = 10',
            "plan.hardware": 'hardware = "mine"\nflops = 0.001\nbandwidth = 1\nmemory = 1',
            "plan.training": "utilisation = 0.5",
            "prepare": "ratio = 0.6\ncalibration_samples = 4\ncalibration_length = 32",
            "distill.training": 'steps = 2\nbatch_size = 2\ndevice = "cpu"',
            "compare.evaluation": f'tasks = ["tiny_mc"]\nlimit = 8\ninclude_path = "{place / "tasks"}"',
            "report": "html = true",
        }
    )
    out = tmp_path / "out"
    command = ["run", write(tmp_path, text), "--output-dir", str(out)]
    assert main(command) == 0
    plan = from_json(Plan, (out / "plan" / "plan.json").read_bytes(), source="plan.json")
    assert [step.stage for step in record(out).stages] == ["plan", "prepare", "distill", "compare", "report"]

    found = {one.what: one for one in gather([out], provenance=plan.provenance).checks["out/plan/plan.json"]}
    size = found["parameters of the student"]
    assert (size.planned.value, size.error) == (plan.students[0].sizes.parts.total, pytest.approx(0, abs=0.02))
    assert found["parameters of the teacher"].error == 0
    trained = from_json(DistillRun, (out / "student" / "distill.json").read_bytes(), source="distill.json")
    assert found["training tokens"].planned.value == 2 * 2 * 32  # steps, rows and their length, of [distill] and [data]
    assert found["training tokens"].measured == trained.num_tokens_seen
    compared = found["time of the comparison"]
    assert compared.planned.value == sum(one.seconds.value for one in plan.evaluation)
    assert compared.measured == by_name(out)["compare"].seconds
    seconds = found["time of the training's steps"]
    assert seconds.measured == trained.seconds_per_step * trained.num_steps < by_name(out)["distill"].seconds
    memory = found["memory of the training"]
    assert memory.planned.name == "training.peak_bytes"
    assert memory.measured == trained.peak_bytes > 0
    assert found["documents of tiny_mc"].measured == 8
    retention = from_json(Retention, (out / "compare" / "retention.json").read_bytes(), source="retention.json")
    kept = found["kept, by a planner's rule"]
    assert kept.measured == retention.verdicts[0].mean_retention
    assert kept.error == pytest.approx(kept.planned.value / kept.measured - 1)
    assert kept.inside is None

    report = (out / "report" / "report.md").read_text()
    assert "## Planned and measured" in report
    assert "memory of the training" in report
    assert 'id="planned"' in (out / "report" / "report.html").read_text()
    capsys.readouterr()
    assert main(command) == 0
    assert skipped(capsys.readouterr().out) == ["plan", "prepare", "distill", "compare", "report"]


def test_a_calibration_says_how_long_a_training_takes_on_this_machine(place, tmp_path):
    words = ["plan", "--teacher", str(place / "teacher"), "--ratio", "1.5", "--hardware", "cpu", "--tokens", "1M"]
    words += ["--calibrate", "--batch-size", "2", "--max-length", "32", "--output-dir", str(tmp_path / "plan")]
    assert main(words) == 0
    plan = from_json(Plan, (tmp_path / "plan" / "plan.json").read_bytes(), source="plan.json")
    found = {figure.name: figure for figure in plan.training}
    seconds, flops = found["training.seconds"], found["training.flops"]
    fastest, slowest = (
        seconds.source.partition("random tokens in float32 on cpu, of ")[2].removesuffix(" s").split(" to ")
    )
    steps = 1_000_000 / (2 * 32)
    assert seconds.low == pytest.approx(float(fastest) * steps, rel=0.01)
    assert seconds.high == pytest.approx(float(slowest) * steps, rel=0.01)
    assert seconds.low <= seconds.value <= seconds.high
    assert flops.value / plan.hardware.flops < seconds.low  # nothing is faster than the peak
