"""What a server's log says of it, and of why it ended: pure functions of its text."""

from __future__ import annotations

import re
from typing import NamedTuple

_PREFIX = re.compile(r"^\([A-Za-z_0-9]+ pid=\d+\)\s*")
_LEVEL = re.compile(r"^(?:INFO|WARNING|ERROR|DEBUG)\s[\d\-: ]+(?:\[[^\]]*\])?\s*")
_WARNING = re.compile(r"^WARNING\s|Warning: ")
_FRAME = re.compile(r'^\s*(?:File "|Traceback|\^|~|raise |return |await |self\.|[\w.]+ = |with |\.{3})')
_ERROR = re.compile(r"\b\w*(?:Error|Exception)\b(?::|$)|\bstd::bad_alloc\b|^Value error, |: error: ")
_DTYPE = re.compile(r"Initializing a V1 LLM engine .*?dtype=torch\.(\w+)")
_SECOND = re.compile(r"(?:root cause|stack trace) (?:above|for root cause)")
"""What the process that is asked says of the one that failed."""
_LEAKS = re.compile(r"nanobind|leaked|skipped remainder|resource_tracker|warnings\.warn")
"""What libraries say of themselves after the end."""
LINE_LENGTH, ERROR_LENGTH = 100, 300


class Hints(NamedTuple):
    """What to change, in the options of whoever starts the server; `{max_model_len}` is filled in."""

    length: str = "Lower --max-model-len (now {max_model_len}), or give keys and values more room with --kv-cache-gb"
    memory: str = "Free memory, lower --kv-cache-gb or --max-model-len (now {max_model_len}), or take a smaller model"
    unsupported: str = (
        "vLLM does not serve this model or scheme here: `distill-eval bench --engine hf` runs it in its own process"
    )


_UNSUPPORTED = (
    r"(?i)not supported|unsupported|does not recognize|unknown quant|failed to find a kernel|not divisible|"
    r"no module named 'vllm\."
)
_ADVICE = (
    (r"less than (?:requested|desired)|gpu_memory_utilization.*free memory", "memory"),
    (
        r"No available memory|KV cache is (?:needed|larger)|max seq len .* larger than|max_model_len .* greater than",
        "length",
    ),
    (r"(?i)out of memory|cannot allocate memory|bad_alloc", "memory"),
    (r"(?i)address already in use", "Another process took port {port} meanwhile: run the command again"),
    (
        r"torchvision|torchaudio|torchcodec",
        "torchvision, torchaudio or torchcodec does not match torch: pip uninstall them",
    ),
    (r"unrecognized arguments|invalid .* value|expected one argument", "vLLM does not take these words behind --"),
    (_UNSUPPORTED, "unsupported"),
)
"""What the excerpt of a log matches, and what to change then: a field of `Hints`, or words that fit every caller."""


def excerpt(text: str, count: int = 3) -> str:
    """The last lines that tell something: those with an exception if there are any, without frames and prefixes."""
    lines = [line for line in _lines(text) if not _FRAME.match(line)]
    errors = [line for line in lines if _ERROR.search(line) and not _WARNING.search(line)]
    roots = [line for line in errors if not _SECOND.search(line)]
    found = list(dict.fromkeys(map(_bare, roots or errors or lines)))
    return " | ".join(_short(line, ERROR_LENGTH) for line in found[-count:])


def last_line(text: str) -> str:
    """What a server that starts is at, in at most `LINE_LENGTH` characters; empty when it has said nothing yet."""
    said = (line for line in reversed(_lines(text)) if _LEVEL.match(line) and not _WARNING.match(line))
    found = next((_bare(line) for line in said if _bare(line).isascii() and _bare(line)), "")
    return _short(found, LINE_LENGTH)


def dtype(text: str) -> str | None:
    """What the engine says that it computes in, e.g. `bfloat16`."""
    found = _DTYPE.search(text)
    return found[1] if found else None


def advice(said: str, *, max_model_len: int, port: int, hints: Hints) -> str:
    """What to change, as far as the lines of `excerpt` tell: those before them may warn of what did no harm."""
    own = {"length": hints.length, "memory": hints.memory, "unsupported": hints.unsupported}
    for pattern, words in _ADVICE:
        if re.search(pattern, said):
            return own.get(words, words).format(max_model_len=max_model_len, port=port)
    return "Read the log"


def _lines(text: str) -> list[str]:
    """Lines without the process that wrote them."""
    lines = [_PREFIX.sub("", line).strip() for line in text.splitlines()]
    return [line for line in lines if line and not _LEAKS.search(line)]


def _bare(line: str) -> str:
    return _LEVEL.sub("", line).strip()


def _short(line: str, length: int) -> str:
    return line if len(line) <= length else line[: length - 3] + "..."
