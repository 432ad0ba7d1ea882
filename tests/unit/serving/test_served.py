"""Token requests as completions requests, and the answers read back."""

import json
import threading
import time
from pathlib import Path

import httpx
import pytest

from distill_eval.errors import ModelError, ServerError
from distill_eval.evaluate.scorer.generate import GenerateRequest
from distill_eval.evaluate.scorer.packed import LogLikelihood
from distill_eval.evaluate.scorer.served import MAX_LABELS, ServedEngine, read_score, score_asks
from distill_eval.evaluate.scorer.tree import TokenRequest

# Two options of one token behind (1, 2), one of two tokens, and the same again.
REQUESTS = [
    TokenRequest((1, 2), (7,)),
    TokenRequest((1, 2), (8,)),
    TokenRequest((1, 2, 5), (5, 6)),
    TokenRequest((1, 2, 5), (5, 6)),
]


def answer(body):
    """As vLLM 0.32 answers: a token's log-probability is minus a hundredth of its id, 5 and 8 are the most likely."""
    if "logprob_token_ids" in body:
        top = {f"token_id:{token}": -token / 100 for token in [*body["logprob_token_ids"], 8]}
        choice = {"logprobs": {"tokens": ["token_id:8"], "top_logprobs": [top]}}
    elif "prompt_logprobs" in body:
        rows = [{str(t): {"logprob": -t / 100, "rank": 1 if t == 5 else 3}} for t in body["prompt"][1:]]
        choice = {"prompt_logprobs": [None, *rows]}
    else:
        choice = {"token_ids": [*body["prompt"][::-1]]}
    return {"choices": [choice]}


def engine(handler):
    client = httpx.Client(base_url="http://test", transport=httpx.MockTransport(handler))
    return ServedEngine(client, "m", 100, Path("/logs/serve.log"))


def test_each_context_and_each_longer_option_is_sent_once():
    asks = score_asks(REQUESTS, frozenset())
    assert [ask.indices for ask in asks] == [(0, 1), (2, 3)]
    labels, text = (ask.body for ask in asks)
    assert (labels["prompt"], labels["logprob_token_ids"], labels["max_tokens"]) == ([1, 2], [7, 8], 1)
    assert (text["prompt"], text["prompt_logprobs"]) == ([1, 2, 5, 6], 0)
    assert [ask.indices for ask in score_asks(REQUESTS, frozenset({0, 2, 3}))] == [(1,)]


def test_more_labels_than_the_server_takes_are_split():
    asks = score_asks([TokenRequest((1,), (token,)) for token in range(300)], frozenset())
    assert [len(ask.body["logprob_token_ids"]) for ask in asks] == [MAX_LABELS, MAX_LABELS, 44]


def test_scores_come_back_for_every_request():
    sent = []

    def handler(request):
        sent.append(json.loads(request.content))
        return httpx.Response(200, json=answer(sent[-1]))

    found, seen = {}, []
    engine(handler).score(REQUESTS, done=frozenset({1}), on_scores=found.update, on_tokens=lambda *n: seen.append(n))
    assert found == {
        0: LogLikelihood(-0.07, False),
        2: LogLikelihood(pytest.approx(-0.11), False),
        3: LogLikelihood(pytest.approx(-0.11), False),
    }
    assert seen[-1] == (10, 10)
    assert {body["model"] for body in sent} == {"m"}


def test_greedy_flags():
    label = answer({"logprob_token_ids": [7, 8]})["choices"][0]
    assert read_score(label, TokenRequest((1,), (8,))) == LogLikelihood(-0.08, True)
    text = answer({"prompt": [1, 5, 5], "prompt_logprobs": 0})["choices"][0]
    assert read_score(text, TokenRequest((1, 5), (5, 5))) == LogLikelihood(-0.1, True)


def test_generated_tokens():
    bodies, found = [], {}

    def handler(request):
        bodies.append(json.loads(request.content))
        return httpx.Response(200, json=answer(bodies[-1]))

    request = GenerateRequest((3, 4), ("\n",), 5)
    engine(handler).generate([request, request], done=frozenset({1}), on_batch=found.update)
    assert found == {0: [4, 3]}
    assert [(body["stop"], body["max_tokens"], body["temperature"]) for body in bodies] == [(["\n"], 5, 0.0)]


def lost(request):
    raise httpx.ConnectError("refused")


@pytest.mark.parametrize(
    ("handler", "said"),
    [
        (lambda request: httpx.Response(400, text="too long"), "http://test answered 400: too long"),
        (lambda request: httpx.Response(200, text="no JSON"), "answered without a choice: no JSON"),
        (lambda request: httpx.Response(200, json={"choices": []}), "answered without a choice"),
        (lost, "does not answer any more (ConnectError)"),
    ],
)
def test_a_server_that_fails_is_no_wrong_answer(handler, said):
    with pytest.raises(ServerError) as raised:
        engine(handler).score(REQUESTS[:1], done=frozenset(), on_scores=pytest.fail, on_tokens=pytest.fail)
    assert said in str(raised.value)
    assert str(raised.value).endswith("Log: /logs/serve.log")


def test_an_answer_without_what_was_asked_for_is_no_score():
    with pytest.raises(ModelError, match="lacks a log-probability"):
        engine(lambda request: httpx.Response(200, json={"choices": [{"logprobs": None}]})).score(
            REQUESTS[:1], done=frozenset(), on_scores=pytest.fail, on_tokens=pytest.fail
        )


def test_a_failure_does_not_wait_for_what_is_in_flight():
    flies, may_land = threading.Event(), threading.Event()

    def handler(request):
        if "prompt_logprobs" in json.loads(request.content):
            flies.set()
            may_land.wait(30)
            return httpx.Response(200, json=answer(json.loads(request.content)))
        flies.wait(30)
        return httpx.Response(500, text="broken")

    begin = time.monotonic()
    with pytest.raises(ServerError, match="broken"):
        engine(handler).score(REQUESTS, done=frozenset(), on_scores=pytest.fail, on_tokens=pytest.fail)
    assert time.monotonic() - begin < 10
    may_land.set()
