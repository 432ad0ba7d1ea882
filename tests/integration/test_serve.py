"""`distill-eval serve` as a process, with a program in vLLM's place: from the start to the end of all processes."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from fakes import vllm

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    shape = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": 64}
    shape |= {"architectures": ["LlamaForCausalLM"], "dtype": "bfloat16", "max_position_embeddings": 512}
    (folder / "config.json").write_text(json.dumps(shape))
    (folder / "model.safetensors").write_bytes(bytes(1000))
    return folder


@pytest.fixture
def start(tmp_path, model):
    """Starts the command in a folder of its own; what still runs at the end of the test is ended."""
    started = []

    def run(*options, code=vllm.HEALTHY, **variables):
        path = vllm.install(tmp_path / str(len(started)), code)
        clean = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
        environment = clean | {"PYTHONPATH": f"{path}{os.pathsep}{ROOT}", "PYTHONUNBUFFERED": "1"} | variables
        words = [sys.executable, "-m", "distill_eval.cli", "serve", "--model", str(model), "--device=cpu"]
        process = subprocess.Popen(
            [*words, "--kv-cache-gb=0.5", *options],
            cwd=tmp_path,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def welcome(process):
    """What the command prints until the server answers, and its address."""
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("Ctrl-C ends it"):
            break
    printed = "".join(lines)
    assert "Ctrl-C ends it" in printed, process.stderr.read()
    return printed, printed.partition(" at ")[2].partition(";")[0]


def get(address, path):
    return httpx.get(address + path, trust_env=False, timeout=10)


def until(condition):
    deadline = time.monotonic() + 20
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert condition()


def answers(address):
    try:
        get(address, "/health")
    except httpx.TransportError:
        return False
    return True


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_told_to_end(start, tmp_path, number):
    process = start("--served-model-name=tiny")
    printed, address = welcome(process)
    assert f"tiny at {address} after " in printed
    assert "vLLM 0.32.0 on cpu, bfloat16" in printed
    assert "512 tokens, room for 46,592 in 364 blocks" in printed
    assert f"curl {address}/v1/completions -H 'Content-Type: application/json'" in printed
    assert f"distill-eval bench --endpoint {address} --model tiny" in printed
    said = get(address, "/said").json()
    assert (said["key"], said["words"][said["words"].index("--kv-cache-memory-bytes") + 1]) == (None, str(1 << 29))
    log = tmp_path / f"serve-{address.rpartition(':')[2]}.log"
    assert "Initializing a V1 LLM engine" in log.read_text()
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
    assert out.endswith("vLLM has ended\n")
    assert not answers(address)


@pytest.mark.skipif(sys.platform != "linux", reason="the parent's death is told on Linux alone")
def test_the_server_does_not_outlive_a_killed_command(start):
    process = start()
    _, address = welcome(process)
    assert answers(address)
    process.kill()
    until(lambda: not answers(address))
    assert not answers(address)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_key_stands_in_no_list_of_processes_and_in_no_log(start, tmp_path):
    process = start("--api-key", "geheim", "--host=0.0.0.0", "--follow")
    printed, address = welcome(process)
    said = get(address, "/said").json()
    assert said["key"] == "geheim"
    assert "--api-key" not in said["words"]
    for pid in (process.pid, said["pid"]):
        assert b"geheim" not in Path(f"/proc/{pid}/cmdline").read_bytes()
    assert "Authorization: Bearer $DISTILL_EVAL_API_KEY" in printed
    logs = "".join(file.read_text() for file in tmp_path.glob("*.log"))
    assert "geheim" not in printed + logs
    assert "Initializing" in logs
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    assert "Initializing a V1 LLM engine" in printed + out, "--follow shows it, before the welcome or after"


def test_a_server_that_dies_ends_the_command(start):
    process = start()
    _, address = welcome(process)
    with pytest.raises(httpx.TransportError):
        get(address, "/die")
    _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert err.startswith('distill-eval: vLLM ended with code 9. Its last lines: "MemoryError: no room left". Log: ')


def test_before_it_serves_a_signal_is_an_interruption(start):
    process = start(code="import time; print('INFO 11-26 17:10:11 [a.py:1] loading', flush=True); time.sleep(60)")
    process.stdout.readline()
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 128 + signal.SIGTERM


def test_a_start_that_fails_is_explained(start):
    process = start("--ready-timeout=60", code="raise ValueError('KV cache is needed, larger than')")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "ValueError: KV cache is needed" in err
    assert "Lower --max-model-len (now " in err
    slow = start("--ready-timeout=1", code="import time; time.sleep(60)")
    _, err = slow.communicate(timeout=60)
    assert "vLLM was not healthy after 1 s" in err or "vLLM was not healthy after 2 s" in err


def test_a_taken_port_is_refused_before_the_start(start, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        process = start(f"--port={taken.getsockname()[1]}")
        _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "Address already in use. Type --port 0 for a free port" in err
    assert list(tmp_path.glob("*.log")) == []


def test_what_would_be_started(start):
    process = start("--dry-run", "--port=8123", "--profile=cpu", "--", "--seed", "7", DISTILL_EVAL_API_KEY="geheim")
    out, _ = process.communicate(timeout=60)
    command = out.splitlines()[-1]
    assert "geheim" not in out
    assert "VLLM_API_KEY=$DISTILL_EVAL_API_KEY" in command
    assert "--max-num-seqs 16 --max-num-batched-tokens 1024" in command
    assert command.endswith("--seed 7")
    assert out.startswith("# weights: ")


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--host=0.0.0.0"], 2, "--host 0.0.0.0 is open to other machines: say a key in $DISTILL_EVAL_API_KEY"),
        (["--device=cuda"], 2, "--device cuda: no CUDA here"),
        (["--max-model-len=100000"], 2, "the model reads at most"),
    ],
)
def test_what_is_refused(model, options, code, said, monkeypatch, capsys):
    from distill_eval.cli import main

    for name in ("DISTILL_EVAL_API_KEY", "VLLM_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    assert main(["serve", "--model", str(model), "--dry-run", *options]) == code
    assert said in capsys.readouterr().err


def test_json_of_the_printed_curl_command_is_json(start):
    process = start("--served-model-name=it's")
    printed, _ = welcome(process)
    line = next(line for line in printed.splitlines() if "curl" in line)
    body = json.loads(shlex.split(line)[-1])
    assert body == {"model": "it's", "prompt": "The capital of France is", "max_tokens": 16}
