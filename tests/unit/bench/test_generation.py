"""A request to an engine that gives known tokens."""

import time
from itertools import pairwise

import pytest

from distill_eval.bench.generation import answer
from distill_eval.bench.messages import Generate
from distill_eval.errors import ModelError
from distill_eval.schema.timing import Prompt

STEP_S = 0.01


class Steady:
    """A token every hundredth of a second; a text of its own length ends after `num_own` tokens."""

    max_length = 100

    def __init__(self, num_own=5, error=None):
        self.num_own, self.error = num_own, error

    def tokenizer(self, text, **options):
        return {"input_ids": list(text)}

    def greedy_each(self, ids, num_tokens, each, *, ignore_eos=False):
        for number in range(num_tokens if ignore_eos else min(num_tokens, self.num_own)):
            time.sleep(STEP_S)
            if not each(number):
                return
        if self.error is not None:
            raise self.error


def ask(model, *, max_tokens=8, ignore_eos=True, timeout_s=60.0, is_interrupted=lambda: False):
    prompts = (
        Prompt(text="abc", num_tokens=4, max_tokens=1),
        Prompt(text="abcde", num_tokens=6, max_tokens=max_tokens),
    )
    job = Generate(prompts=prompts, ignore_eos=ignore_eos, timeout_s=timeout_s, window=7, zero=time.perf_counter())
    return answer(model, job, 1, is_interrupted)


def test_every_token_is_timed_from_the_send():
    found = ask(Steady())
    assert (found.status, found.reason, found.finish_reason) == ("completed", None, "length")
    assert (found.window, found.index, found.max_tokens, found.num_prompt_tokens) == (7, 1, 8, 6)
    assert (found.usage_prompt_tokens, found.usage_completion_tokens, len(found.chunk_s)) == (5, 8, 8)
    moments = [found.sent_s, *found.chunk_s]
    gaps = [after - before for before, after in pairwise(moments)]
    assert min(gaps) >= STEP_S
    assert 0 <= found.sent_s < found.ended_s
    assert found.chunk_s[-1] <= found.ended_s


@pytest.mark.parametrize(("ignore_eos", "finish", "num"), [(True, "length", 8), (False, "stop", 5)])
def test_an_answer_ends_by_itself_where_it_may(ignore_eos, finish, num):
    found = ask(Steady(), ignore_eos=ignore_eos)
    assert (found.status, found.finish_reason, found.usage_completion_tokens) == ("completed", finish, num)


def test_the_time_limit_ends_a_request_behind_the_token_that_passes_it():
    found = ask(Steady(), max_tokens=1000, timeout_s=5.5 * STEP_S)
    assert (found.status, found.reason) == ("cancelled", "time limit of 0.055 s")
    assert found.finish_reason is None
    assert 1 <= len(found.chunk_s) <= 6
    assert found.chunk_s[-1] - found.sent_s >= 5.5 * STEP_S


def test_an_interrupted_request_keeps_its_tokens():
    asked = iter([False, False, True])
    found = ask(Steady(), is_interrupted=lambda: next(asked))
    assert (found.status, found.reason, len(found.chunk_s)) == ("cancelled", "interrupted", 3)


def test_the_last_token_completes_a_request_whatever_comes_with_it():
    found = ask(Steady(), max_tokens=2, timeout_s=1.5 * STEP_S)
    assert (found.status, len(found.chunk_s)) == ("completed", 2)


def test_an_engine_that_fails_has_errored():
    found = ask(Steady(error=ModelError("it does not fit " + "x" * 300)))
    assert (found.status, found.reason) == ("errored", "it does not fit " + "x" * 184)
    silent = ask(Steady(num_own=0), ignore_eos=False)
    assert (silent.status, silent.reason) == ("errored", "no token came")
