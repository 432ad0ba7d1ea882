"""What a server is started with, what its log says, and how it ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from distill_eval.errors import ServerError, UsageError
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


def test_room_for_keys_and_values():
    """SmolLM2-135M: 30 layers of 3 heads of 64, keys and values, 2 bytes each: 23,040 bytes a token."""
    shape = {"hidden_size": 576, "num_attention_heads": 9, "num_key_value_heads": 3, "num_hidden_layers": 30}
    assert kv_cache_bytes(shape, 8192) == GIB, "less than the least"
    assert kv_cache_bytes(shape, 100_000) == 1.25 * 23_040 * 100_000


def test_the_telling_lines_of_a_log():
    assert excerpt(LOG) == (
        "ValueError: To serve at least one request, 9.0 GiB KV cache is needed, larger than 1.0 GiB. | "
        "RuntimeError: Engine core initialization failed. See root cause above."
    )
    assert advice(LOG, max_model_len=2048, port=1) == "Lower the context length (now 2048 tokens)"
    assert advice("OSError: [Errno 98] Address already in use", max_model_len=1, port=9).startswith("Another process")
    assert excerpt("one\ntwo\n\n") == "one | two"
    assert excerpt("") == ""


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


def test_a_server_that_ends_says_why_and_keeps_its_log(tmp_path, monkeypatch):
    """With a module of vLLM's name that fails as vLLM does."""
    package = tmp_path / "path" / "vllm" / "entrypoints" / "openai"
    package.mkdir(parents=True)
    (package / "api_server.py").write_text("raise ValueError('No available memory for the cache blocks')")
    (tmp_path / "path" / "vllm" / "__init__.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))
    monkeypatch.syspath_prepend(tmp_path / "path")
    log = tmp_path / "serve.log"
    with pytest.raises(ServerError) as raised, server.serve(CONFIG, log):
        pytest.fail("it is not healthy")
    said = str(raised.value)
    assert said.startswith("vLLM ended with code 1 after ")
    assert "No available memory for the cache blocks" in said
    assert "Lower the context length (now 2048 tokens)" in said
    assert f"Log: {log}" in said
    assert "No available memory" in log.read_text()
