"""`distill-eval bench` against servers with known timings."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fakes.streaming_server import streaming
from fakes.tiny_families import save

from distill_eval import cli
from distill_eval.record import from_json
from distill_eval.schema.bench import BenchRun


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    save("llama", folder, seed=0)
    return folder


def words(output, tokenizer, *servers, **options):
    options = {
        "endpoint": ",".join(server.address for server in servers),
        "model": ",".join(["tiny"] * len(servers)),
        "tokenizer": tokenizer,
        "concurrency": "1",
        "num_prompts": 4,
        "repeats": 3,
        "random_input_len": 16,
        "random_output_len": 20,
        "output_dir": output,
        **options,
    }
    return ["bench", *(f"--{name.replace('_', '-')}={value}" for name, value in options.items())]


def read(output):
    return from_json(BenchRun, (output / "bench.json").read_bytes(), source="bench.json")


def test_a_server_twice_as_fast_is_found_to_be(tmp_path, tokenizer, capsys):
    output = tmp_path / "bench"
    with streaming(ttft_ms=20, itl_ms=10) as slow, streaming(ttft_ms=20, itl_ms=5) as fast:
        assert cli.main(words(output, tokenizer, slow, fast, concurrency="1,4")) == 0
    run = read(output)
    first, second = run.models
    assert [one.load.label for one in second.results] == ["concurrency 1", "concurrency 4"]
    for one in second.results:
        assert one.metrics.num_completed == 12
        assert one.metrics.num_output_tokens == 12 * 20
        assert one.metrics.num_count_mismatches is not None
        assert one.tpot_speedup.value == pytest.approx(2.0, rel=0.25)
        assert one.tpot_speedup.ci_low <= one.tpot_speedup.value <= one.tpot_speedup.ci_high
    assert first.results[0].metrics.tpot_ms.p50 == pytest.approx(10.0, rel=0.25)
    assert run.complete
    assert [floor.load.label for floor in run.noise] == ["concurrency 1", "concurrency 4"]
    assert run.noise[0].ratio.value == pytest.approx(1.0, rel=0.25)
    assert "concurrency 4" in (output / "bench.md").read_text()
    assert run.findings[0].startswith("the server of tiny at 127.0.0.1:"), "its caches are its owner's"
    assert "does not say whether it has a prefix cache" in run.findings[0]
    assert "speedup" in capsys.readouterr().out


def test_the_same_again_from_its_timings_and_with_a_goodput(tmp_path, tokenizer, capsys):
    output, other = tmp_path / "bench", tmp_path / "again"
    with streaming(ttft_ms=20, itl_ms=5) as server:
        assert cli.main(words(output, tokenizer, server)) == 0
    timings = f"--from={output / 'timings.parquet'}"
    assert cli.main(["bench", timings, f"--output-dir={other}"]) == 0
    assert (other / "bench.json").read_text() == (output / "bench.json").read_text()
    asked = ["--repeats=3", "--model=x", f"--output-dir={tmp_path / 'refused'}"]
    assert cli.main(["bench", timings, *asked]) == 2
    assert "--model, --repeats: nothing would read them (--from: what was measured" in capsys.readouterr().err
    third = tmp_path / "good"
    assert cli.main(["bench", timings, f"--output-dir={third}", "--goodput=ttft:5000,tpot:0.001"]) == 0
    metrics = read(third).models[0].results[0].metrics
    assert (metrics.goodput, metrics.num_completed) == (0.0, 12)


def test_a_sweep(tmp_path, tokenizer):
    output = tmp_path / "bench"
    with streaming(ttft_ms=20, itl_ms=1) as server:
        found = words(output, tokenizer, server, goodput="ttft:0.01", repeats=1, num_prompts=2)
        assert cli.main([*found, "--sweep"]) == 0
    sweep = read(output).models[0].sweep
    assert sweep.highest_rate is None  # nothing answers within 10 us
    assert [one.good_share for one in sweep.tried] == [0.0]


def test_a_second_benchmark_does_not_overwrite_the_first(tmp_path, tokenizer, capsys):
    output = tmp_path / "bench"
    with streaming(ttft_ms=5, itl_ms=1) as server:
        assert cli.main(words(output, tokenizer, server, repeats=1)) == 0
        before = (output / "bench.json").read_bytes()
        assert cli.main(words(output, tokenizer, server, repeats=1)) == 2
    assert "holds a benchmark (timings.parquet): name another folder" in capsys.readouterr().err
    assert (output / "bench.json").read_bytes() == before


def start(found):
    command = [sys.executable, "-m", "distill_eval.cli", *found]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def wait_for(path, process):
    deadline = time.monotonic() + 60
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_ctrl_c_keeps_what_was_measured(tmp_path, tokenizer):
    output = tmp_path / "bench"
    with streaming(ttft_ms=20, itl_ms=20) as server:
        process = start(words(output, tokenizer, server, repeats=50))
        wait_for(output / "timings.parquet", process)
        time.sleep(1.5)
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted; what was measured is in" in said
    run = read(output)
    assert not run.complete
    assert "ended early" in (output / "bench.md").read_text()


def test_a_server_that_dies_ends_the_run_with_what_it_has(tmp_path, tokenizer):
    output = tmp_path / "bench"
    with streaming(ttft_ms=20, itl_ms=10) as server:
        process = start(words(output, tokenizer, server, repeats=50))
        wait_for(output / "timings.parquet", process)
        time.sleep(1.0)
        server.process.kill()
        _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "the server is gone; what was measured is in" in said
    run = read(output)
    assert not run.complete
    found = run.models[0].results[0].metrics if run.models[0].results else None
    assert found is None or found.num_errored >= 1


def test_two_cannot_write_one_folder(tmp_path, tokenizer, capsys):
    output = tmp_path / "bench"
    with streaming(ttft_ms=20, itl_ms=20) as server:
        process = start(words(output, tokenizer, server, repeats=50))
        wait_for(output / ".lock", process)
        assert cli.main(words(output, tokenizer, server)) in (1, 2)
        assert "name another folder" in capsys.readouterr().err
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=60)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"endpoint": "http://127.0.0.1:9"}, "cannot reach http://127.0.0.1:9/v1/models"),
        ({"model": "tinny"}, "tiny"),
        ({"concurrency": "0"}, "--concurrency 0: expected 1 or more"),
        ({"num_prompts": "0"}, "--num-prompts 0: expected 1 or more"),
        ({"request_rate": "0"}, "--request-rate 0: expected requests per second above 0"),
        ({"goodput": "ttf:5"}, "Did you mean 'ttft'"),
        ({"goodput": "ttft"}, "expected a metric and milliseconds"),
        ({"random_output_len": "0"}, "--random-output-len 0"),
        ({"max_model_len": "20"}, "--max-model-len 20: the longest request has 36 tokens"),
        ({"dtype": "bfloat16", "batch_size": "4"}, "--batch-size: nothing would read it (it is of classifiers"),
        ({"dtype": "bfloat16"}, "--dtype: nothing would read it (--endpoint: the server runs already)"),
    ],
)  # fmt: skip
def test_bad_input_is_said_and_leaves_nothing(options, expected, tmp_path, tokenizer, capsys):
    output = tmp_path / "bench"
    with streaming(ttft_ms=5, itl_ms=1) as server:
        assert cli.main(words(output, tokenizer, server, **options)) in (1, 2)
    said = capsys.readouterr().err
    assert expected in said
    assert "Traceback" not in said
    assert {path.name for path in output.glob("*")} <= {".lock"}


def test_gpu_is_refused_where_there_is_none(tmp_path, tokenizer, capsys):
    assert cli.main(["bench", f"--model={tokenizer}", "--gpu", f"--output-dir={tmp_path / 'bench'}"]) == 2
    assert "--gpu: no CUDA here" in capsys.readouterr().err


def test_no_model_and_no_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["bench"]) == 2
    assert "--model is missing" in capsys.readouterr().err


def test_the_models_of_the_newest_run_are_taken(tmp_path, monkeypatch, capsys):
    report = next((Path(__file__).resolve().parents[2] / "reports").rglob("retention.json"))
    shutil.copy(report, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert cli.main(["bench"]) in (1, 2)  # its models are not here
    teacher = json.loads(report.read_text())["teacher"]["ref"]
    assert f"Models of retention.json: {teacher}" in capsys.readouterr().out
