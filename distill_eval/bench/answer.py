"""What a streamed answer holds, read after the measurement: pure functions of the bytes and of when they came.

The form is that of OpenAI's streaming interfaces: server-sent events (https://html.spec.whatwg.org, section 9.2), each
with a JSON object, and `[DONE]` at the end.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

_EVENT_END = re.compile(rb"\r?\n\r?\n")
_DONE = "[DONE]"
MAX_MESSAGE = 200


class Answer(NamedTuple):
    """A stream that was read to its end, or as far as it came."""

    chunk_s: tuple[float, ...] = ()
    """When each chunk with a choice was complete."""
    text: str = ""
    usage_prompt_tokens: int | None = None
    usage_completion_tokens: int | None = None
    finish_reason: str | None = None
    fault: str | None = None
    """Why it is no whole answer; `None`: it is."""


class _MalformedError(Exception):
    """Raised for an event that is not of this interface."""


def read_answer(stamps: Sequence[float], reads: Sequence[bytes]) -> Answer:
    """The answer in what was read from the network.

    Args:
        stamps: When each piece was read.
        reads: The pieces, as they came: one may hold several events, and one event may be spread over several.
    """
    chunk_s: list[float] = []
    texts: list[str] = []
    usage: dict[str, Any] = {}
    finish_reason, fault, is_done = None, None, False
    try:
        for stamp, data in _events(stamps, reads):
            if data == _DONE:
                is_done = True
                break
            event = _parsed(data)
            usage = _usage(event) or usage
            choice = _choice(event)
            if choice is not None:
                finish_reason = choice.get("finish_reason") or finish_reason
                if not _is_opening(choice):
                    chunk_s.append(stamp)
                    texts.append(_text(choice))
    except _MalformedError as error:
        fault = str(error)
    found = Answer(
        chunk_s=tuple(chunk_s),
        text="".join(texts),
        usage_prompt_tokens=_count(usage, "prompt_tokens"),
        usage_completion_tokens=_count(usage, "completion_tokens"),
        finish_reason=finish_reason,
    )
    return found._replace(fault=fault or _fault(found, is_done, reads))


def message_of(body: bytes) -> str:
    """The server's own words in the body of an error, its first line, at most 200 characters."""
    text = body.decode("utf-8", "replace")
    with contextlib.suppress(ValueError):
        text = _said(json.loads(text))
    lines = text.strip().splitlines()
    return lines[0].strip()[:MAX_MESSAGE] if lines else ""


def _events(stamps: Sequence[float], reads: Sequence[bytes]) -> Iterator[tuple[float, str]]:
    """The data of each event, with the time of the read that completed it."""
    stream, ends = b"".join(reads), list(accumulate(map(len, reads)))
    begin = place = 0
    for content_end, end in _bounds(stream):
        while ends[place] < end:
            place += 1
        data = _data(stream[begin:content_end])
        if data is not None:
            yield stamps[place], data
        begin = end


def _bounds(stream: bytes) -> Iterator[tuple[int, int]]:
    """Where each event's lines end, and where its blank line does; the last event may lack it."""
    end = 0
    if b"\r" in stream:
        for blank in _EVENT_END.finditer(stream):
            yield blank.span()
            end = blank.end()
    else:  # nearly always, and a search for a constant is quicker
        while (found := stream.find(b"\n\n", end)) >= 0:
            yield found, found + 2
            end = found + 2
    if end < len(stream):
        yield len(stream), len(stream)


def _data(content: bytes) -> str | None:
    """Other lines are comments (servers send them as pings) and fields that say nothing here."""
    if content.startswith(b"data: ") and b"\n" not in content and b"\r" not in content:  # as good as always
        return content[6:].decode("utf-8", "replace")
    lines = content.splitlines()  # of bytes: text has more line ends, which JSON may hold
    data = [line.removeprefix(b"data:").removeprefix(b" ") for line in lines if line.startswith(b"data:")]
    return b"\n".join(data).decode("utf-8", "replace") if data else None


def _parsed(data: str) -> dict[str, Any]:
    try:
        event = json.loads(data)
    except ValueError:
        raise _MalformedError(f"malformed event: {data[:MAX_MESSAGE]!r}") from None
    if not isinstance(event, dict):
        raise _MalformedError(f"malformed event: {data[:MAX_MESSAGE]!r}")
    if event.get("error") is not None or event.get("object") == "error":
        raise _MalformedError(f"the server said: {message_of(data.encode())}")
    return event


def _choice(event: dict[str, Any]) -> dict[str, Any] | None:
    choices = event.get("choices")
    if not choices:  # the event with the usage has none
        return None
    if not isinstance(choices, list) or not isinstance(choices[0], dict):
        raise _MalformedError(f"malformed event: choices {str(choices)[:MAX_MESSAGE]}")
    return choices[0]


def _is_opening(choice: dict[str, Any]) -> bool:
    """Whether it only says who speaks, as the first chunk of a chat does: some servers send it before they compute."""
    delta = choice.get("delta")
    return isinstance(delta, dict) and "role" in delta and not any(delta[key] for key in delta.keys() - {"role"})


def _text(choice: dict[str, Any]) -> str:
    """It may be empty: a special token or half of a character is a token without text."""
    delta = choice.get("delta")
    if isinstance(delta, dict):
        parts = [delta.get("reasoning_content"), delta.get("reasoning"), delta.get("content")]
    else:
        parts = [choice.get("text")]
    return "".join(part for part in parts if isinstance(part, str))


def _usage(event: dict[str, Any]) -> dict[str, Any] | None:
    found = event.get("usage")
    return found if isinstance(found, dict) else None


def _count(usage: dict[str, Any], name: str) -> int | None:
    found = usage.get(name)
    return found if isinstance(found, int) else None


def _fault(found: Answer, is_done: bool, reads: Sequence[bytes]) -> str | None:
    if not found.chunk_s:
        begin = b"".join(reads)[:80].decode("utf-8", "replace")
        return f"no chunk with an answer in the stream, which began {begin!r}" if begin else "an empty answer"
    if not is_done and found.finish_reason is None:
        return "stream ended early"
    if found.finish_reason in ("abort", "error"):
        return f"finish_reason {found.finish_reason}"
    return None


def _said(body: Any) -> str:
    """OpenAI's form {"error": {"message": ...}}, and the shorter ones that servers use instead."""
    for key in ("error", "message", "detail"):
        if isinstance(body, dict) and body.get(key):
            return _said(body[key])
    return body if isinstance(body, str) else json.dumps(body)
