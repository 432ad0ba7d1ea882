"""Classifiers of known speed, measured in turn."""

import pytest

from distill_eval.bench.classify import LEAST_BATCHES, measure_in_turn
from distill_eval.bench.messages import BatchTiming
from distill_eval.errors import ServerError, UsageError

TEXTS = [f"text {number}" for number in range(20)]


class Fake:
    """Takes so many milliseconds per batch and per text, a quarter of them for tokenization."""

    what = "fake, logits"

    def __init__(self, name, calls, per_batch_ms=0.0, per_text_ms=1.0, ends_after=None, error=None):
        self.name, self.calls, self.error, self.left = name, calls, error, ends_after
        self.per_batch_ms, self.per_text_ms = per_batch_ms, per_text_ms

    def measure(self, texts, batch_size, num_batches):
        assert texts == TEXTS
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise self.error
        self.calls.append((self.name, batch_size, num_batches))
        seconds = (self.per_batch_ms + batch_size * self.per_text_ms) / 1e3
        return tuple(BatchTiming(tokenize_s=seconds / 4, seconds=seconds) for _ in range(num_batches))


def test_rates_latencies_and_speedups_are_those_of_the_batches():
    calls, said = [], []
    targets = {"slow": Fake("slow", calls, 6.0, 2.0), "fast": Fake("fast", calls, 3.0, 1.0)}
    found = measure_in_turn(targets, TEXTS, [1, 8], 3, say=said.append)
    assert found.ended is None
    slow, fast = found.results["slow"], found.results["fast"]
    assert [result.batch_size for result in slow] == [1, 8]
    assert [result.texts_per_second for result in slow] == pytest.approx([1000 / 8, 8000 / 22])
    assert [result.texts_per_second for result in fast] == pytest.approx([1000 / 4, 8000 / 11])
    assert [result.batch_ms.p99 for result in fast] == pytest.approx([4.0, 11.0])
    assert [result.batch_ms.num for result in fast] == [3 * 20, 3 * LEAST_BATCHES]
    assert [result.tokenize_share for result in (*slow, *fast)] == pytest.approx([0.25] * 4)
    assert [result.speedup.value for result in fast] == pytest.approx([2.0, 2.0])
    assert [len(result.speedup.pairs) for result in fast] == [3, 3]
    assert [(result.speedup, result.noise.value) for result in slow] == [(None, pytest.approx(1.0))] * 2
    assert [result.noise for result in fast] == [None, None]
    assert said[0] == "repeat 1, batch size 1: slow: 125.0 texts/s"


def test_models_take_turns_and_the_baseline_has_the_last():
    calls = []
    measure_in_turn({"a": Fake("a", calls), "b": Fake("b", calls)}, TEXTS, [32], 2, say=lambda line: None)
    warm = [("a", 32, LEAST_BATCHES)] * 2
    first = [*warm, ("a", 32, 8), *(("b", 32, 8),) * 3, ("a", 32, 8)]
    assert calls == [*first, ("a", 32, 8), ("b", 32, 8), ("a", 32, 8)]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ServerError("gone")])
def test_what_was_measured_before_the_end_is_kept(error):
    calls = []
    targets = {"a": Fake("a", calls, 0, 2.0), "b": Fake("b", calls, ends_after=4, error=error)}
    found = measure_in_turn(targets, TEXTS, [1, 8], 3, say=lambda line: None)
    assert found.ended is error
    assert [result.batch_size for result in found.results["a"]] == [1, 8]
    [result] = found.results["b"]
    assert (result.batch_size, result.speedup.pairs, result.speedup.ci_low) == (1, pytest.approx((2.0,)), None)


def test_no_texts_are_refused():
    with pytest.raises(UsageError, match="no texts to classify"):
        measure_in_turn({"a": Fake("a", [])}, [], [1], 1, say=print)
