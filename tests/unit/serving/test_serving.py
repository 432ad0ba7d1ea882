"""What a server is started with, what its log says, and how it ends."""

import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import httpx
import psutil
import pytest
from fakes import vllm
from fakes.tiny_families import make_tokenizer, save

from distill_eval import cli
from distill_eval.errors import ServerError, StoreError, UsageError
from distill_eval.evaluate.models import ModelFolder
from distill_eval.evaluate.options import EvaluateOptions
from distill_eval.evaluate.scorer.generate import GenerateRequest
from distill_eval.evaluate.vllm import served
from distill_eval.schema.model import ModelRef
from distill_eval.serving import guard, server, watch
from distill_eval.serving.config import GIB, ServeConfig, argv, environment, kv_cache_bytes
from distill_eval.serving.facts import EngineFacts, read
from distill_eval.serving.log import Hints, advice, dtype, excerpt, last_line
from distill_eval.verbs.serving import welcome

ROOT = Path(__file__).resolve().parents[3]
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
        "--kv-cache-memory-bytes": str(GIB),
    }
    assert words[-1] == "--enable-prefix-caching"
    other = ServeConfig(model=Path("m"), served_name="m", port=1, max_model_len=2, eager=True, prefix_caching=False)
    assert argv(other)[-2:] == ["--enforce-eager", "--no-enable-prefix-caching"]
    with pytest.raises(UsageError, match="port 0"):
        ServeConfig(model=Path("m"), served_name="m", port=0, max_model_len=2)


def test_what_is_asked_for_beyond_the_usual():
    more = replace(
        CONFIG,
        device="cuda",
        kv_cache_bytes=None,
        max_num_seqs=16,
        max_num_batched_tokens=2048,
        gpu_memory_utilization=0.9,
        extra=("--no-such", "1"),
    )
    words = argv(more)
    options = dict(zip(words[3:-3:2], words[4:-3:2], strict=True))
    assert "--kv-cache-memory-bytes" not in options, "a GPU has what is free"
    assert [options[f"--max-num-{name}"] for name in ("seqs", "batched-tokens")] == ["16", "2048"]
    assert options["--gpu-memory-utilization"] == "0.9"
    assert words[-3:] == ["--enable-prefix-caching", "--no-such", "1"]
    assert argv(replace(more, kv_cache_bytes=7))[argv(more).index("--max-num-seqs") + 1] == "7"


def test_the_address_is_one_that_this_machine_reaches():
    assert CONFIG.address == "http://127.0.0.1:8123"
    assert replace(CONFIG, host="0.0.0.0").address == "http://127.0.0.1:8123"
    assert replace(CONFIG, host="::").address == "http://[::1]:8123"
    assert replace(CONFIG, host="10.1.2.3").address == "http://10.1.2.3:8123"


def test_the_environment_leaves_what_the_user_set():
    assert environment(CONFIG, {"VLLM_CPU_KVCACHE_SPACE": "7"})["VLLM_CPU_KVCACHE_SPACE"] == "7"
    assert environment(CONFIG, {})["VLLM_NO_USAGE_STATS"] == "1"
    gpu = ServeConfig(model=Path("m"), served_name="m", port=1, max_model_len=2, device="cuda:1")
    assert environment(gpu, {})["CUDA_VISIBLE_DEVICES"] == "1"


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


def test_a_key_goes_through_the_environment_alone():
    inherited = {"VLLM_API_KEY": "theirs", "DISTILL_EVAL_API_KEY": "ours"}
    assert not {"VLLM_API_KEY", "DISTILL_EVAL_API_KEY"} & environment(CONFIG, inherited).keys()
    locked = replace(CONFIG, api_key="secret")
    assert environment(locked, inherited)["VLLM_API_KEY"] == "secret"
    assert "secret" not in " ".join([*argv(locked), repr(locked)])


def test_room_for_keys_and_values():
    """SmolLM2-135M: 30 layers of 3 heads of 64, keys and values, 2 bytes each: 23,040 bytes a token."""
    shape = {"hidden_size": 576, "num_attention_heads": 9, "num_key_value_heads": 3, "num_hidden_layers": 30}
    assert kv_cache_bytes(shape, 8192, "bfloat16") == GIB, "less than the least"
    assert kv_cache_bytes(shape, 100_000, "float16") == 1.25 * 23_040 * 100_000
    assert kv_cache_bytes(shape, 100_000, "float32") == 2 * 1.25 * 23_040 * 100_000


TOO_LONG = "ValueError: To serve at least one request, 9.0 GiB KV cache is needed, larger than 1.0 GiB."


def test_the_telling_lines_of_a_log():
    assert excerpt(LOG) == TOO_LONG, "and not what the other process says of it"
    assert excerpt("one\ntwo\n\n") == "one | two"
    assert excerpt("") == ""
    assert "std::bad_alloc" in excerpt("terminate called after throwing an instance of 'std::bad_alloc'\n" + LOG)
    assert excerpt("(A pid=1) WARNING 11-26 20:40:48 [a.py:1] errors like `OSError: [Errno 24]`.\nKeyError: 1") == (
        "KeyError: 1"
    )
    assert excerpt("ValueError: " + "x" * 400).endswith("xxx...")
    assert len(excerpt("ValueError: " + "x" * 400)) == 300
    assert excerpt("ValidationError: 1 error\n  Value error, of type `foo`\n\nmore") == (
        "ValidationError: 1 error | Value error, of type `foo`"
    )


def test_how_far_a_start_is():
    text = (
        "(A pid=1) INFO 11-26 20:40:48 [model.py:733] Resolved architecture: L\n(A pid=1) WARNING 11-26 20:4 [a] b\nc\n"
    )
    assert last_line(text) == "Resolved architecture: L"
    assert last_line("") == ""
    assert len(last_line("INFO 11-26 20:40:48 [a.py:1] " + "x" * 200)) == 100


# As vLLM 0.32's CPU build ended with SmolLM2-135M-Instruct.
FAILURES = {
    "KV cache too small": (
        (
            "ValueError: To serve at least one request with the model's max seq len (8192), (0.18 GiB KV cache is "
            "needed, which is larger than the available KV cache memory (0.09 GiB)."
        ),
        "Lower --max-model-len (now 8192), or give keys and values more room",
    ),
    "memory": (
        (
            "ValueError: Available memory on node 0 (20.31/23.54 GiB) on kv cache allocation is less than requested "
            "memory for kv (100.0 GiB). Decrease --kv-cache-memory-bytes"
        ),
        "Free memory, lower --kv-cache-gb or --max-model-len (now 8192)",
    ),
    "architecture": (
        (
            "  Value error, The checkpoint you are trying to load has model type `foo` but Transformers does not "
            "recognize this architecture."
        ),
        "vLLM does not serve this model or scheme here",
    ),
    "scheme": (
        "ValueError: Failed to find a kernel that can implement the WNA16 linear layer. Reasons: ",
        "vLLM does not serve this model or scheme here",
    ),
    "bitsandbytes": (
        "  Value error, Unknown quantization method: bitsandbytes. Must be one of ['awq'",
        "vLLM does not serve this model or scheme here",
    ),
    "context": (
        "  Value error, User-specified max_model_len (20000) is greater than the derived max_model_len",
        "Lower --max-model-len (now 8192)",
    ),
    "words": (
        "api_server.py: error: unrecognized arguments: --no-such-flag",
        "vLLM does not take these words behind --",
    ),
    "port": ("OSError: [Errno 98] Address already in use", "Another process took port 9 meanwhile"),
    "unknown": ("KeyError: 1", "Read the log"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_what_to_change(name):
    line, change = FAILURES[name]
    said = excerpt(line)
    assert said == line.strip()
    assert advice(said, max_model_len=8192, port=9, hints=Hints()).startswith(change)


def test_what_to_change_is_in_the_callers_words():
    hints = Hints(length="shorten {max_model_len}", unsupported="take another engine")
    said = [advice(FAILURES[name][0], max_model_len=8, port=9, hints=hints) for name in ("context", "scheme")]
    assert said == ["shorten 8", "take another engine"]


def test_what_a_server_says_of_itself():
    assert read('{"version": "0.32.0"}', vllm.METRICS) == EngineFacts("0.32.0", 46_592, 364, True)
    older = 'vllm:cache_config_info{block_size="16",num_gpu_blocks="100",enable_prefix_caching="False"} 1.0'
    assert read("", older) == EngineFacts(None, 1600, 100, False)
    assert read("[]", 'vllm:cache_config_info{num_gpu_blocks="None"} 1.0') == EngineFacts()
    assert dtype(HEALTH_LINE) == "bfloat16"
    assert dtype("") is None


HEALTH_LINE = "[core.py:133] Initializing a V1 LLM engine (v0.32.0) with config: model='m', dtype=torch.bfloat16, x"


def test_a_port_that_is_taken_is_refused_before_the_start(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=rf"--port {port}: Address already in use. Type --port 0"):
            server.require_free("127.0.0.1", port)
    server.require_free("127.0.0.1", port)
    with pytest.raises(UsageError, match=r"--host no-such-host\.invalid: "):
        server.require_free("no-such-host.invalid", port)


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


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_an_impatient_user_ends_a_stubborn_group_at_once():
    ignore = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    server_code = f"{ignore}; {SLEEPER}; time.sleep(60)"
    code = (
        "import subprocess, sys\nfrom distill_eval.serving.server import end_group\n"
        f"process = subprocess.Popen([sys.executable, '-c', {server_code!r}], start_new_session=True)\n"
        "print(process.pid, flush=True)\nsys.stdin.readline()\nprint('ends', flush=True)\nend_group(process)\n"
    )
    ending = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    pid = int(ending.stdout.readline())
    until(lambda: child_of(pid))
    child = child_of(pid)
    ending.stdin.write("\n")
    ending.stdin.flush()
    assert ending.stdout.readline() == "ends\n"
    time.sleep(0.3)
    assert lives(pid)
    ending.send_signal(signal.SIGINT)
    until(lambda: not lives(pid) and not lives(child))
    assert ending.wait(timeout=20) != 0


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


@pytest.mark.skipif(os.name != "posix", reason="process groups")
def test_a_server_that_puts_the_signal_off_is_ended_when_its_starter_has_gone():
    refusing = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", refusing], stdout=subprocess.PIPE, start_new_session=True) as process:
        process.stdout.readline()
        words = [sys.executable, watch.__file__, str(process.pid), "0.5"]
        with subprocess.Popen(words, stdin=subprocess.PIPE) as watcher:
            time.sleep(0.5)
            assert (process.poll(), watcher.poll()) == (None, None), "the starter lives"
        assert (process.wait(timeout=20), watcher.returncode) == (-signal.SIGKILL, 0)


def install(tmp_path, monkeypatch, code):
    """A module of vLLM's name that is this code, for this process and for those that it starts."""
    path = vllm.install(tmp_path, code)
    monkeypatch.setenv("PYTHONPATH", str(path))
    monkeypatch.syspath_prepend(path)


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


def test_the_log_of_a_failed_start_is_shown(tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, "print('loads', flush=True)\nraise ValueError('a head too many')")
    log, shown = tmp_path / "serve.log", []
    log.write_text("of an earlier server\n")
    with pytest.raises(ServerError), server.serve(CONFIG, log, show=shown.append):
        pytest.fail("it is not healthy")
    assert "".join(shown) == log.read_text()
    assert "".join(shown).startswith("loads\nTraceback")
    assert "ValueError: a head too many" in "".join(shown)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="holds the command at a pipe")
def test_a_signal_before_the_start_is_an_end_of_our_own(tmp_path):
    """As the first process of a container it would not end by a signal that it does not handle."""
    pipe = tmp_path / "profile.toml"
    os.mkfifo(pipe)
    words = [sys.executable, "-m", "distill_eval.cli", "serve", "--model=m", f"--profile={pipe}"]
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    held = os.open(pipe, os.O_WRONLY)  # returns when the command reads
    try:
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
    finally:
        os.close(held)
        process.kill()
    assert (process.returncode, out, err) == (128 + signal.SIGTERM, b"", b"")


def test_a_log_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, vllm.HEALTHY)
    (tmp_path / "file").write_text("")
    for log in (tmp_path, tmp_path / "file" / "serve.log"):
        with pytest.raises(StoreError, match=rf"the log {log} cannot be written: "), server.serve(CONFIG, log):
            pytest.fail("it has no log")


def test_how_to_call_it_names_the_variable_of_the_key(tmp_path):
    endpoint = server.Endpoint(
        "http://127.0.0.1:8123", "m", 2048, tmp_path / "log", None, "cpu", "bfloat16", 40.0, EngineFacts(), "geheim"
    )
    lines = welcome(endpoint, "VLLM_API_KEY").splitlines()
    assert lines[1] == "  where you call it from, first export VLLM_API_KEY, the key of its requests"
    assert '-H "Authorization: Bearer $VLLM_API_KEY"' in lines[2]
    assert "api_key=os.environ['VLLM_API_KEY']" in lines[3]
    bench = "  distill-eval bench --endpoint http://127.0.0.1:8123 --model m"
    assert lines[4] == f"{bench} --api-key-variable VLLM_API_KEY"
    assert cli.parse([*shlex.split(lines[4])[1:]]).api_key_variable == "VLLM_API_KEY"
    opened = welcome(endpoint._replace(api_key=None), None).splitlines()
    assert opened[3] == bench
    assert "export" not in " ".join(opened)


FOLDER_FIELDS = {"weights_digest": "", "tokenizer_digest": "", "engine": "vllm"}


def opened(folder):
    options = EvaluateOptions(tasks=("t",))
    found = ModelFolder(ModelRef(name="m"), folder, **FOLDER_FIELDS)
    return served(found, make_tokenizer(), dtype="float32", device="cpu", options=options)


def test_a_proxy_is_not_asked_for_our_own_server(tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, vllm.HEALTHY)
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


def test_somebody_elses_health_is_not_ours(tmp_path, monkeypatch):
    """The port is taken after it was tried, by one who answers; our server finds that out late."""
    port = server.free_port()
    other = f"import sys; sys.argv[1:] = ['--host', '127.0.0.1', '--port', '{port}']\n" + vllm.HEALTHY
    code = (
        f"import subprocess, sys, time\nsubprocess.Popen([sys.executable, '-c', {other!r}], start_new_session=True)\n"
        "time.sleep(3)\nraise OSError('[Errno 98] Address already in use')"
    )
    install(tmp_path, monkeypatch, code)
    config = replace(CONFIG, port=port)
    log = tmp_path / "serve.log"
    try:
        with pytest.raises(ServerError, match=f"Another process took port {port} meanwhile"), server.serve(config, log):
            pytest.fail("what answers is another server")
        pid = httpx.get(f"{config.address}/said", trust_env=False).json()["pid"]
    finally:
        for process in psutil.process_iter(["cmdline"]):
            if f"'{port}'" in " ".join(process.info["cmdline"] or ()):
                process.kill()
    assert pid > 0, "it did answer"


def test_without_vllm_no_empty_log_is_left(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with (
        pytest.raises(ServerError, match=r"vLLM is not installed here.*pip install vllm.*Or take --engine hf"),
        opened(tmp_path / "none"),
    ):
        pytest.fail("it is not installed")
    assert not list(tmp_path.iterdir())
