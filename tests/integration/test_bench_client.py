"""The load client against a server of known timing, and of known faults."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from fakes.openai_server import serve
from fakes.streaming_server import OWN_LENGTH, streaming

from distill_eval.bench.client import HttpTarget
from distill_eval.bench.endpoint import Served, check
from distill_eval.bench.metrics import metrics, shape_of
from distill_eval.bench.target import Rules
from distill_eval.errors import ModelError, UsageError
from distill_eval.schema.timing import Load, Prompt, Window

ONE = Load(kind="closed", concurrency=1)
TTFT_MS, ITL_MS = 20.0, 4.0
ROOT = Path(__file__).resolve().parents[2]
SLACK_MS = 15.0
"""Of a median, on a machine that does other things too."""


@pytest.fixture(scope="module")
def server():
    with streaming(ttft_ms=TTFT_MS, itl_ms=ITL_MS) as running:
        yield running


def prompts(*texts, max_tokens=6):
    return [Prompt(text=text, num_tokens=3, max_tokens=max_tokens) for text in texts]


def measure(server, load, sent, *, rules=None, zero=None, seed=0, **target):
    """What was measured; the truth of the server is of this window alone."""
    server.truth()
    zero = time.perf_counter() if zero is None else zero
    return HttpTarget(server.address, "tiny", **target).measure(
        load, sent, rules or Rules(), window=3, zero=zero, seed=seed
    )


def window_of(measured, load):
    return Window(
        number=3, model="m", engine="endpoint", load=load, repeat=0, phase="measured",
        began_s=measured.began_s, ended_s=measured.ended_s,
    )  # fmt: skip


def test_known_timings_come_out(server):
    load, sent = Load(kind="closed", concurrency=8), prompts(*(f"hello seq {n}" for n in range(24)), max_tokens=20)
    zero = time.perf_counter()
    measured = measure(server, load, sent, zero=zero)
    assert [timing.index for timing in measured.timings] == list(range(24))
    assert {timing.status for timing in measured.timings} == {"completed"}
    found = metrics(measured.timings, [window_of(measured, load)], goodput={})
    assert found.ttft_ms.p50 == pytest.approx(TTFT_MS, abs=SLACK_MS)
    assert found.itl_ms.mean == pytest.approx(ITL_MS, abs=1.0)
    assert found.tpot_ms.p50 == pytest.approx(ITL_MS, abs=1.0)
    assert found.e2el_ms.p50 == pytest.approx(TTFT_MS + 19 * ITL_MS, abs=SLACK_MS)
    assert (found.peak_concurrency, found.num_output_tokens) == (8, 24 * 20)
    truth = {request["prompt"]: request for request in server.truth()}
    for timing in measured.timings:
        request = truth[f"hello seq {timing.index}"]
        written = [stamp - zero for stamp in request["chunk_s"]]
        assert len(timing.chunk_s) == len(written) == 20
        # Nothing is seen before it was written, nor is a request received before it was sent.
        assert all(seen > there for seen, there in zip(timing.chunk_s, written, strict=True))
        assert timing.sent_s < request["received_s"] - zero < timing.chunk_s[0] < timing.ended_s
        assert timing.chunk_s == tuple(sorted(timing.chunk_s))
        assert measured.began_s <= timing.sent_s < timing.ended_s <= measured.ended_s
    assert 0 <= measured.loop_lag_ms < 1000
    assert 0 < measured.client_cpu < 1.5


def test_what_is_asked(server):
    measured = measure(server, ONE, prompts("hello", max_tokens=9), rules=Rules(temperature=0.5))
    assert server.truth()[0]["body"] == {
        "model": "tiny", "stream": True, "stream_options": {"include_usage": True}, "temperature": 0.5, "max_tokens": 9,
        "ignore_eos": True,
    }  # fmt: skip
    (timing,) = measured.timings
    assert (timing.usage_prompt_tokens, timing.usage_completion_tokens, timing.num_prompt_tokens) == (1, 9, 3)
    assert (timing.finish_reason, timing.max_tokens, timing.window, timing.num_tries) == ("length", 9, 3, 1)
    assert (timing.scheduled_s, timing.text_tokens) == (None, None)


def test_models_may_stop_by_themselves(server):
    load = Load(kind="closed", concurrency=1, ignore_eos=False)
    (timing,) = measure(server, load, prompts("hello", max_tokens=9)).timings
    assert (timing.usage_completion_tokens, timing.finish_reason) == (OWN_LENGTH, "stop")


def test_chat(server):
    (timing,) = measure(server, ONE, prompts("opening"), api="chat").timings
    assert (timing.status, len(timing.chunk_s)) == ("completed", 6)
    assert shape_of(timing).ttft * 1e3 > TTFT_MS - 1  # not the chunk that only says who speaks


def test_text_is_counted_where_it_is_asked_for(server):
    (timing,) = measure(server, ONE, prompts("hello"), count_tokens=lambda text: len(text.split())).timings
    assert timing.text_tokens == 6


def test_chunks_of_several_tokens_reads_of_several_events_and_events_of_several_reads(server):
    zero = time.perf_counter()
    sent = prompts("pair", "together", "split", "nousage")
    pair, together, split, bare = measure(server, ONE, sent, zero=zero).timings
    assert (len(pair.chunk_s), pair.usage_completion_tokens) == (3, 6)
    assert len(together.chunk_s) == 6
    assert together.chunk_s[0::2] == together.chunk_s[1::2]
    # The first half of an event is written half an ITL before the second, whose time the server keeps.
    (written,) = [request["chunk_s"] for request in server.truth() if request["prompt"] == "split"]
    assert all(seen + zero > there for seen, there in zip(split.chunk_s, written, strict=True))
    assert (bare.status, bare.usage_completion_tokens, bare.finish_reason) == ("completed", None, "length")


FAULTS = [
    ("400", "HTTP 400: refused with 400", 0),
    ("429", "HTTP 429: refused with 429", 0),
    ("503", "HTTP 503: refused with 503", 0),
    ("drop 2", "connection closed", 2),
    ("drop 0", "connection closed", 0),
    ("malformed 2", 'malformed event: \'{"choices": [{"te\'', 2),
    ("error 2", "the server said: out of blocks", 2),
    ("early 2", "stream ended early", 2),
    ("empty", "no chunk with an answer in the stream, which began 'data: [DONE]\\n\\n'", 0),
]


def test_each_fault_is_named_and_ends_nothing_else(server):
    texts = [text for text, _, _ in FAULTS]
    measured = measure(server, Load(kind="closed", concurrency=2), prompts(*texts, "hello"))
    assert [(t.status, t.reason, len(t.chunk_s)) for t in measured.timings[:-1]] == [
        ("errored", reason, num_chunks) for _, reason, num_chunks in FAULTS
    ]
    assert measured.timings[-1].status == "completed"
    assert not measured.lost
    assert not measured.interrupted


def test_busy_is_retried_only_when_asked(server):
    (refused,) = measure(server, ONE, prompts("busy 2 a")).timings
    assert (refused.status, refused.reason, refused.num_tries) == ("errored", "HTTP 503: busy", 1)
    (answered,) = measure(server, ONE, prompts("busy 2 b"), rules=Rules(max_tries=3)).timings
    assert (answered.status, answered.num_tries) == ("completed", 3)
    assert answered.sent_s < server.truth()[-1]["received_s"]
    (given_up,) = measure(server, ONE, prompts("busy 9 c"), rules=Rules(max_tries=2)).timings
    assert (given_up.status, given_up.num_tries) == ("errored", 2)
    (wrong,) = measure(server, ONE, prompts("400"), rules=Rules(max_tries=3)).timings
    assert (wrong.status, wrong.num_tries) == ("errored", 1)


def test_a_request_that_hangs_is_given_up(server):
    hung, after = measure(server, ONE, prompts("hang 2", "hello"), rules=Rules(timeout_s=0.3)).timings
    assert (hung.status, hung.reason, len(hung.chunk_s)) == ("cancelled", "time limit of 0.3 s", 2)
    assert 0.29 < hung.ended_s - hung.sent_s < 2.0  # the limit runs from before the send, by a timer of milliseconds
    assert after.status == "completed"


@pytest.mark.parametrize("load", [ONE, Load(kind="offline"), Load(kind="open", request_rate=1.0)])
def test_nothing_to_send(server, load):
    measured = measure(server, load, [])
    assert (measured.timings, measured.lost, measured.interrupted) == ((), False, False)


def test_more_streams_than_prompts(server):
    measured = measure(server, Load(kind="closed", concurrency=9), prompts("hello", "hello"))
    assert [timing.status for timing in measured.timings] == ["completed"] * 2


def test_more_at_once_than_the_machine_has_files_is_refused_before_anything_is_sent(server):
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard > 2_000_000:
        pytest.skip(f"this machine allows {hard} open files")
    one = prompts("hello")[0]
    with pytest.raises(UsageError, match=f"{hard} requests at once need as many open files, and this machine allows"):
        measure(server, Load(kind="offline"), [one] * hard)
    assert server.truth() == []


def test_offline_sends_everything_at_once(server):
    load = Load(kind="offline")
    measured = measure(server, load, prompts(*["hello"] * 20, max_tokens=100))
    assert {timing.scheduled_s for timing in measured.timings} == {measured.began_s}
    assert metrics(measured.timings, [window_of(measured, load)], goodput={}).peak_concurrency == 20


def test_an_open_loop_waits_for_nobody(server):
    """The server stands still for half a second: who comes then is sent on time, and its wait is in the figures."""
    load = Load(kind="open", request_rate=20.0, arrival="constant")
    sent = prompts(*["hello"] * 4, "stall 0.5", *["hello"] * 9)
    measured = measure(server, load, sent)
    assert [t.scheduled_s - measured.began_s for t in measured.timings] == pytest.approx(
        [(n + 1) / 20 for n in range(14)]
    )
    assert all(-1e-4 < timing.sent_s - timing.scheduled_s < 0.1 for timing in measured.timings)
    scheduled_ttft = [timing.chunk_s[0] - timing.scheduled_s for timing in measured.timings]
    # Sent 0.05 s x k after the stall began, each waits for what is left of it.
    for place in range(1, 8):
        assert scheduled_ttft[4 + place] > 0.5 - 0.05 * place
    assert scheduled_ttft[0] < 0.2
    found = metrics(measured.timings, [window_of(measured, load)], goodput={})
    assert found.scheduled_ttft_ms.p99 > 450
    assert found.peak_concurrency >= 8


def test_a_server_that_dies_ends_the_window(server):
    with streaming(ttft_ms=TTFT_MS, itl_ms=ITL_MS) as mortal:
        load = Load(kind="closed", concurrency=2)
        measured = measure(mortal, load, prompts("hello", "hello", "die 2", "hello", *["hello"] * 20))
    statuses = [timing.status for timing in measured.timings]
    assert measured.lost
    assert statuses[:2] == ["completed"] * 2
    assert set(statuses[2:]) == {"errored"}
    assert 3 <= len(statuses) < 8  # what was not sent is left out
    assert (measured.timings[2].reason, len(measured.timings[2].chunk_s)) == ("connection closed", 2)


def test_a_server_that_is_not_there_is_lost_at_once():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    target = HttpTarget(f"http://127.0.0.1:{port}", "tiny")
    measured = target.measure(ONE, prompts(*["hello"] * 9), Rules(), window=0, zero=time.perf_counter(), seed=0)
    assert measured.lost
    assert [(t.status, t.reason) for t in measured.timings] == [("errored", "no connection: Connection refused")]


def test_a_server_that_drops_everything_is_lost_though_it_is_healthy(server):
    measured = measure(server, ONE, prompts(*["drop 0"] * 40))
    assert measured.lost
    assert len(measured.timings) == 16


def test_a_connection_in_between_that_works_starts_the_count_again(server):
    measured = measure(server, ONE, prompts(*(["drop 0"] * 10 + ["hello"]) * 2))
    assert not measured.lost
    assert len(measured.timings) == 22


INTERRUPTED = """
import sys, time
from distill_eval.bench.client import HttpTarget
from distill_eval.bench.target import Rules
from distill_eval.schema.timing import Load, Prompt

if sys.argv[2] == "asyncio":
    sys.modules["uvloop"] = None  # as if it were not installed
sent = [Prompt(text=text, num_tokens=1, max_tokens=6) for text in ["hello", "hello", "hang 2", "hello"]]
print("sending", flush=True)
target = HttpTarget(sys.argv[1], "tiny")
measured = target.measure(Load(kind="closed", concurrency=1), sent, Rules(), window=0, zero=time.perf_counter(), seed=0)
print(measured.interrupted, measured.lost, [(t.status, t.reason, len(t.chunk_s)) for t in measured.timings])
"""


@pytest.mark.parametrize("loop", ["installed", "asyncio"])
def test_ctrl_c_keeps_what_was_measured(server, tmp_path, loop):
    script = tmp_path / "interrupted.py"
    script.write_text(textwrap.dedent(INTERRUPTED))
    command = [sys.executable, str(script), server.address, loop]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    server.truth()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        assert process.stdout.readline() == "sending\n"
        deadline = time.monotonic() + 30
        while [len(request["chunk_s"]) for request in server.truth(so_far=True)] != [6, 6, 2]:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(0.1)  # until the client has read it
        process.send_signal(signal.SIGINT)
        said = process.stdout.read()
    assert process.returncode == 0
    assert said == ("True False [('completed', None, 6), ('completed', None, 6), ('cancelled', 'interrupted', 2)]\n")


def test_garbage_collection_and_signals_are_as_before(server):
    import gc

    before = signal.getsignal(signal.SIGINT)
    measure(server, ONE, prompts("hello"))
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
    assert signal.getsignal(signal.SIGINT) is before


def test_a_proxy_is_not_asked(server, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    assert check(server.address, "tiny") == Served("tiny", 4096)
    assert measure(server, ONE, prompts("hello")).timings[0].status == "completed"


def test_it_works_beside_other_threads(server):
    found = []
    thread = threading.Thread(target=lambda: found.append(measure(server, ONE, prompts("hello"))))
    thread.start()
    thread.join()
    assert found[0].timings[0].status == "completed"


@pytest.mark.parametrize("library", ["aiohttp", "httpx"])
def test_a_missing_library_is_named(library):
    code = f"import sys; sys.modules[{library!r}] = None; import distill_eval.bench.client"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    last = done.stderr.splitlines()[-1]
    assert last.startswith("distill_eval.errors.UsageError: a server is")
    assert last.endswith(f"with {library}. Type: pip install 'distill-eval[bench]'")


def test_a_server_is_checked_by_name_or_root(server):
    assert check(f"{server.address}/v1/", None) == Served("tiny", 4096)
    models = ({"id": "teacher", "root": "org/teacher"}, {"id": "student-int8", "root": "/models/s"})
    with serve(models=models, key="secret") as fake:
        assert check(fake.address, "org/teacher", "secret") == Served("teacher", None)
        with pytest.raises(UsageError) as error:
            check(fake.address, "studnt-int8", "secret")
        assert str(error.value) == (
            f"--model studnt-int8: {fake.address} serves teacher, student-int8. Did you mean 'student-int8'?"
        )
        with pytest.raises(UsageError, match=r"serves teacher, student-int8: name one with --model"):
            check(fake.address, None, "secret")
        with pytest.raises(ModelError, match=r"refuses the key \(status 401: wrong key\)"):
            check(fake.address, "teacher")


def test_what_is_no_server_of_models_is_said(server):
    with pytest.raises(ModelError) as error:
        check(f"{server.address}/else", "tiny")
    assert "/else/v1/models is not of an OpenAI-compatible server; it answered with status 404: {}" in str(error.value)
    with serve(models=("no object",)) as fake, pytest.raises(ModelError, match="it answered with status 200"):
        check(fake.address, "tiny")
    with pytest.raises(ModelError, match=r"cannot reach http://127\.0\.0\.1:9/v1/models: .*Connection refused"):
        check("http://127.0.0.1:9", "tiny")
    with pytest.raises(UsageError, match=r"--endpoint localhost:8000: expected an address such as"):
        check("localhost:8000", "tiny")
