"""A real vLLM server under load, and an exported model beside it, from the command line to the report."""

from pathlib import Path

import pytest

from distill_eval import cli
from distill_eval.record import from_json
from distill_eval.schema.bench import BenchRun

MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    output = tmp_path_factory.mktemp("bench") / "bench"
    words = ["bench", f"--model={MODEL}", "--cpu", "--concurrency=1,4", "--num-prompts=4", "--random-input-len=32"]
    words += [
        "--random-output-len=8",
        "--repeats=1",
        "--enforce-eager",
        "--goodput=e2el:600000",
        f"--output-dir={output}",
    ]
    assert cli.main(words) == 0
    return from_json(BenchRun, (output / "bench.json").read_bytes(), source="bench.json"), output


def test_every_request_is_answered_with_the_tokens_that_were_asked_for(run):
    found, _ = run
    for one in found.models[0].results:
        metrics = one.metrics
        assert (metrics.num_completed, metrics.num_errored, metrics.num_cancelled) == (4, 0, 0)
        assert metrics.num_output_tokens == 4 * 8
        assert metrics.num_prompt_tokens == 4 * 32  # our count is the server's
        assert metrics.goodput == pytest.approx(metrics.request_throughput)
        assert metrics.itl_ms.num == 4 * 7
        assert 0 < metrics.ttft_ms.p50 < metrics.e2el_ms.p50
        assert metrics.tpot_ms.p50 * 7 <= metrics.e2el_ms.p99
    assert [one.metrics.peak_concurrency for one in found.models[0].results] == [1, 4]


def test_what_ran_it_is_known(run):
    model = run[0].models[0]
    assert (model.engine, model.device, model.dtype, model.prefix_caching) == ("vllm", "cpu", "bfloat16", False)
    assert model.engine_version.startswith("0.")
    assert model.memory.weights_bytes == pytest.approx(269e6, rel=0.01)
    assert model.memory.peak_bytes >= model.memory.rest_bytes > model.memory.weights_bytes
    assert model.memory.kv_cache_tokens > 10_000
    assert model.start_s > 1


def test_the_page_and_the_timings_are_there(run):
    found, output = run
    assert "| SmolLM2-135M-Instruct | vllm " in (output / "bench.md").read_text()
    again = Path(output.parent) / "again"
    assert cli.main(["bench", f"--from={output / 'timings.parquet'}", f"--output-dir={again}"]) == 0
    assert (again / "bench.json").read_bytes() == (output / "bench.json").read_bytes()
    assert found.complete
    assert any("--enforce-eager" in finding for finding in found.findings)
