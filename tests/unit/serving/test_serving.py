"""What a server is started with, what its log says, and how it ends."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from fakes.tiny_families import make_tokenizer, save

from distill_eval.errors import ServerError, UsageError
from distill_eval.evaluate.models import ModelFolder
from distill_eval.evaluate.options import EvaluateOptions
from distill_eval.evaluate.scorer.generate import GenerateRequest
from distill_eval.evaluate.vllm import served
from distill_eval.schema.model import ModelRef
from distill_eval.serving import guard, server
from distill_eval.serving.config import GIB, ServeConfig, argv, environment, kv_cache_bytes
from distill_eval.serving.log import advice, excerpt

CONFIG = ServeConfig(model=Path("/models/m"), served_name="m", port=8123, max_model_len=2048)
LOG = """\
(APIServer pid=31) INFO 11-26 17:10:11 [model.py:2152] Using max model len 2048
(EngineCore pid=32) ERROR 11-26 17:10:12 [core.py:402] EngineCore failed to start.
(EngineCore pid=32) Traceback (most recent call last):
(EngineCore pid=32)   File "/x/vllm/v1/engine/core.py", line 402, in run
(EngineCore pid=32)     raise ValueError(
(EngineCore pid=32) ValueError: To serve at least one request, 9.0 GiB KV cache is needed, larger than 1.0 GiB.
(APIServer pid=31)     self.engine_core = EngineCoreClient.make_async_mp_client(
(APIServer pid=31) RuntimeError: Engine core initialization failed. See root cause above.
"""
SLEEPER = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])"


def test_the_command():
    words = argv(CONFIG)
    assert words[:3] == [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    options = dict(zip(words[3:-1:2], words[4:-1:2], strict=True))
    assert options == {
        "--model": "/models/m",
        "--served-model-name": "m",
        "--host": "127.0.0.1",
        "--port": "8123",
        "--dtype": "auto",
        "--max-model-len": "2048",
        "--seed": "0",
        "--generation-config": "vllm",
    }
    assert words[-1] == "--enable-prefix-caching"
    other = ServeConfig(model=Path("m"), served_name="m", port=1, max_model_len=2, eager=True, prefix_caching=False)
    assert argv(other)[-2:] == ["--enforce-eager", "--no-enable-prefix-caching"]
    with pytest.raises(UsageError, match="port 0"):
        ServeConfig(model=Path("m"), served_name="m", port=0, max_model_len=2)


def test_the_environment_leaves_what_the_user_set():
    ours = environment(
        ServeConfig(model=Path("m"), served_name="m", port=1, max_model_len=2, kv_cache_bytes=GIB + 1), {}
    )
    assert ours["VLLM_CPU_KVCACHE_SPACE"] == "2"
    assert environment(CONFIG, {"VLLM_CPU_KVCACHE_SPACE": "7"})["VLLM_CPU_KVCACHE_SPACE"] == "7"
    gpu = ServeConfig(model=Path("m"), served_name="m", port=1, max_model_len=2, device="cuda:1")
    assert environment(gpu, {})["CUDA_VISIBLE_DEVICES"] == "1"
    assert "VLLM_CPU_KVCACHE_SPACE" not in environment(gpu, {})


def test_a_device_is_one_of_the_visible_ones():
    gpu = ServeConfig(model=Path("m"), served_name="m", port=1, max_model_len=2, device="cuda:1")
    assert environment(gpu, {"CUDA_VISIBLE_DEVICES": "4,5"})["CUDA_VISIBLE_DEVICES"] == "5"
    with pytest.raises(UsageError, match=r"--device cuda:1: CUDA_VISIBLE_DEVICES=7 shows 1 devices, numbered from 0"):
        environment(gpu, {"CUDA_VISIBLE_DEVICES": "7"})
    first = ServeConfig(model=Path("m"), served_name="m", port=1, max_model_len=2, device="cuda")
    assert environment(first, {"CUDA_VISIBLE_DEVICES": "4,5"})["CUDA_VISIBLE_DEVICES"] == "4,5"
    assert "VLLM_TARGET_DEVICE" not in environment(first, {"VLLM_TARGET_DEVICE": "cpu"})


def test_the_cpu_is_the_cpu_where_there_are_gpus():
    ours = environment(CONFIG, {"CUDA_VISIBLE_DEVICES": "4,5", "VLLM_TARGET_DEVICE": "cuda"})
    assert (ours["CUDA_VISIBLE_DEVICES"], ours["VLLM_TARGET_DEVICE"]) == ("", "cpu")


def test_our_server_asks_for_no_key():
    assert "VLLM_API_KEY" not in environment(CONFIG, {"VLLM_API_KEY": "secret"})


def test_room_for_keys_and_values():
    """SmolLM2-135M: 30 layers of 3 heads of 64, keys and values, 2 bytes each: 23,040 bytes a token."""
    shape = {"hidden_size": 576, "num_attention_heads": 9, "num_key_value_heads": 3, "num_hidden_layers": 30}
    assert kv_cache_bytes(shape, 8192, "bfloat16") == GIB, "less than the least"
    assert kv_cache_bytes(shape, 100_000, "float16") == 1.25 * 23_040 * 100_000
    assert kv_cache_bytes(shape, 100_000, "float32") == 2 * 1.25 * 23_040 * 100_000


def test_the_telling_lines_of_a_log():
    assert excerpt(LOG) == (
        "ValueError: To serve at least one request, 9.0 GiB KV cache is needed, larger than 1.0 GiB. | "
        "RuntimeError: Engine core initialization failed. See root cause above."
    )
    assert advice(excerpt(LOG), max_model_len=2048, port=1) == (
        "Free memory for 2048 tokens of context, or lower max_position_embeddings in its config.json"
    )
    assert advice("OSError: [Errno 98] Address already in use", max_model_len=1, port=9).startswith("Another process")
    assert excerpt("one\ntwo\n\n") == "one | two"
    assert excerpt("") == ""
    assert "std::bad_alloc" in excerpt("terminate called after throwing an instance of 'std::bad_alloc'\n" + LOG)


def lives(pid):
    """Whether a process runs; one that waits to be buried does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def until(condition):
    deadline = time.monotonic() + 20
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert condition()


def child_of(pid):
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(text[0]) if text else None


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("stubborn", [False, True])
def test_a_group_ends_with_all_of_its_processes(stubborn):
    ignore = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " if stubborn else ""
    code = f"{ignore}{SLEEPER}; time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    until(lambda: child_of(process.pid))
    child = child_of(process.pid)
    server.end_group(process, patience_s=1.0)
    assert process.returncode == (-signal.SIGKILL if stubborn else -signal.SIGTERM)
    until(lambda: not lives(child))


@pytest.mark.skipif(sys.platform != "linux", reason="the parent's death is told on Linux alone")
def test_the_server_dies_with_its_parent(tmp_path):
    pid = tmp_path / "pid"
    said = f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    code = "import os, subprocess, sys, time\n"
    code += f"words = [sys.executable, {guard.__file__!r}, str(os.getpid()), sys.executable, '-c', {said!r}]\n"
    code += "subprocess.Popen(words, start_new_session=True)\ntime.sleep(60)"
    parent = subprocess.Popen([sys.executable, "-c", code])
    until(lambda: pid.exists() and pid.read_text())
    served = int(pid.read_text())
    assert lives(served)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    until(lambda: not lives(served))


def install(tmp_path, monkeypatch, code):
    """A module of vLLM's name that is this code."""
    package = tmp_path / "path" / "vllm" / "entrypoints" / "openai"
    package.mkdir(parents=True)
    (package / "api_server.py").write_text(code)
    (tmp_path / "path" / "vllm" / "__init__.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))
    monkeypatch.syspath_prepend(tmp_path / "path")


def test_a_server_that_ends_says_why_and_keeps_its_log(tmp_path, monkeypatch):
    install(
        tmp_path,
        monkeypatch,
        "print('WARNING 11-26 17:10:11 No available memory for a second model')\n"
        "raise ValueError('12 heads are not divisible by 5')",
    )
    log = tmp_path / "serve.log"
    with pytest.raises(ServerError) as raised, server.serve(CONFIG, log):
        pytest.fail("it is not healthy")
    said = str(raised.value)
    assert said.startswith("vLLM ended with code 1 after ")
    assert "ValueError: 12 heads are not divisible by 5" in said
    assert "vLLM does not serve this model or scheme here" in said, "not what the warning before it calls for"
    assert f"Log: {log}" in said
    assert "not divisible" in log.read_text()


HEALTHY = """\
import json, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"choices": [{"token_ids": [3, 4]}]}).encode())

HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
"""
FOLDER_FIELDS = {"weights_digest": "", "tokenizer_digest": "", "engine": "vllm"}


def opened(folder):
    options = EvaluateOptions(tasks=("t",))
    found = ModelFolder(ModelRef(name="m"), folder, **FOLDER_FIELDS)
    return served(found, make_tokenizer(), dtype="float32", device="cpu", options=options)


def test_a_proxy_is_not_asked_for_our_own_server(tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, HEALTHY)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "logs"))
    (tmp_path / "logs").mkdir()
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{server.free_port()}")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    save("llama", tmp_path / "m")
    found = {}
    with opened(tmp_path / "m") as engine:
        engine.generate([GenerateRequest((1,), (), 2)], done=frozenset(), on_batch=found.update)
    assert found == {0: [3, 4]}
    assert not list((tmp_path / "logs").iterdir()), "what went well needs no log"


def test_without_vllm_no_empty_log_is_left(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(ServerError, match="vLLM is not installed here"), opened(tmp_path / "none"):
        pytest.fail("it is not installed")
    assert not list(tmp_path.iterdir())
