"""Engines in a process of their own, on tiny models, against the same engines in this one."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest
import torch
from fakes import tiny_classifiers
from fakes.tiny_variants import save_onnx, save_original

from distill_eval.bench.classify import measure_in_turn, open_encoder
from distill_eval.bench.local import open_local
from distill_eval.bench.target import Rules
from distill_eval.engine import genai, hf
from distill_eval.engine.encoder import HFEncoder
from distill_eval.errors import ModelError, UsageError
from distill_eval.schema.timing import Load, Prompt

ONE = Load(kind="closed", concurrency=1)
TEXT = "Some questions, with answers. "
PROMPTS = [
    Prompt(text=TEXT * times, num_tokens=30 * times, max_tokens=length) for times, length in ((1, 12), (2, 30), (1, 1))
]
LONG = Prompt(text=TEXT, num_tokens=30, max_tokens=90)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("local")
    save_original(root / "hf")
    save_onnx(root / "hf", root / "onnx", "fp32")
    return root


@pytest.fixture(scope="module", params=["hf", "onnx"])
def opened(place, request):
    log = place / f"{request.param}.log"
    with open_local(place / request.param, request.param, name="tiny", dtype="auto", device="cpu", log=log) as target:
        yield request.param, target


def measure(target, prompts, *, load=ONE, timeout_s=60.0, zero=None):
    zero = time.perf_counter() if zero is None else zero
    return target.measure(load, prompts, Rules(timeout_s=timeout_s), window=3, zero=zero, seed=0)


def test_all_tokens_are_timed_in_order_and_requests_one_after_the_other(opened):
    _, target = opened
    done = measure(target, PROMPTS)
    assert (done.interrupted, done.lost, done.loop_lag_ms, done.client_cpu) == (False, False, None, None)
    assert [(timing.index, timing.status, timing.finish_reason) for timing in done.timings] == [
        (at, "completed", "length") for at in range(3)
    ]
    assert [len(timing.chunk_s) for timing in done.timings] == [12, 30, 1]
    assert [timing.usage_completion_tokens for timing in done.timings] == [12, 30, 1]
    assert [timing.usage_prompt_tokens for timing in done.timings] == [30, 60, 30]
    moments = [moment for timing in done.timings for moment in (timing.sent_s, *timing.chunk_s, timing.ended_s)]
    assert moments == sorted(moments)
    assert len(set(moments)) == len(moments)
    assert (done.began_s, done.ended_s) == (moments[0], moments[-1])
    assert 0 < done.began_s < done.ended_s < 60


def test_the_model_and_its_process_are_known(opened):
    engine, target = opened
    assert (target.loaded.max_length, target.loaded.num_threads) == (128, torch.get_num_threads())
    assert target.loaded.dtype == ("float32" if engine == "hf" else None)
    assert target.start_s > 0
    process = psutil.Process(target.pid)
    assert process.parent().pid == os.getpid()
    assert "distill_eval.bench.worker" in process.cmdline()


@pytest.mark.parametrize(
    "load",
    [Load(kind="closed", concurrency=2), Load(kind="open", request_rate=1.0), Load(kind="offline")],
    ids=lambda load: load.kind,
)
def test_a_load_of_more_than_one_stream_is_refused(opened, load):
    engine, target = opened
    name = {"hf": "transformers", "onnx": "ONNX Runtime GenAI"}[engine]
    with pytest.raises(UsageError, match=f"{load.label.split()[0]}.*: {name} answers one request at a time here"):
        measure(target, PROMPTS, load=load)


def test_the_time_limit_gives_a_request_up_between_two_tokens(opened):
    _, target = opened
    whole = measure(target, [LONG]).timings[0]
    limit = (whole.chunk_s[-1] - whole.sent_s) / 20
    cut = measure(target, [LONG, PROMPTS[2]], timeout_s=limit).timings[0]
    assert (cut.status, cut.reason) == ("cancelled", f"time limit of {limit:g} s")
    assert 1 <= len(cut.chunk_s) < 90
    assert cut.chunk_s[-1] - cut.sent_s >= limit


def test_a_prompt_longer_than_the_context_errs_and_the_next_does_not(opened):
    _, target = opened
    endless = Prompt(text=TEXT * 20, num_tokens=600, max_tokens=4)
    first, second = measure(target, [endless, PROMPTS[0]]).timings
    assert second.status == "completed"
    if first.status == "errored":
        assert "cannot be run by" in first.reason
    else:  # transformers runs rotary positions beyond the context
        assert opened[0] == "hf"


def test_ctrl_c_keeps_what_is_done(opened):
    _, target = opened
    before = measure(target, [LONG]).timings[0]
    seconds = before.ended_s - before.sent_s
    timer = threading.Timer(2.5 * seconds, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    done = measure(target, [LONG] * 200)
    timer.join()
    assert done.interrupted
    assert not done.lost
    *completed, last = done.timings
    assert {timing.status for timing in completed} <= {"completed"}
    assert (last.status, last.reason) in (("cancelled", "interrupted"), ("completed", None))
    assert 1 <= len(done.timings) < 200
    assert measure(target, PROMPTS).timings[1].status == "completed", "it goes on to work"


def stream(model, ids, at_most=40, **options):
    found = []
    model.greedy_each(ids, 40, lambda token: found.append(token) or len(found) < at_most, **options)
    return found


@pytest.mark.parametrize("engine", ["hf", "onnx"])
def test_tokens_are_those_of_the_engine(place, engine):
    """Also past the end of a text, where that is to be ignored."""
    model = hf.load(place / "hf") if engine == "hf" else genai.load(place / "onnx")
    ids = model.tokenizer(TEXT)["input_ids"]
    expected = model.greedy(ids, 40)
    assert len(expected) == 40
    assert stream(model, ids) == expected
    end = expected[6]
    if engine == "hf":
        model.model.generation_config.eos_token_id = [end]
    else:
        other = place / "onnx-ends"
        shutil.copytree(place / "onnx", other)
        settings = json.loads((other / "genai_config.json").read_text())
        settings["model"]["eos_token_id"] = [end]
        (other / "genai_config.json").write_text(json.dumps(settings))
        model = genai.load(other)
    for ignore_eos, wanted in ((True, expected), (False, expected[: expected.index(end) + 1])):
        assert stream(model, ids, ignore_eos=ignore_eos) == wanted
    assert stream(model, ids, at_most=3, ignore_eos=True) == expected[:3]
    assert model.greedy(ids, 40) == expected[: expected.index(end) + 1], "nothing of it stays"


def test_a_process_that_dies_is_lost_and_what_it_did_is_kept(place):
    with open_local(place / "hf", "hf", name="tiny", dtype="auto", device="cpu", log=place / "dies.log") as target:
        before = measure(target, [LONG]).timings[0]
        timer = threading.Timer(2.5 * (before.ended_s - before.sent_s), os.kill, (target.pid, signal.SIGKILL))
        timer.start()
        done = measure(target, [LONG] * 200)
        timer.join()
        assert done.lost
        assert not done.interrupted
        *completed, last = done.timings
        assert {timing.status for timing in completed} <= {"completed"}
        assert last.status == "errored"
        assert last.reason.startswith("the engine's process was ended by SIGKILL")
        assert (last.chunk_s, last.usage_completion_tokens, last.index) == ((), None, len(completed))
        assert last.ended_s >= last.sent_s >= (completed[-1].ended_s if completed else 0)
        again = measure(target, PROMPTS)
        assert (again.timings, again.lost) == ((), True)
    assert not psutil.pid_exists(target.pid)


def test_an_engine_ends_with_its_parent(place, tmp_path):
    program = f"""
import time
from pathlib import Path
from distill_eval.bench.local import open_local
with open_local(Path({str(place / "hf")!r}), "hf", name="tiny", dtype="auto", device="cpu", log=Path("log")) as target:
    print(target.pid, flush=True)
    time.sleep(600)
"""
    parent = subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, stdout=subprocess.PIPE)
    engine = psutil.Process(int(parent.stdout.readline()))
    assert engine.parent().pid == parent.pid
    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + 30
    while engine.is_running() and engine.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the engine's process lives on"
        time.sleep(0.05)


def test_a_folder_that_cannot_be_loaded_says_why(place, tmp_path):
    shutil.copytree(place / "hf", tmp_path / "broken")
    (tmp_path / "broken" / "model.safetensors").write_bytes(b"no weights")
    with (
        pytest.raises(ModelError, match=r"cannot load tiny from .*broken"),
        open_local(tmp_path / "broken", "hf", name="tiny", dtype="auto", device="cpu", log=tmp_path / "log"),
    ):
        pass


def test_classifiers_run_batches_in_their_own_process(tmp_path):
    tiny_classifiers.save(tmp_path / "model", tiny_classifiers.bert(2), labels=["a", "b", "c"])
    texts = [row["text"] for row in tiny_classifiers.make_rows(12)]
    with open_encoder(tmp_path / "model", name="tiny", dtype="auto", device="cpu", log=tmp_path / "log") as target:
        assert (target.what, target.loaded.dtype) == ("BertForSequenceClassification, logits", "float32")
        found = measure_in_turn({"tiny": target}, texts, [1, 5], 1, say=print)
        assert psutil.Process(target.pid).parent().pid == os.getpid()
        os.kill(target.pid, signal.SIGKILL)
        after = measure_in_turn({"tiny": target}, texts, [1], 1, say=print)
    assert str(after.ended).startswith("the engine's process was ended by SIGKILL")
    assert after.results == {"tiny": ()}
    one, five = found.results["tiny"]
    assert (one.batch_ms.num, five.batch_ms.num) == (12, 8)
    assert 0 < one.batch_ms.p50 <= one.batch_ms.p99
    assert one.texts_per_second == pytest.approx(1000 / one.batch_ms.mean)
    assert five.texts_per_second == pytest.approx(5000 / five.batch_ms.mean)
    assert 0 < one.tokenize_share < 1
    assert not psutil.pid_exists(target.pid)


def test_an_encoder_gives_the_mean_of_its_states_over_tokens(tmp_path):
    plain = tiny_classifiers.save(tmp_path / "model", tiny_classifiers.bert(2)).eval()
    tokenizer = tiny_classifiers.make_tokenizer()
    model = HFEncoder(tmp_path / "model")
    assert model.what == "BertModel, mean over tokens"
    encoded = tokenizer(["the red cat", "dog"], padding=True, return_tensors="pt")
    found = model.run(encoded)
    alone = [
        plain(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0) for text in ("the red cat", "dog")
    ]
    assert torch.allclose(found, torch.stack(alone), atol=1e-5)
