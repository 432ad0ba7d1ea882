"""One table, one verdict: golden file, dashes with reasons, and foreign text that stays text."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from unit.report.made import baseline, narrowed, trained
from unit.report.read import assert_golden, assert_nothing_foreign_is_markup, column, tables
from unit.report.test_report_bench import ONE, SIXTEEN, model, result, run

from distill_eval.record import from_json
from distill_eval.report.decision import verdict
from distill_eval.report.frontier import choose, with_frontier
from distill_eval.report.scorecard import render
from distill_eval.schema.bench import Ratio
from distill_eval.schema.export import ExportRun
from distill_eval.schema.gate import Rule, RuleResult
from distill_eval.schema.quant import QuantRun
from distill_eval.schema.report import Report, Source, Speed, Variant
from distill_eval.schema.retention import Estimate, Finding, Provenance

LOAD = "concurrency 16"
FASTER = Ratio(value=2.4, ci_low=2.2, ci_high=2.6, pairs=(2.3, 2.4, 2.5))
SLOWER = Ratio(value=0.8, ci_low=0.7, ci_high=0.9, pairs=(0.75, 0.8, 0.85))
OWN = Provenance(command="distill-eval report runs/x", versions={"torch": "2.13.0"}, hardware="none", git_commit=None)
TEACHER_ONLY = "the teacher is what others are measured by"


VARIANTS = Path(__file__).resolve().parents[3] / "reports" / "2026-11-26-smollm2-variants"


def kept(cls, name):
    """An artifact of a real run."""
    return from_json(cls, (VARIANTS / name).read_bytes(), source=name)


def nothing(why):
    return Estimate(value=None, reason=why)


def speed(load, ratio, **changes):
    made = Speed(
        load=load, ttft_p50_ms=20.0, ttft_p99_ms=81.5, tpot_p50_ms=5.5, tpot_p99_ms=9.1, output_throughput=204.8,
        speedup=ratio, reason=None if ratio else "it is what others are measured by",
    )  # fmt: skip
    return replace(made, **changes)


def variant(examples, name, size, kept=None, ratio=None, result=None, **changes):
    made = Variant(
        name=name, ref=f"runs/{name}", role="student", engine="hf", bench_engine="vllm" if ratio else None,
        quantization=None, num_parameters=81_912_576, size_bytes=size, size_ratio=size / 269_060_552,
        retention=examples.estimate(kept, 0.012) if kept else nothing("no comparison has it"),
        worst_task="hellaswag" if kept else None,
        worst_retention=examples.estimate(kept - 0.04, 0.02) if kept else nothing("no comparison has it"),
        retention_above_chance=examples.estimate(kept - 0.02, 0.03) if kept else nothing("no comparison has it"),
        gap_recovered=nothing("no baseline was compared"),
        kl=Estimate(value=0.0285, stderr=0.0019), top1_agreement=examples.estimate(0.885, 0.011),
        speeds=(speed("concurrency 1", ratio), speed(LOAD, ratio)) if ratio else (),
        peak_bytes=2_000_000_000 if ratio else None, verdict=result, on_frontier=None,
        reasons=dict.fromkeys(("peak_bytes", "speeds"), "no benchmark has it")
        | dict.fromkeys(("verdict", "worst_task"), "no comparison has it"),
    )  # fmt: skip
    return replace(made, **changes)


def story(examples, show=lambda name: name):
    """A teacher, a variant to ship, one that is slower and inconclusive, one that was only measured on text."""
    first, second, third = (show(name) for name in ("student-w8a8", "student-nf4", "student-onnx"))
    whole = Estimate(value=1.0, reason=TEACHER_ONLY)
    teacher = variant(
        examples, show("SmolLM2-135M"), 269_060_552, role="teacher", retention=whole, retention_above_chance=whole,
        kl=Estimate(value=0.0, reason=TEACHER_ONLY), top1_agreement=whole, speeds=(speed(LOAD, None),),
        num_parameters=134_515_008, bench_engine="vllm", peak_bytes=3_000_000_000,
        reasons={"verdict": TEACHER_ONLY, "worst_task": TEACHER_ONLY},
    )  # fmt: skip
    rows = with_frontier(
        (
            teacher,
            variant(examples, first, 83_000_000, 0.971, FASTER, "PASS", quantization="compressed-tensors W8A8"),
            variant(examples, second, 60_000_000, 0.951, SLOWER, "INCONCLUSIVE", quantization="bitsandbytes nf4"),
            variant(examples, third, 40_000_000),
        ),
        LOAD,
    )
    settled = examples.power(num_docs_to_settle=1873)
    entries = {
        first: [examples.entry(f"runs/{first}", task, student=0.58, verdict="PASS") for task in ("hellaswag", "sciq")],
        second: [
            examples.entry(f"runs/{second}", "hellaswag", verdict="INCONCLUSIVE", num_docs_total=10042, power=settled)
        ],
    }
    gate = (
        RuleResult(
            rule=Rule(name="min-speedup", bound=1.5), student=first, where=LOAD, observed=nothing("see text"),
            verdict="PASS", text=f"min-speedup 1.5: {first} at {LOAD} 2.40x [2.20, 2.60]",
        ),
    )  # fmt: skip
    every = tuple(entry for found in entries.values() for entry in found)
    compared = examples.retention((examples.model(f"runs/{first}"), examples.model(f"runs/{second}")), every)
    timed = run(
        model(teacher.name, result(ONE), result(SIXTEEN)), model(first, result(ONE, FASTER), result(SIXTEEN, FASTER))
    )
    best = choose(rows, LOAD, gate)
    report = Report(
        verdict=verdict(rows, entries, LOAD, gate), ship=best.name, variants=rows, load=LOAD, gate=gate,
        findings=(
            Finding(weight="high", subject="hellaswag", text="Limited to 1,000 of 10,042 documents."),
            Finding(weight="low", subject=show("run"), text=show("Two commits.")),
        ),
        recipe=f'teacher = "{show("org/x")}"\n',
        sources=(
            Source(
                kind="retention", path=show("x/retention.json"), digest="0" * 64, command=compared.provenance.command
            ),
            Source(kind="bench", path=show("x/bench.json"), digest="1" * 64, command=None),
        ),
        provenance=OWN,
    )  # fmt: skip
    where, timed_where = (source.path for source in report.sources)
    refs = {student.ref: student.ref.removeprefix("runs/") for student in compared.students}
    return SimpleNamespace(
        report=report, entries=entries, retentions={where: compared}, benches={timed_where: timed}, fidelities={},
        students={"x/prepared/student.json": narrowed()}, trainings={"student": trained(), "baseline": baseline()},
        quants={"x/w8a8/quant.json": kept(QuantRun, "w8a8/quant.json")},
        checks={},
        exports={"x/onnx/export.json": kept(ExportRun, "onnx-int8/export.json")},
        models={"x/w8a8/quant.json": first, "x/onnx/export.json": third},
        names=refs | {compared.teacher.ref: teacher.name},
        made={where: compared.provenance, timed_where: timed.provenance},
    )  # fmt: skip


def main_table(text):
    """The one with a row for each model and its parameters."""
    return next(table for table in tables(text).values() if "parameters" in table[0])


@pytest.fixture
def text(examples):
    return render(story(examples))


def test_golden(text):
    assert_golden("report_scorecard.md", text)


def test_the_verdict_stands_first(text):
    assert text.split("\n\n")[1].startswith("> **Ship student-w8a8.** It keeps 97.1 % \\[95.9, 98.3\\] of SmolLM2-135M")
    assert (
        "INCONCLUSIVE on hellaswag: about 900 more documents of hellaswag would settle it; it was not judged on sciq, "
        in text.split("\n\n")[1]
    )


def test_the_table_has_every_figure_beside_the_teachers(text):
    table = main_table(text)
    assert column(table, "variant") == ["SmolLM2-135M", "student-w8a8", "student-nf4", "student-onnx"]
    assert column(table, "size") == ["269.1 MB", "83.0 MB (30.8 %)", "60.0 MB (22.3 %)", "40.0 MB (14.9 %)"]
    assert column(table, "retention (mean)")[:2] == ["100.0 %", "97.1 % [95.9, 98.3]"]
    assert column(table, "mean KL, nats") == ["0.00000", *["0.02850 +/- 0.00190"] * 3]
    assert column(table, "TPOT p50 / p99, ms")[1] == "5.5 / 9.1"
    assert column(table, "speedup") == [
        "1 (baseline)", "2.40x [2.20, 2.60]", "0.80x [0.70, 0.90] slower", "- (3)",
    ]  # fmt: skip
    assert column(table, "engine")[1] == "hf / vllm, compressed-tensors W8A8"
    assert column(table, "verdict") == ["teacher", "PASS", "INCONCLUSIVE", "- (2)"]


def test_what_is_slower_is_bold(text):
    assert "**0.80x [0.70, 0.90] slower**" in text


def test_a_dash_has_its_reason_and_an_empty_column_too(text):
    assert "- (1) the teacher is what others are measured by" in text
    assert "- (2) no comparison has it" in text
    assert "- (3) no benchmark has it" in text
    assert "- gap recovered: no baseline was compared" in text
    assert "gap recovered" not in main_table(text)[0]


def test_tasks_are_a_matrix_of_retention_and_of_flips(text):
    table = tables(text)["Retention per task"]
    assert table[0] == ["variant", "hellaswag", "sciq"]
    assert table[1] == ["student-w8a8", "96.7 % [93.5, 99.9] PASS", "96.7 % [93.5, 99.9] PASS"]
    assert table[2] == ["student-nf4", "90.0 % [86.8, 93.2] INCONCLUSIVE", "- (1)"]
    assert tables(text)["Flips"][1][1] == "60 / 40 / 111 (6.0 / 4.0 / 11.1 %)"


def test_the_frontier_says_who_is_beaten_and_who_was_not_placed(text):
    table = tables(text)["Frontier"]
    assert [row[-1] for row in table[1:]] == ["yes", "yes", "yes"]
    assert "Not placed, since size, speed or retention was not measured: student-onnx." in text


def test_commands_recipe_and_conditions_are_there(text):
    assert '```toml\nteacher = "org/x"\n```' in text
    assert "distill-eval report runs/x\n```" in text
    assert "| seed" in text
    assert "org/hellaswag@0123456789ab" in text


def test_how_each_model_was_made_is_a_row(text):
    rows = {row[0]: row[1:] for row in tables(text)["How the variants were made"][1:]}
    assert list(rows) == ["prepared", "student", "baseline", "student-w8a8", "student-onnx"]
    assert rows["student-w8a8"] == [
        "SmolLM2-135M",
        "W8A8 rtn: 210 layers, 9.72 bits per weight",
        "KL 0.0330 nats, same top token at 89.8 % of the held-out tokens",
    ]
    assert rows["prepared"][1].startswith("4 layers kept, 2 dropped")
    assert rows["baseline"][1].startswith("trained without its teacher: ")


def test_commands_stand_in_the_order_in_which_they_were_run(examples):
    told = story(examples)
    quant = Source(kind="quant", path="x/q.json", digest="2" * 64, command="distill-eval quantize")
    told.report = replace(told.report, sources=(*told.report.sources, quant))
    told.made = told.made | {"x/q.json": OWN}
    block = render(told).split("```sh\n")[1].split("\n```")[0]
    assert [line.split()[1] for line in block.splitlines()] == ["quantize", "compare", "report"]


def test_the_gate_is_told_line_by_line(text):
    (row,) = [row for row in tables(text)["Gate"] if "PASS" in row]
    assert "min-speedup 1.5: student-w8a8 at concurrency 16 2.40x [2.20, 2.60]" in row


def test_foreign_text_is_never_markup(examples):
    hostile = examples.hostile_name
    told = story(examples, lambda name: f"{name} {hostile}")
    text = render(told)
    html = {block for block in text.split("\n\n") if block.startswith(("<details>", "</details>"))}
    assert all("<script>" not in block for block in html)
    assert_nothing_foreign_is_markup(text, html={f"{block}\n" for block in html})
