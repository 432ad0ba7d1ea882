"""What a server's log says of why it ended: pure functions of its text."""

from __future__ import annotations

import re

_PREFIX = re.compile(r"^\([A-Za-z_0-9]+ pid=\d+\)\s*")
_LEVEL = re.compile(r"^(?:INFO|WARNING|ERROR|DEBUG)\s[\d\-: ]+(?:\[[^\]]*\])?\s*")
_FRAME = re.compile(r'^\s*(?:File "|Traceback|\^|~|raise |return |await |self\.|[\w.]+ = |with |\.{3})')
_ERROR = re.compile(r"\b\w*(?:Error|Exception)\b(?::|$)|\bstd::bad_alloc\b")

ADVICE = (
    (
        r"No available memory|KV cache is (?:needed|larger)|max seq len .* larger than",
        "Free memory for {max_model_len} tokens of context, or lower max_position_embeddings in its config.json",
    ),
    (r"(?i)out of memory|cannot allocate memory|bad_alloc", "Free memory, or take a smaller model"),
    (r"(?i)address already in use", "Another process took port {port} meanwhile: run the command again"),
    (
        r"torchvision|torchaudio|torchcodec",
        "torchvision, torchaudio or torchcodec does not match torch: pip uninstall them",
    ),
    (
        r"(?i)not supported|unsupported|no module named 'vllm\.|not divisible",
        "vLLM does not serve this model or scheme here: take --engine hf",
    ),
)
"""What the excerpt of a log matches, and what to change then."""


def excerpt(text: str, count: int = 3) -> str:
    """The last lines that tell something: those with an exception if there are any, without frames and prefixes."""
    lines = [_LEVEL.sub("", _PREFIX.sub("", line)).strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not _FRAME.match(line)]
    telling = [line for line in lines if _ERROR.search(line)] or lines
    return " | ".join(list(dict.fromkeys(telling))[-count:])


def advice(said: str, *, max_model_len: int, port: int) -> str:
    """What to change, as far as the lines of `excerpt` tell: those before them may warn of what did no harm."""
    for pattern, words in ADVICE:
        if re.search(pattern, said):
            return words.format(max_model_len=max_model_len, port=port)
    return "Read the log"
