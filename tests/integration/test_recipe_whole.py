"""The whole way on tiny models, from the student to the report: variants, what is measured of them, kills, failures."""

import json
import shutil
import signal
import sys
from pathlib import Path

import pytest
from fakes.runs import by_name, killed, recipe_text, record, skipped, tools, write, write_text
from fakes.tiny_tasks import write_tasks
from fakes.tiny_variants import save_original

from distill_eval.cli import main
from distill_eval.pipeline.newest import newest
from distill_eval.pipeline.run import run
from distill_eval.recipe import Overrides, load
from distill_eval.record import from_json
from distill_eval.schema.bench import BenchRun
from distill_eval.schema.quant import QuantRun
from distill_eval.schema.report import Report

STAGES = ["prepare", "distill", "quantize w8a8", "export onnx", "compare", "fidelity", "bench", "report"]
ARTIFACTS = {"compare": "retention.json", "fidelity": "fidelity.json"}
MODELS = ["student", "variants/w8a8", "variants/onnx"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A teacher, texts and tasks."""
    root = tmp_path_factory.mktemp("whole")
    save_original(root / "teacher")
    write_tasks(root / "tasks")
    write_text(root / "text.jsonl")
    write_text(root / "other.jsonl", num_lines=40)
    return root


def recipe(place, **changes):
    """The text of a recipe with all stages; `changes` are tables, of which `None` leaves one out."""
    tables = {
        "": f'teacher = "{place / "teacher"}"',
        "data": f'data = "{place / "text.jsonl"}"\nmax_length = 32\nvalidation_documents = 10',
        "prepare": 'keep_layers = "0,2"',
        "distill.training": 'steps = 2\nbatch_size = 2\ndevice = "cpu"',
        "[quantize]": 'name = "w8a8"\nscheme = "W8A8"\ncalibration_samples = 2\nheld_out_samples = 2',
        "[export]": 'name = "onnx"\nprecision = "fp32"\ntext_samples = 2\ntext_length = 16',
        "compare": "parity = false",
        "compare.evaluation": f'tasks = ["tiny_mc"]\nlimit = 8\ninclude_path = "{place / "tasks"}"',
        "fidelity": f'text = "{place / "other.jsonl"}"\ntext_samples = 2\ntext_length = 32',
        "bench": 'model = ["teacher", "student"]\nengine = ["hf"]\nrepeats = 1\nnum_prompts = 1',
        "bench.load": 'concurrency = ["1"]',
        "bench.prompts": "random_input_len = 8\nrandom_output_len = 4",
        "report": "html = true",
    } | changes
    return recipe_text(tables)


@pytest.fixture(scope="module")
def finished(place, task_index, tmp_path_factory):
    """A folder with a recipe that was run once to its end."""
    root = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISTILL_EVAL_CACHE", str(shutil.copytree(task_index, root / "cache")))
        assert main(["run", write(root, recipe(place)), "--output-dir", str(root / "out")]) == 0
    return root


def test_every_stage_leaves_its_artifact_of_the_student_and_its_variants(finished, place):
    out = finished / "out"
    assert [stage.name for stage in record(out).stages] == STAGES
    assert {stage.status for stage in record(out).stages} == {"done"}
    students = [str(out / name) for name in MODELS]
    quant = from_json(QuantRun, (out / "variants" / "w8a8" / "quant.json").read_bytes(), source="quant.json")
    assert (quant.scheme, str(quant.model)) == ("W8A8", str(out / "student"))
    exported = json.loads((out / "variants" / "onnx" / "export.json").read_text())
    assert exported["precision"] == "fp32"
    retention = json.loads((out / "compare" / "retention.json").read_text())
    assert [model["ref"] for model in retention["students"]] == students
    fidelity = json.loads((out / "fidelity" / "fidelity.json").read_text())
    assert [one["model"]["ref"] for one in fidelity["candidates"]] == students
    bench = from_json(BenchRun, (out / "bench" / "bench.json").read_bytes(), source="bench.json")
    assert [model.ref for model in bench.models] == [str(place / "teacher"), students[0]]
    report = from_json(Report, (out / "report" / "report.json").read_bytes(), source="report.json")
    assert [variant.name for variant in report.variants] == ["teacher", "student", "w8a8", "onnx"]
    for text in ("report.md", "report.html"):
        assert (out / "report" / text).read_text().count("w8a8") > 1


def test_a_second_run_skips_all_and_changes_nothing(finished, capsys):
    before = (finished / "out" / "run.json").read_bytes()
    assert main(["run", str(finished / "tiny.toml"), "--output-dir", str(finished / "out")]) == 0
    assert skipped(capsys.readouterr().out) == STAGES
    assert (finished / "out" / "run.json").read_bytes() == before
    assert main(["run", str(finished / "out" / "recipe.toml")]) == 0  # the whole recipe is the same one
    assert skipped(capsys.readouterr().out) == STAGES


def test_a_changed_variant_repeats_itself_and_what_reads_it(finished, place, tmp_path, capsys):
    done = shutil.copytree(finished, tmp_path / "copy")
    write(done, recipe(place, **{"[quantize]": 'name = "w8a8"\nscheme = "W8A16"\ncalibration_samples = 2'}))
    assert main(["run", str(done / "tiny.toml"), "--output-dir", str(done / "out"), "--dry-run"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if not line.startswith(" ")]
    assert [line.split(" ->")[0].partition(". ")[2] for line in lines] == [
        "prepare: done, skipped",
        "distill: done, skipped",
        "quantize w8a8: to do (its options changed)",
        "export onnx: done, skipped",
        "compare: to do (quantize w8a8 comes before it)",
        "fidelity: to do (quantize w8a8 comes before it)",
        "bench: done, skipped",
        "report: to do (quantize w8a8, compare, fidelity come before it)",
    ]


def test_the_newest_run_has_its_variants(finished):
    assert newest(finished).models[1:] == tuple(str(finished / "out" / name) for name in MODELS)


def test_a_run_killed_in_every_stage_goes_on(finished, place, tmp_path):
    """In each stage, and between two; what was done is not done again."""
    out, told = tmp_path / "out", []
    path = write(tmp_path, recipe(place, bench='model = ["student"]\nengine = ["hf"]\nrepeats = 1\nnum_prompts = 1'))
    repeated = load(path, Overrides(output_dir=out))
    for line in (
        " parameters",
        r"step \d of 2",
        "check, held-out samples: 0 of",
        "building the graph",
        "compare: begun",
        "reference: kept",
        "repeat 1, concurrency 1",
        "report: begun",
    ):
        assert killed(repeated, line) == signal.SIGKILL, line
    assert {name: stage.status for name, stage in by_name(out).items()} == dict.fromkeys(STAGES[:-1], "done") | {
        "report": "not run"
    }
    run(repeated, source="test", tools=tools(told.append))
    assert skipped("\n".join(told)) == STAGES[:-1]
    attempts = {name: stage.num_attempts for name, stage in by_name(out).items()}
    assert attempts == dict.fromkeys(STAGES, 2) | {"compare": 1, "report": 1}  # killed before they began
    assert not list(out.glob("**/.w8a8-*"))
    for weights in ("variants/w8a8/model.safetensors", "student/model.safetensors"):
        assert (out / weights).read_bytes() == (finished / "out" / weights).read_bytes()
    [aside] = out.glob("bench.replaced-*")
    assert not (aside / "bench.json").exists()
    bench = from_json(BenchRun, (out / "bench" / "bench.json").read_bytes(), source="bench.json")
    assert bench.complete


def test_a_failed_variant_stops_nothing_else(place, tmp_path, capsys):
    """A W4A16 group of 48 divides no width of the model; everything else is measured without that variant."""
    out = tmp_path / "out"
    changes = {
        "distill.training": None,
        "[quantize]": 'name = "w4a16"\nscheme = "W4A16"\ngroup_size = 48',
        "[export]": None,
        "bench": 'model = ["teacher", "w4a16", "student"]\nengine = ["hf"]\nrepeats = 1\nnum_prompts = 1',
    }
    path = write(tmp_path, recipe(place, **changes))
    assert main(["run", path, "--output-dir", str(out)]) == 2
    found = capsys.readouterr()
    assert "quantize w4a16 failed: a group of 48 does not divide" in found.err
    assert "Run without it: compare, fidelity, bench." in found.err
    assert "Not run:" not in found.err
    assert "compare: without what is not there: quantize w4a16" in found.out
    others = dict.fromkeys(["prepare", "compare", "fidelity", "bench", "report"], "done")
    assert {name: stage.status for name, stage in by_name(out).items()} == others | {"quantize w4a16": "failed"}
    student = str(out / "prepared")
    retention = json.loads((out / "compare" / "retention.json").read_text())
    assert [model["ref"] for model in retention["students"]] == [student]
    bench = from_json(BenchRun, (out / "bench" / "bench.json").read_bytes(), source="bench.json")
    assert [model.ref for model in bench.models] == [str(place / "teacher"), student]
    report = from_json(Report, (out / "report" / "report.json").read_bytes(), source="report.json")
    rows = {row.name: row for row in report.variants}
    assert list(rows) == ["teacher", "prepared"]
    (entry,) = [entry for entry in retention["entries"] if entry["primary"]]
    assert rows["prepared"].retention.value == entry["retention"]["value"]
    assert None not in (rows["prepared"].kl.value, rows["prepared"].verdict)
    assert rows["prepared"].speeds
    (failed,) = [one for one in report.findings if one.subject == "w4a16"]
    assert failed.weight == "high"
    assert failed.text.startswith("The stage quantize w4a16 of out/run.json is failed: a group of 48 does not divide")

    assert main(["run", path, "--output-dir", str(out)]) == 2  # it fails again: nothing else has changed
    assert skipped(capsys.readouterr().out) == ["prepare", "compare", "fidelity", "bench", "report"]

    changes["[quantize]"] = 'name = "w4a16"\nscheme = "W4A16"\ngroup_size = 64\ncalibration_samples = 2'
    write(tmp_path, recipe(place, **changes))
    assert main(["run", path, "--output-dir", str(out)]) == 0
    assert skipped(capsys.readouterr().out) == ["prepare"]
    assert {stage.status for stage in by_name(out).values()} == {"done"}
    report = from_json(Report, (out / "report" / "report.json").read_bytes(), source="report.json")
    assert [row.name for row in report.variants if row.verdict is not None] == ["prepared", "w4a16"]
    assert "w4a16" not in {one.subject for one in report.findings if one.weight == "high"}


def test_a_report_joins_no_old_comparison_to_new_weights(finished, place, tmp_path, capsys):
    """The student is another one and its variant fails: it is compared without, and what was compared before is not
    in the report."""
    out = shutil.copytree(finished / "out", tmp_path / "out")
    before = from_json(Report, (out / "report" / "report.json").read_bytes(), source="report.json")
    assert {row.name for row in before.variants if row.retention.value is not None} >= {"student", "w8a8"}
    changes = {
        "prepare": 'keep_layers = "0,1"',
        "[quantize]": 'name = "w8a8"\nscheme = "W4A16"\ngroup_size = 48',
        "[export]": None,
        "bench": None,
        "bench.load": None,
        "bench.prompts": None,
    }
    path = write(tmp_path, recipe(place, **changes))
    assert main(["run", path, "--output-dir", str(out)]) == 2
    assert "Run without it: compare, fidelity." in capsys.readouterr().err
    report = from_json(Report, (out / "report" / "report.json").read_bytes(), source="report.json")
    assert [(row.name, row.speeds) for row in report.variants] == [("teacher", ()), ("student", ())]
    kl = json.loads((out / "fidelity" / "fidelity.json").read_text())["candidates"][0]["tokens"]["kl"]["mean"]["value"]
    assert report.variants[1].kl.value == kl != before.variants[1].kl.value
    assert {source.kind for source in report.sources} == {"student", "distill", "retention", "fidelity"}
    moved = {f"{name}.replaced-1/{file}": f"{name}/{file}" for name, file in ARTIFACTS.items()}
    for now, then in ({"bench/bench.json": "bench/bench.json"} | moved).items():
        assert (out / now).read_bytes() == (finished / "out" / then).read_bytes()


@pytest.mark.parametrize(
    ("change", "missing", "said"),
    [
        ({"report": "[report.ci]\ngithub_summary = true"}, None, "the variable GITHUB_STEP_SUMMARY is not set"),
        ({"bench": 'engine = ["vllm"]'}, "vllm", "--engine vllm: vLLM is not installed here"),
        (
            {"distill.training": None, "prepare": None, "bench": None, "bench.load": None, "bench.prompts": None},
            "onnx",
            "export needs onnx, not installed here",
        ),
    ],
    ids=["summary", "vllm", "onnx without a training"],
)
def test_what_a_late_stage_would_refuse_is_refused_before_any_work(
    place, tmp_path, capsys, monkeypatch, change, missing, said
):
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    if missing:
        monkeypatch.setitem(sys.modules, missing, None)
    path = write(tmp_path, recipe(place, **change))
    assert main(["run", path, "--output-dir", str(tmp_path / "out")]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_refused_before_any_work(place, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    path = write(tmp_path, recipe(place))
    assert main(["run", path, "--output-dir", str(tmp_path / "file" / "out")]) == 1
    assert f"cannot write {tmp_path / 'file' / 'out'}" in capsys.readouterr().err
    assert main(["run", path, "--output-dir", str(tmp_path / "file")]) == 2
    assert f"--output-dir {tmp_path / 'file'} is a file; name a folder" in capsys.readouterr().err


def test_variants_of_a_model_without_a_student(place, tmp_path, capsys):
    path = write(
        tmp_path,
        recipe_text(
            {
                "data": f'data = "{place / "text.jsonl"}"\nmax_length = 32',
                "[quantize]": 'name = "w8a16"\nscheme = "W8A16"\ncalibration_samples = 2\nheld_out_samples = 2',
                "compare.evaluation": f'tasks = ["tiny_mc"]\nlimit = 8\ninclude_path = "{place / "tasks"}"',
                "report": "gate = true",
                "report.rules": "max_size_ratio = 0.1",
                "report.ci": "annotations = true",
            }
        ),
    )
    out = tmp_path / "out"
    assert main(["run", path, "--teacher", str(place / "teacher"), "--output-dir", str(out)]) == 3
    printed = capsys.readouterr().out
    assert f"Variant: {out / 'variants' / 'w8a16'}" in printed
    assert "::error title=w8a16%3A FAIL::max-size-ratio 0.1: " in printed
    assert "::error title=distill-eval%3A FAIL::" in printed
    retention = json.loads((out / "compare" / "retention.json").read_text())
    assert retention["teacher"]["ref"] == str(place / "teacher")
    assert [Path(model["ref"]).name for model in retention["students"]] == ["w8a16"]
