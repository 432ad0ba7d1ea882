"""A real server behind `distill-eval serve`: what it says of itself, what serve/ expects of it, how it ends."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import httpx
import psutil
import pytest
import yaml

from distill_eval.serving import facts, memory
from distill_eval.serving.config import argv
from distill_eval.serving.options import ServeOptions
from distill_eval.serving.profile import shipped
from distill_eval.serving.resolve import resolve

MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
ROOT = Path(__file__).resolve().parents[2]
COMMAND = (sys.executable, "-m", "distill_eval.cli", "serve", f"--model={MODEL}", "--device=cpu", "--enforce-eager")
SMALL = ("--max-model-len=1024", "--kv-cache-gb=0.5")
KEY = "not-a-real-key"
PARSER = """
import json, sys
from vllm.utils.argparse_utils import FlexibleArgumentParser
try:
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
except ImportError:
    from vllm.entrypoints.openai.cli_args import make_arg_parser
parser = make_arg_parser(FlexibleArgumentParser())
for words in json.loads(sys.argv[1]):
    found = parser.parse_args(words)
    print(json.dumps([found.max_num_seqs, found.max_num_batched_tokens, found.gpu_memory_utilization, found.port]))
"""


@pytest.fixture(scope="module", autouse=True)
def packages():
    """On a laptop without vLLM the tests skip; in CI, which installs it, they fail."""
    if find_spec("vllm") is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("no vLLM: scripts/install_vllm_cpu.sh")


def begin(folder, *options):
    """The command, in a folder of its own."""
    return subprocess.Popen(
        [*COMMAND, *SMALL, *options],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "DISTILL_EVAL_API_KEY": KEY},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def group_of(process):
    """The number of the group of the server's processes."""
    first = min(psutil.Process(process.pid).children(), key=lambda each: each.create_time())
    return first.pid


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """One server for all tests: the process of the command, the address, and what was printed."""
    process = begin(tmp_path_factory.mktemp("served"))
    printed = []
    for line in process.stdout:
        printed.append(line)
        if line.startswith("Ctrl-C"):
            break
    text = "".join(printed)
    assert "Ctrl-C ends it" in text, text
    yield process, re.search(r"http://127[.0-9:]+", text)[0], text
    process.kill()
    process.communicate()


def test_the_smoke_test_passes(served):
    _, address, _ = served
    words = [sys.executable, str(ROOT / "serve" / "smoke.py"), address]
    done = subprocess.run(words, env=os.environ | {"DISTILL_EVAL_API_KEY": KEY}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1] == f"model: {MODEL}"
    assert "Paris" in done.stdout
    assert done.stdout.splitlines()[-2:] == ["metrics: ok", "key: asked for"]
    keyless = subprocess.run(words, env=os.environ | {"DISTILL_EVAL_API_KEY": ""}, capture_output=True, text=True)
    assert (keyless.returncode, keyless.stdout) == (1, "")
    assert "/v1/models is 401, expected 200 (is DISTILL_EVAL_API_KEY the server's key?)" in keyless.stderr


def test_it_says_what_it_is(served):
    _, address, printed = served
    found = facts.ask(address)
    # 30 layers of 3 heads of 64, keys and values, 2 bytes each; blocks of 128 tokens.
    assert found.kv_cache_tokens == (1 << 29) // 23_040 // 128 * 128
    assert found.kv_blocks == found.kv_cache_tokens // 128
    assert found.prefix_caching is True
    assert f"vLLM {found.version} on cpu, bfloat16, 1,024 tokens, room for {found.kv_cache_tokens:,} in " in printed
    models = httpx.get(f"{address}/v1/models", headers={"Authorization": f"Bearer {KEY}"}, trust_env=False).json()
    assert models["data"][0]["max_model_len"] == 1024


def test_the_dashboard_names_metrics_that_it_exposes(served):
    _, address, _ = served
    metrics = httpx.get(f"{address}/metrics", trust_env=False).text
    exposed = set(re.findall(r"^(vllm:\w+)", metrics, flags=re.MULTILINE))
    dashboard = json.loads((ROOT / "serve" / "grafana" / "dashboards" / "vllm.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    asked = {name for query in queries for name in re.findall(r"vllm:\w+", query)}
    assert len(asked) > 10
    assert asked - exposed == set()
    labels = re.search(r"^vllm:request_success_total\{(.*)\}", metrics, flags=re.MULTILINE)[1]
    assert {"model_name", "finished_reason"} <= set(re.findall(r"(\w+)=", labels))


def test_the_probes_ask_for_what_it_answers_without_a_key(served):
    _, address, _ = served
    manifest = list(yaml.safe_load_all((ROOT / "serve" / "kubernetes.yaml").read_text()))
    (container,) = manifest[0]["spec"]["template"]["spec"]["containers"]
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert httpx.get(address + container[kind]["httpGet"]["path"], trust_env=False).status_code == 200


@pytest.mark.parametrize("path", ["/invocations", "/tokenize", "/v1/completions"])
def test_no_path_that_reads_a_prompt_is_open(served, path):
    _, address, _ = served
    body = {"model": MODEL, "prompt": "Once", "max_tokens": 1}
    codes = [
        httpx.post(address + path, json=body, headers=headers, trust_env=False, timeout=120).status_code
        for headers in ({}, {"Authorization": f"Bearer {KEY}"})
    ]
    assert codes == [401, 200]


def test_memory_counts_every_process_once(served):
    process, address, _ = served
    group = group_of(process)
    body = {"model": MODEL, "prompt": "Once", "max_tokens": 32, "ignore_eos": True}
    with memory.watched(group, "cpu") as found:
        httpx.post(
            f"{address}/v1/completions",
            json=body,
            headers={"Authorization": f"Bearer {KEY}"},
            trust_env=False,
            timeout=120,
        ).raise_for_status()
    rss = sum(each.memory_info().rss for each in memory.processes(group))
    assert found.rest.measure == memory.PSS
    assert 269e6 + (1 << 29) < found.rest.num_bytes < rss, "weights and cache at least; shared pages once"
    assert found.rest.num_bytes <= found.peak.num_bytes < rss + 5e8


def test_vllm_takes_what_the_profiles_say():
    asked = [
        argv(resolve(ServeOptions(model=MODEL, profile=name, port=8000, dry_run=True), {}).config)[3:]
        for name in sorted(shipped())
    ]
    done = subprocess.run([sys.executable, "-c", PARSER, json.dumps(asked)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    assert found == [[16, 1024, 0.92, 8000], [16, 2048, 0.92, 8000], [256, 8192, 0.95, 8000]]


def test_ctrl_c_leaves_no_process_and_no_port_taken(served):
    """Last of those that share the server."""
    process, address, _ = served
    everybody = memory.processes(group_of(process))
    assert len(everybody) >= 2
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert out.endswith("vLLM has ended\n")
    assert [each for each in everybody if each.is_running()] == []
    from distill_eval.serving.server import require_free

    require_free("127.0.0.1", int(address.rpartition(":")[2]))


@pytest.mark.skipif(sys.platform != "linux", reason="the parent's death is told on Linux alone")
def test_a_killed_command_leaves_no_orphan(tmp_path):
    """Killed in the middle of the start, as soon as the engine has a process of its own."""
    process = begin(tmp_path)
    deadline = time.monotonic() + 300
    everybody = []
    while len(everybody) < 3 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.2)
        if psutil.Process(process.pid).children():
            everybody = memory.processes(group_of(process))
    assert len(everybody) >= 3, "the server, the engine, and what counts their resources"
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 60
    while any(each.is_running() for each in everybody) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert [each for each in everybody if each.is_running()] == []
