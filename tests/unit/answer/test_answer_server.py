"""The HTTP engine against a server that fails in every way."""

import pytest
from fakes.openai_server import serve

from distill_eval.distill.answer.asking import Sampling
from distill_eval.distill.answer.server import ATTEMPTS, GIVE_UP_AFTER, ServedTeacher
from distill_eval.errors import ModelError, UsageError

GREEDY = Sampling(max_new_tokens=20, temperature=0.0, top_p=1.0, seed=5)
DRAWN = Sampling(max_new_tokens=20, temperature=0.7, top_p=0.9, seed=5)


def user(text):
    return [{"role": "user", "content": text}]


def ask(fake, prompts, *, done=(), waits=None, sampling=GREEDY, teacher="tiny", **options):
    """Answers by number."""
    found = {}

    async def sleep(seconds):
        (waits if waits is not None else []).append(seconds)

    options = {"form": "chat", "max_concurrency": 4, "timeout_s": 5.0, "api_key": None} | options
    engine = ServedTeacher(fake.address, teacher, sampling, sleep=sleep, **options)
    prompts = [user(prompt) if options["form"] == "chat" else prompt for prompt in prompts]
    try:
        engine.answer(prompts, done, found.update)
    finally:
        fake.found = found
    return found


def test_every_prompt_gets_its_own_answer_in_the_form_that_is_asked():
    with serve() as fake:
        found = ask(fake, [f"p{number}" for number in range(30)], done={3, 7})
        assert {number: answer.text for number, answer in found.items()} == {
            number: f"re: p{number}" for number in range(30) if number not in (3, 7)
        }
        assert {(a.kind, a.finish_reason, a.num_prompt_tokens, a.num_answer_tokens) for a in found.values()} == {
            ("completed", "stop", 2, 6),
            ("completed", "stop", 3, 7),
        }
        assert fake.requests["p0"] == [{"model": "tiny", "messages": user("p0"), "max_tokens": 20, "temperature": 0.0}]
    with serve() as fake:
        assert ask(fake, ["once"], form="text")[0].text == "re: once"
        assert fake.requests["once"][0]["prompt"] == "once"


def test_each_sampled_request_has_a_seed_of_its_own_that_does_not_depend_on_the_others():
    with serve() as fake:
        ask(fake, ["same", "same", "same"], sampling=DRAWN)
        ask(fake, ["same", "same", "same"], sampling=DRAWN, done={0, 1})
        bodies = fake.requests["same"]
    assert {body["top_p"] for body in bodies} == {0.9}
    seeds = [body["seed"] for body in bodies]
    assert sorted(seeds[:3]) == sorted(DRAWN.derived_seed(number) for number in range(3))
    assert len(set(seeds[:3])) == 3
    assert seeds[3] == DRAWN.derived_seed(2)
    assert all(0 <= seed < 2**31 for seed in seeds)


@pytest.mark.parametrize(
    ("trouble", "waits"),
    [([500, 503, 502], [1, 2, 4]), ([429], [7]), (["garbage", "no choices"], [1, 2]), (["drop"], [1]), (["hang"], [1])],
)
def test_what_may_pass_is_tried_again_after_a_wait(trouble, waits):
    with serve(trouble={"bad": trouble}) as fake:
        slept = []
        found = ask(fake, ["bad", "good"], waits=slept, timeout_s=0.3)
        assert [found[number].text for number in (0, 1)] == ["re: bad", "re: good"]
        assert slept == waits
        assert len(fake.requests["bad"]) == len(trouble) + 1


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        (500, "status 500: trouble 500"),
        ("garbage", 'not an answer of an OpenAI-compatible server: \'{"choices"'),
        ("hang", "no answer within --timeout-s 0.05"),
        ("drop", "no connection: "),
    ],
)
def test_what_does_not_pass_is_an_error_and_never_an_empty_answer(trouble, reason):
    with serve(trouble={"bad": [trouble, "..."]}) as fake:
        found = ask(fake, ["good", "bad"], timeout_s=0.05 if trouble == "hang" else 5.0)
        assert found[0].kind == "completed"
        assert (found[1].kind, found[1].text) == ("errored", None)
        assert found[1].error.startswith(reason)
        assert found[1].error.endswith(f"({ATTEMPTS} attempts)")
        assert len(fake.requests["bad"]) == ATTEMPTS


def test_a_request_that_is_wrong_in_itself_is_not_tried_again():
    with serve(trouble={"bad": [400, "..."]}) as fake:
        assert ask(fake, ["bad"])[0].error == "status 400: trouble 400"
        assert len(fake.requests["bad"]) == 1


def test_completed_cut_off_empty_and_errored_are_told_apart():
    finish = {
        "a": ("so", "stop"),
        "b": ("so", "length"),
        "c": (" \n", "stop"),
        "d": (None, "length"),
        "e": ("x", "odd"),
    }
    with serve(finish=finish) as fake:
        found = ask(fake, list("abcde"))
    assert [found[number].kind for number in range(5)] == ["completed", "cut_off", "empty", "empty", "errored"]
    assert found[4].error == "finish_reason 'odd': expected stop or length"


def test_half_a_character_does_not_reach_the_disk():
    with serve(finish={"a": ("smile \ud83d", "stop")}) as fake:
        assert ask(fake, ["a"])[0].text == "smile ?"


def test_a_lost_server_ends_the_run_and_what_it_answered_is_kept():
    lost = [f"lost {number}" for number in range(40)]
    with serve(trouble={prompt: [503, "..."] for prompt in lost}) as fake:
        with pytest.raises(
            ModelError, match=f"failed {GIVE_UP_AFTER} requests in a row.*status 503.*same command again"
        ):
            ask(fake, ["good", *lost], max_concurrency=1)
        assert fake.found[0].text == "re: good"
        assert len(fake.found) == 1 + GIVE_UP_AFTER
        assert all(answer.kind == "errored" for number, answer in fake.found.items() if number)


def test_no_more_requests_than_allowed_are_under_way():
    with serve(hold_s=0.02) as fake:
        ask(fake, [f"p{number}" for number in range(20)], max_concurrency=3)
        assert fake.most_at_once == 3


def test_the_teacher_is_the_model_that_the_server_names():
    with serve(models=[{"id": "other"}, {"id": "served", "root": "org/tiny"}]) as fake:
        ask(fake, ["p"], teacher="org/tiny")
        assert fake.requests["p"][0]["model"] == "served"
        with pytest.raises(UsageError, match=r"--teacher wrong: http://127.* serves other, served\. Type --teacher"):
            ask(fake, ["p"], teacher="wrong")


def test_the_key_is_sent_and_a_wrong_one_is_explained():
    with serve(key="s3cret") as fake:
        assert ask(fake, ["p"], api_key="s3cret")[0].text == "re: p"
        with pytest.raises(ModelError, match=r"wants a key \(status 401\).*--api-key-variable") as raised:
            ask(fake, ["p"], api_key="wr0ng")
        assert "wr0ng" not in str(raised.value)


def test_a_server_that_cannot_answer_in_this_form_ends_the_run_at_once():
    with serve(trouble={"p": ["no template", "..."]}) as fake:
        with pytest.raises(ModelError, match=r"does not answer in the form chat .*Type --form text"):
            ask(fake, ["p"])
        assert len(fake.requests["p"]) == 1


def test_no_server_and_no_such_server():
    with serve() as fake:
        address = fake.address
        fake.address = address.removesuffix("/v1")
        with pytest.raises(ModelError, match="does --endpoint end in /v1"):
            ask(fake, ["p"])
    fake.address = address
    with pytest.raises(ModelError, match=r"cannot reach .*/v1/models.*Start the server"):
        ask(fake, ["p"])
