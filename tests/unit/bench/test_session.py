"""A benchmark as it goes, on targets with a known speed."""

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from distill_eval.bench.assemble import assemble, benched
from distill_eval.bench.entries import Entry
from distill_eval.bench.plan import turns
from distill_eval.bench.pool import Facts, Pool, Running
from distill_eval.bench.session import Ended, Session, SweepRule
from distill_eval.bench.target import Measured, Rules
from distill_eval.errors import ModelError
from distill_eval.schema.bench import BenchRun, PromptSource
from distill_eval.schema.retention import Provenance
from distill_eval.schema.timing import Load, Prompt, RequestTiming

ONE, FOUR = Load(kind="closed", concurrency=1), Load(kind="closed", concurrency=4)
NUM_TOKENS = 10


class FakeTarget:
    """Answers with a set time per token, one request after the other, on a clock of its own."""

    def __init__(self, tpot_s, *, capacity=None, fail_at=None, slow_starts=0):
        self.tpot_s, self.capacity, self.fail_at, self.slow_starts = tpot_s, capacity, fail_at, slow_starts
        self.now, self.seen = 0.0, []

    def measure(self, load, prompts, rules, *, window, zero, seed):
        self.seen.append((window, load, [prompt.text for prompt in prompts], seed))
        pace = self.tpot_s * (4 if self.slow_starts > 0 else 1)
        self.slow_starts -= 1
        if self.capacity is not None and (load.request_rate or 0) > self.capacity:
            pace = 1.0
        began, timings = self.now, []
        for index, prompt in enumerate(prompts):
            lost = self.fail_at == (window, index)
            stamps = tuple(self.now + pace * (1 + token) for token in range(prompt.max_tokens))
            timings.append(timing(window, index, self.now, () if lost else stamps, "errored" if lost else "completed"))
            self.now = stamps[-1]
            if lost:
                return Measured(tuple(timings), began, self.now, 0.1, 0.2, interrupted=False, lost=True)
        return Measured(tuple(timings), began, self.now, 0.1, 0.2, interrupted=False, lost=False)


class FakeMeter:
    """Two joules a block: it is read when the block begins, and when it ends."""

    joules, reason = None, None

    def read(self):
        self.joules = 0.0 if self.joules is None else 2.0


def timing(window, index, sent, stamps, status):
    return RequestTiming(
        window=window, index=index, scheduled_s=None, sent_s=sent, chunk_s=stamps,
        ended_s=stamps[-1] if stamps else sent, status=status, reason=None if stamps else "connection closed",
        num_tries=1, max_tokens=NUM_TOKENS, num_prompt_tokens=8, usage_prompt_tokens=8,
        usage_completion_tokens=len(stamps) or None, text_tokens=None, finish_reason="length" if stamps else None,
    )  # fmt: skip


def entry(name):
    return Entry(name, f"org/{name}", "vllm", Path(name), None, prefix_caching=False)


class House:
    """Opens models, and notes what runs."""

    def __init__(self, **targets):
        self.targets, self.log, self.running = targets, [], set()

    @contextmanager
    def open(self, one):
        self.log.append(f"start {one.name}")
        self.running.add(one.name)
        try:
            yield Running(self.targets[one.name], Facts("vllm", device="cpu", rest_bytes=100), lambda: 200)
        finally:
            self.running.discard(one.name)
            self.log.append(f"end {one.name}")


def draw(load, turn):
    return [Prompt(text=f"{load.label} {turn} {num}", num_tokens=8, max_tokens=NUM_TOKENS) for num in range(6)]


def make_session(house, pool, kept, said=None):
    return Session(
        [entry(name) for name in house.targets], pool, draw, Rules(), seed=0, meter=FakeMeter, keep=kept.append,
        say=(said if said is not None else []).append,
    )  # fmt: skip


def frame(house, loads, pool):
    return BenchRun(
        models=tuple(benched(entry(name), facts, pool.peaks.get(name)) for name, facts in pool.facts.items()),
        loads=loads, num_repeats=3,
        prompts=PromptSource(kind="random", num_prompts=6, num_prompt_tokens=(8, 8), max_tokens=(10, 10),
                             ignore_eos=True, seed=0, digest=""),
        goodput={}, noise=(), findings=(), complete=True,
        provenance=Provenance(command="", versions={}, hardware="", git_commit=None),
    )  # fmt: skip


def test_twice_as_fast_comes_out_as_two():
    house, kept = House(teacher=FakeTarget(0.02), student=FakeTarget(0.01)), []
    with Pool(house.open, together=True) as pool:
        session = make_session(house, pool, kept)
        session.measure(turns(2, (ONE, FOUR), 3, together=True), (ONE, FOUR))
    run = assemble(frame(house, (ONE, FOUR), pool), session.raw)
    teacher, student = run.models
    found = student.results[0].output_throughput_speedup
    assert found.value == pytest.approx(2.0)
    assert (found.ci_low, found.ci_high) == (pytest.approx(2.0), pytest.approx(2.0))
    assert student.results[1].tpot_speedup.value == pytest.approx(2.0)
    assert teacher.results[0].output_throughput_speedup is None
    assert teacher.results[0].metrics.num_completed == 18
    assert teacher.results[0].metrics.tpot_ms.p50 == pytest.approx(20.0)
    assert [noise.ratio.value for noise in run.noise] == [pytest.approx(1.0)] * 2
    assert (student.memory.rest_bytes, student.memory.peak_bytes) == (100, 200)
    assert house.running == set()


def test_all_models_get_the_same_prompts_and_each_repeat_fresh_ones():
    house = House(teacher=FakeTarget(0.02), student=FakeTarget(0.01))
    with Pool(house.open, together=True) as pool:
        make_session(house, pool, []).measure(turns(2, (ONE,), 2, together=True), (ONE,))
    teacher, student = ([(texts, seed) for _, _, texts, seed in house.targets[name].seen] for name in house.targets)
    ours = [one for one in teacher if len(one[0]) == 6]
    assert ours[::2] == [one for one in student if len(one[0]) == 6]
    assert "again" in ours[1][0][0]  # the second turn of the baseline has prompts of its own
    assert len({tuple(texts) for texts, _ in student}) == len(student)  # warm-up included


def test_everything_is_kept_after_every_window():
    house, kept = House(teacher=FakeTarget(0.02)), []
    with Pool(house.open, together=True) as pool:
        session = make_session(house, pool, kept)
        session.measure(turns(1, (ONE,), 2, together=True), (ONE,))
    assert len(kept) == len(session.windows)
    assert session.windows[-1].again


def test_warm_up_goes_on_until_it_is_steady_and_counts_for_nothing():
    house = House(teacher=FakeTarget(0.02, slow_starts=1))
    with Pool(house.open, together=True) as pool:
        session = make_session(house, pool, [])
        session.measure(turns(1, (ONE,), 1, together=True), (ONE,))
    assert [window.phase for window in session.windows] == ["warmup"] * 3 + ["measured"] * 2  # slow, fast, fast
    run = assemble(frame(house, (ONE,), pool), session.raw)
    assert run.models[0].results[0].metrics.num_completed == 6


def test_a_server_that_was_started_again_is_warmed_up_again():
    house = House(teacher=FakeTarget(0.02), student=FakeTarget(0.01))
    with Pool(house.open, together=False) as pool:
        session = make_session(house, pool, [])
        session.measure(turns(2, (ONE,), 3, together=False), (ONE,))
        starts = dict(pool.num_starts)
    for name, num in starts.items():
        warm = [window for window in session.windows if window.model == name and window.phase == "warmup"]
        assert len(warm) == 2 * num


def test_a_window_that_was_cut_short_takes_nothing_from_the_others():
    house = House(teacher=FakeTarget(0.02), student=FakeTarget(0.01, fail_at=(14, 2)))
    with Pool(house.open, together=True) as pool:
        session = make_session(house, pool, [])
        with pytest.raises(Ended):
            session.measure(turns(2, (ONE,), 5, together=True), (ONE,))
    assert not session.windows[-1].complete
    run = assemble(frame(house, (ONE,), pool), session.raw)
    found = run.models[1].results[0]
    assert found.output_throughput_speedup.pairs == (pytest.approx(2.0),) * 3
    assert found.metrics.num_errored == 1
    assert found.metrics.output_throughput == pytest.approx(100.0)


def test_servers_in_turn_run_one_at_a_time():
    house = House(teacher=FakeTarget(0.02), student=FakeTarget(0.01))
    with Pool(house.open, together=False) as pool:
        make_session(house, pool, []).measure(turns(2, (ONE,), 2, together=False), (ONE,))
    assert house.log == [
        f"{what} {name}"
        for name in ("teacher", "student", "teacher", "student", "teacher")  # the baseline closes a repeat
        for what in ("start", "end")
    ]


def test_a_lost_server_ends_the_run_with_what_it_has():
    house, kept = House(teacher=FakeTarget(0.02), student=FakeTarget(0.01, fail_at=(5, 2))), []
    with Pool(house.open, together=True) as pool:
        session = make_session(house, pool, kept)
        with pytest.raises(Ended, match="student at concurrency 1: the server is gone"):
            session.measure(turns(2, (ONE,), 3, together=True), (ONE,))
    run = assemble(replace(frame(house, (ONE,), pool), complete=False), session.raw)
    lost = run.models[1].results[0].metrics
    assert (lost.num_completed, lost.num_errored) == (2, 1)
    assert lost.reasons == {"connection closed": 1}
    assert "student at concurrency 1: 1 of 3 requests did not complete (connection closed: 1)" in run.findings
    assert kept[-1].windows == session.windows
    assert house.running == set()


def test_one_that_does_not_start_leaves_none_running():
    class Refusing(House):
        @contextmanager
        def open(self, one):
            if one.name == "student":
                raise ModelError("no such model")
            with super().open(one) as found:
                yield found

    house = Refusing(teacher=FakeTarget(0.02), student=FakeTarget(0.01))
    with pytest.raises(ModelError), Pool(house.open, together=True) as pool:
        make_session(house, pool, []).measure(turns(2, (ONE,), 1, together=True), (ONE,))
    assert house.running == set()


def test_a_sweep_finds_what_the_server_can_do():
    house = House(teacher=FakeTarget(0.04, capacity=3.0))
    rule = SweepRule(lambda rate: Load(kind="open", request_rate=rate), {"tpot": 50.0}, 0.95)
    with Pool(house.open, together=True) as pool:
        session = make_session(house, pool, [])
        session.sweep(entry("teacher"), rule)
    found = session.sweeps["teacher"]
    assert found.highest_rate <= 3.0 < found.lowest_failed <= 1.1 * found.highest_rate
    assert [one.good_share for one in found.tried if one.request_rate > 3.0] == [0.0] * sum(
        one.request_rate > 3.0 for one in found.tried
    )


def test_a_sweep_ends_at_once_where_one_stream_is_too_slow():
    house = House(teacher=FakeTarget(0.1))
    rule = SweepRule(lambda rate: Load(kind="open", request_rate=rate), {"tpot": 50.0}, 0.95)
    with Pool(house.open, together=True) as pool:
        session = make_session(house, pool, [])
        session.sweep(entry("teacher"), rule)
    found = session.sweeps["teacher"]
    assert (found.highest_rate, len(found.tried)) == (None, 1)
    assert found.tried[0].request_rate == pytest.approx(1.0)  # ten tokens of 0.1 s
    assert not any(window.phase == "measured" for window in session.windows)


def test_energy_is_that_of_the_measured_windows():
    house = House(teacher=FakeTarget(0.02), student=FakeTarget(0.01))
    with Pool(house.open, together=True) as pool:
        session = make_session(house, pool, [])
        session.measure(turns(2, (ONE, FOUR), 3, together=True), (ONE, FOUR))
    assert {name: one.joules for name, one in session.energy.items()} == {"teacher": 12.0, "student": 12.0}
