"""`distill-eval report` on the artifacts of real runs that the repository keeps."""

import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest

from distill_eval import cli
from distill_eval.record import from_json
from distill_eval.schema.report import Report
from distill_eval.schema.retention import Retention

REPORTS = Path(__file__).resolve().parents[2] / "reports"
VARIANTS = REPORTS / "2026-11-26-smollm2-variants"
SERVING = REPORTS / "2026-11-26-smollm2-serving"
DISTILLED = REPORTS / "2026-11-26-smollm2-distilled"


def main(*words):
    return cli.main(["report", *map(str, words)])


def said_by(folder):
    """What a benchmark says, as plain dicts."""
    return json.loads((folder / "bench.json").read_text())


def names_of(folder):
    return [model["name"] for model in said_by(folder)["models"]]


def read(folder):
    return from_json(Report, (folder / "report.json").read_bytes(), source="report.json")


@pytest.fixture(scope="module")
def joined(tmp_path_factory):
    """Ten variants of a teacher, scored on tasks and text, beside a benchmark that has the teacher and three others."""
    folder = tmp_path_factory.mktemp("joined") / "report"
    assert main(VARIANTS, SERVING, "--output-dir", folder) == 0
    return folder


@pytest.fixture(scope="module")
def rows(joined):
    return {row.name: row for row in read(joined).variants}


def test_each_model_has_one_row_whatever_names_it(rows):
    assert list(rows) == [
        "SmolLM2-135M-Instruct", "w8a8", "w8a16", "w4a16", "w4a16-ar", "nf4", "int8", "onnx-fp32", "onnx-int8",
        "onnx-int4", "onnx-int4-kq", *names_of(SERVING)[1:],
    ]  # fmt: skip
    assert {name: row.role for name, row in rows.items() if row.role != "student"} == {names_of(SERVING)[0]: "teacher"}


def test_figures_are_those_of_the_artifacts(rows):
    row = rows["w8a8"]
    compared = from_json(Retention, (VARIANTS / "retention.json").read_bytes(), source="")
    kept = [entry.retention for entry in compared.entries if entry.student_ref == "w8a8" and entry.primary]
    assert row.retention.value == pytest.approx(1.00000213072)
    assert row.retention.value == pytest.approx(sum(one.value for one in kept) / 5)
    assert row.retention.stderr == pytest.approx(sum(one.stderr**2 for one in kept) ** 0.5 / 5)
    assert row.retention.ci_low == pytest.approx(
        row.retention.value - sum((one.value - one.ci_low) ** 2 for one in kept) ** 0.5 / 5
    )
    assert (row.worst_task, row.worst_retention.value) == ("lambada_openai", pytest.approx(0.827586206897))
    assert (row.verdict, row.engine, row.quantization) == ("INCONCLUSIVE", "hf", "compressed-tensors W8A8")
    assert (row.num_parameters, row.size_bytes) == (134515008, 163382664)
    assert row.size_ratio == pytest.approx(163382664 / 269060552)
    told = json.loads((VARIANTS / "fidelity.json").read_text())["candidates"][0]["tokens"]
    assert row.kl.value == told["kl"]["mean"]["value"]
    assert row.top1_agreement.ci_low == told["top1_agreement"]["ci_low"]


def test_retention_above_chance_is_the_mean_of_the_tasks_that_have_a_chance(rows):
    assert rows["w8a8"].retention_above_chance.value == pytest.approx((1.16744186047 + 1 + 0.957446808511) / 3)


def test_speed_is_that_of_the_benchmark_and_what_was_not_measured_says_why(rows):
    row = rows["student-w8a8"]
    assert [speed.load for speed in row.speeds] == ["concurrency 1", "concurrency 4", "concurrency 16"]
    said = next(model for model in said_by(SERVING)["models"] if model["name"] == "student-w8a8")["results"]
    assert [speed.speedup.value for speed in row.speeds] == [one["output_throughput_speedup"]["value"] for one in said]
    assert row.speeds[0].tpot_p99_ms == said[0]["metrics"]["tpot_ms"]["p99"]
    assert (row.bench_engine, row.verdict, row.engine) == ("vllm", None, None)
    assert row.reasons["verdict"] == "no comparison with the teacher has it (distill-eval compare)"
    assert rows["w8a8"].reasons["speeds"] == "no benchmark has it (distill-eval bench)"
    teacher = rows["SmolLM2-135M-Instruct"]
    assert (teacher.bench_engine, teacher.speeds[0].speedup) == ("vllm", None)
    assert (teacher.retention.value, teacher.kl.value, teacher.size_ratio) == (1.0, 0.0, 1.0)


def test_nobody_has_size_speed_and_retention_here_but_the_teacher(rows):
    assert {name: row.on_frontier for name, row in rows.items() if row.on_frontier is not None} == {
        "SmolLM2-135M-Instruct": True
    }


def test_the_verdict_names_the_nearest_and_what_would_settle_it(joined):
    report = read(joined)
    assert report.ship is None
    assert report.load == "concurrency 16"
    assert report.verdict.startswith("Ship none of these yet. The nearest is w4a16-ar: it keeps 101.5 % [")
    assert "w4a16, onnx-int4 and nf4 are failing." in report.verdict


def test_what_lessens_the_trust_is_found(joined):
    found = [(one.weight, one.subject, one.text) for one in read(joined).findings]
    (flips,) = [text for _, subject, text in found if subject == "onnx-fp32" and "flips" in text]
    assert re.match(r"\d+ of 500 answers of the unquantized weights differ between transformers and onnx", flips)
    weights = [weight for weight, _, _ in found]
    assert weights == sorted(weights, key=["high", "medium", "low"].index)


def test_sources_have_the_digest_of_their_file(joined):
    sources = {source.path: source for source in read(joined).sources}
    assert len(sources) == 13
    bench = sources["2026-11-26-smollm2-serving/bench.json"]
    assert bench.digest == hashlib.sha256((SERVING / "bench.json").read_bytes()).hexdigest()
    assert bench.command.startswith("distill-eval bench --model HuggingFaceTB/SmolLM2-135M-Instruct,")


def test_the_page_has_one_table_with_every_variant_and_numbered_reasons(joined):
    text = (joined / "report.md").read_text()
    num = len(read(joined).variants)
    assert text.startswith(
        f"# {num - 1} variants beside the teacher `SmolLM2-135M-Instruct`\n\n> **Ship none of these yet.**"
    )
    table = text.split("\n\n> ")[1].split("\n\n## ")[0]
    lines = [line for line in table.splitlines() if line.startswith("| ")]
    assert len(lines) == 2 + num
    assert "- (1) the teacher is what others are measured by" in table
    assert "- gap recovered: " in table  # in nobody's row
    order = [
        "## Retention per task",
        "## Flips",
        "## Frontier",
        "## Speed",
        "## Findings",
        "## How to repeat",
        "## How to read",
    ]
    assert [text.index(head) for head in order] == sorted(text.index(head) for head in order)


def test_the_same_artifacts_give_the_same_bytes_and_no_path_of_this_machine(joined, tmp_path, monkeypatch):
    monkeypatch.chdir(REPORTS)
    for out in ("a", "b"):
        assert main(VARIANTS.name, SERVING.name, "--output-dir", tmp_path / out) == 0
    first, again = ((tmp_path / out / "report.md").read_text() for out in ("a", "b"))
    assert first.replace(str(tmp_path / "a"), "") == again.replace(str(tmp_path / "b"), "")
    assert str(REPORTS) not in first


def test_a_distilled_student_stands_beside_its_baseline(tmp_path):
    folder = DISTILLED / "layers-15"
    assert main(folder, folder / "baseline.json", "--output-dir", tmp_path / "out") == 0
    report = read(tmp_path / "out")
    assert [(row.name, row.role) for row in report.variants] == [
        ("SmolLM2-135M-Instruct", "teacher"), ("layers15-distilled", "student"), ("layers15-baseline", "baseline"),
    ]  # fmt: skip
    student, baseline = report.variants[1:]
    assert (student.verdict, student.num_parameters) == ("FAIL", 81413568)
    assert student.gap_recovered.value is not None
    assert (baseline.verdict, baseline.retention.value) == (None, None)
    assert report.verdict.startswith("Do not ship layers15-distilled. It keeps 72.2 % [")
    assert "gap recovered" in (tmp_path / "out" / "report.md").read_text().split("## ")[0]


def test_comparisons_on_different_tasks_count_together(tmp_path):
    assert main(DISTILLED, "--output-dir", tmp_path / "out") == 0
    row = next(row for row in read(tmp_path / "out").variants if row.name == "layers15-distilled")
    assert row.retention.value == pytest.approx((5 * 0.72192182585 + 0.624822931062) / 6)


def test_a_benchmark_alone_has_no_verdict(tmp_path):
    assert main(SERVING, "--output-dir", tmp_path / "out") == 0
    report = read(tmp_path / "out")
    assert report.verdict.startswith("There is no verdict: nothing was compared with the teacher.")
    assert [row.retention.value for row in report.variants] == [1.0] + [None] * (len(names_of(SERVING)) - 1)


# ---- what is refused


def edited(source, target, change):
    """A copy of an artifact with something else in it."""
    said = json.loads(source.read_text())
    change(said)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(said))
    return target


def refused(capsys, out, *runs):
    code = main(*runs, "--output-dir", out)
    assert not out.exists()
    return code, capsys.readouterr().err


def test_runs_of_different_teachers_are_refused(tmp_path, capsys):
    def other(said):
        said["teacher"] |= {"ref": "org/other", "weights_digest": "0" * 64}

    second = edited(VARIANTS / "retention.json", tmp_path / "b" / "retention.json", other)
    code, said = refused(capsys, tmp_path / "out", VARIANTS, second)
    assert code == 1
    assert "these runs have different teachers, by their weights: HuggingFaceTB/SmolLM2-135M-Instruct" in said
    assert "org/other (b/retention.json). Name runs of one teacher" in said


def test_one_task_with_two_results_is_refused(tmp_path, capsys):
    def worse(said):
        next(entry for entry in said["entries"] if entry["primary"])["student"]["value"] = 0.123

    second = edited(VARIANTS / "retention.json", tmp_path / "b" / "retention.json", worse)
    code, said = refused(capsys, tmp_path / "out", VARIANTS, second)
    assert code == 1
    assert "w8a8 was judged twice on lambada_openai, with different results: 100 documents, score 0.24 in " in said


def test_a_benchmark_that_ended_early_is_a_finding(tmp_path):
    early = edited(SERVING / "bench.json", tmp_path / "b" / "bench.json", lambda said: said.update(complete=False))
    assert main(early, "--output-dir", tmp_path / "out") == 0
    first = read(tmp_path / "out").findings[0]
    assert (first.weight, first.text) == ("high", "b/bench.json ended before all of it was measured.")


def test_the_same_comparison_twice_is_one(tmp_path):
    (tmp_path / "b").mkdir()
    shutil.copy(VARIANTS / "retention.json", tmp_path / "b")
    assert main(VARIANTS, tmp_path / "b", "--output-dir", tmp_path / "out") == 0
    assert len(read(tmp_path / "out").variants) == 11


def test_two_criteria_are_refused(tmp_path, capsys):
    second = edited(
        VARIANTS / "retention.json", tmp_path / "b" / "retention.json", lambda said: said["criterion"].update(level=0.9)
    )
    code, said = refused(capsys, tmp_path / "out", VARIANTS, second)
    assert (code, "w8a8 is judged by one criterion in " in said) == (1, True)


def test_other_weights_behind_one_name_are_refused(tmp_path, capsys):
    def larger(said):
        said["candidates"][0]["model"]["size_bytes"] *= 2

    second = edited(VARIANTS / "fidelity.json", tmp_path / "b" / "fidelity.json", larger)
    code, said = refused(capsys, tmp_path / "out", VARIANTS / "retention.json", second)
    assert code == 1
    assert "w8a8 stands for two models: it has 326,765,328 bytes in b/fidelity.json, 163,382,664 in " in said


def test_a_model_that_was_benchmarked_twice_is_refused(tmp_path, capsys):
    def faster(said):
        said["models"][1]["results"][0]["metrics"]["output_throughput"] = 1.0

    second = edited(SERVING / "bench.json", tmp_path / "b" / "bench.json", faster)
    code, said = refused(capsys, tmp_path / "out", SERVING, second)
    assert (code, "./teacher-w8a8 was benchmarked twice on vllm, in " in said) == (1, True)


def test_a_model_that_was_timed_on_two_engines_stands_with_the_first_and_that_is_said(tmp_path):
    def elsewhere(said):
        for model in said["models"]:
            model["engine"] = "hf"
        said["models"][1]["results"][0]["metrics"]["output_throughput"] = 1.0

    second = edited(SERVING / "bench.json", tmp_path / "b" / "bench.json", elsewhere)
    assert main(SERVING, second, "--output-dir", tmp_path / "out") == 0
    report = read(tmp_path / "out")
    assert report.variants[1].bench_engine == "vllm"
    assert report.variants[1].speeds[0].output_throughput != 1.0
    (text,) = [one.text for one in report.findings if "timed on hf too" in one.text]
    assert text == "It was timed on hf too (b/bench.json); the table has what vllm did."


def test_an_older_schema_is_refused_with_both_versions(tmp_path, capsys):
    code, said = refused(capsys, tmp_path / "out", REPORTS / "2026-11-22-smollm2-layers-dropped")
    assert code == 1
    assert "retention.json is of schema version 2, and this distill-eval reads version 3" in said


def test_a_folder_with_a_comparison_of_other_runs_is_refused(tmp_path, capsys):
    shutil.copytree(DISTILLED / "wikitext", tmp_path / "other")
    before = (tmp_path / "other" / "report.md").read_bytes()
    assert main(SERVING, "--output-dir", tmp_path / "other") == 2
    assert (
        f"--output-dir {tmp_path / 'other'} holds a comparison (retention.json), whose report.md this would replace: "
        f"name another folder, e.g. --output-dir {tmp_path / 'other' / 'report'}"
    ) in capsys.readouterr().err
    assert (tmp_path / "other" / "report.md").read_bytes() == before
    assert not (tmp_path / "other" / "report.json").exists()


def test_a_comparison_does_not_take_the_folder_of_a_report(tmp_path, capsys):
    assert main(SERVING, "--html", "--output-dir", tmp_path / "out") == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    words = ["--teacher", "org/none", "--student", "org/other", "--tasks", "arc_easy"]
    capsys.readouterr()
    assert cli.main(["compare", *words, "--output-dir", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert f"--output-dir {tmp_path / 'out'} holds a report of several runs (report.json)" in said
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_an_output_folder_that_is_an_input_is_refused(tmp_path, capsys):
    shutil.copytree(DISTILLED / "wikitext", tmp_path / "run")
    before = (tmp_path / "run" / "report.md").read_bytes()
    assert main(tmp_path / "run", "--output-dir", tmp_path / "run") == 2
    assert "is a folder that the report is made of, whose own report.md it would replace" in capsys.readouterr().err
    assert (tmp_path / "run" / "report.md").read_bytes() == before
    assert main(tmp_path / "run", "--output-dir", tmp_path / "run" / "report") == 0


def test_no_run_and_an_output_that_cannot_be_written_are_refused(tmp_path, capsys):
    assert main(tmp_path / "nowhere", "--output-dir", tmp_path / "out") == 2
    assert "nowhere: no such folder or file" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert main(SERVING, "--output-dir", tmp_path / "file") == 2
    assert f"--output-dir {tmp_path / 'file'} is a file; name a folder" in capsys.readouterr().err
