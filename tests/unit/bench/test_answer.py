"""Reading a stream back: which read completed a chunk, and what is wrong with it."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill_eval.bench.answer import message_of, read_answer


def event(body):
    return b"data: " + json.dumps(body, ensure_ascii=False).encode() + b"\n\n"


def token(text, reason=None):
    return event({"choices": [{"text": text, "finish_reason": reason}], "usage": None})


USAGE = event({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 3}})
DONE = b"data: [DONE]\n\n"
WHOLE = [token("a"), token(""), token("c\u2028d", "length"), USAGE, DONE]


def read(*reads):
    return read_answer([float(place) for place in range(len(reads))], list(reads))


def test_one_event_in_each_read():
    answer = read(*WHOLE)
    assert answer.chunk_s == (0.0, 1.0, 2.0)  # the one without text is a token too
    assert answer.text == "ac\u2028d"
    assert (answer.usage_prompt_tokens, answer.usage_completion_tokens) == (5, 3)
    assert (answer.finish_reason, answer.fault) == ("length", None)


def test_several_events_in_one_read():
    assert read(WHOLE[0] + WHOLE[1], WHOLE[2] + USAGE + DONE).chunk_s == (0.0, 0.0, 1.0)


def test_an_event_is_complete_with_the_read_that_ends_it():
    head, tail = WHOLE[1][:-1], WHOLE[1][-1:]  # between the two line ends
    assert read(WHOLE[0], head, tail + WHOLE[2], USAGE + DONE).chunk_s == (0.0, 2.0, 2.0)


@given(st.lists(st.integers(0, len(b"".join(WHOLE))), max_size=12))
def test_however_it_is_cut(cuts):
    """Each chunk's time is that of the first read up to which all of its bytes are there."""
    stream = b"".join(WHOLE)
    ends = sorted({*cuts, len(stream)} - {0})
    pieces = [stream[begin:end] for begin, end in pairwise([0, *ends])]
    answer = read(*pieces)
    chunk_ends = [sum(map(len, WHOLE[: place + 1])) for place in range(3)]
    assert answer.chunk_s == tuple(float(next(i for i, end in enumerate(ends) if end >= stop)) for stop in chunk_ends)
    assert (answer.text, answer.fault) == ("ac\u2028d", None)


def test_other_line_ends_comments_and_fields():
    crlf = b"".join(WHOLE).replace(b"\n", b"\r\n")
    assert read(b": ping\n\n", b"event: token\nid: 7\n" + WHOLE[0], crlf).chunk_s == (1.0, 2.0, 2.0, 2.0)


def test_the_last_event_may_lack_its_blank_line():
    assert read(WHOLE[2], b"data: [DONE]").fault is None


def chat(**delta):
    return event({"choices": [{"delta": delta, "finish_reason": None}]})


def test_who_speaks_is_no_token():
    answer = read(chat(role="assistant", content=""), chat(reasoning_content="hm"), chat(content="yes"), chat(), DONE)
    assert (answer.chunk_s, answer.text) == ((1.0, 2.0, 3.0), "hmyes")


def test_a_role_beside_text_is_a_token():
    assert read(chat(role="assistant", content="yes"), DONE).chunk_s == (0.0,)


@pytest.mark.parametrize(
    ("reads", "fault"),
    [
        ([token("a")], "stream ended early"),
        ([token("a"), token("b")[:12]], "malformed event: '{\"choi'"),
        ([token("a"), b"data: {oops\n\n", DONE], "malformed event: '{oops'"),
        ([b"data: 7\n\n"], "malformed event: '7'"),
        ([event({"choices": "x"})], "malformed event: choices x"),
        ([token("a"), event({"error": {"message": "no\nblocks"}}), DONE], "the server said: no"),
        ([event({"object": "error", "message": "too long", "code": 400})], "the server said: too long"),
        ([DONE], "no chunk with an answer in the stream, which began 'data: [DONE]\\n\\n'"),
        ([b'{"choices": []}'], "no chunk with an answer in the stream, which began '{\"choices\": []}'"),
        ([], "an empty answer"),
        ([token("a", "abort"), DONE], "finish_reason abort"),
    ],
)
def test_faults(reads, fault):
    assert read(*reads).fault == fault


def test_what_came_before_a_fault_is_kept():
    assert read(token("a"), token("b"), b"data: {oops\n\n").chunk_s == (0.0, 1.0)


def test_without_usage_nothing_is_counted():
    assert read(token("a", "stop"), DONE).usage_completion_tokens is None


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error": {"message": "too long", "type": "BadRequest"}}', "too long"),
        (b'{"detail": "Not Found"}', "Not Found"),
        (b'{"error": "busy"}', "busy"),
        (b"<h1>502</h1>\nnginx", "<h1>502</h1>"),
        (b'{"detail": [{"loc": ["body"]}]}', '[{"loc": ["body"]}]'),
        (b"x" * 500, "x" * 200),
        (b"", ""),
    ],
)
def test_the_servers_own_words(body, message):
    assert message_of(body) == message
