"""Latency and memory of one classifier, in a process of its own: options as JSON on stdin, figures as JSON on stdout.

    python -m distill_eval.distill.classifier.probe < options.json

A process that has trained, or has held another model, would have that in its memory and caches.
"""

from __future__ import annotations

import json
import sys
import time
from typing import NamedTuple

import psutil
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

WARM_UP = 10
"""Requests before those that count: the first ones load kernels and allocate."""


class Options(NamedTuple):
    """What to measure."""

    folder: str
    """Of the classifier."""
    texts: list[str]
    """One request each."""
    max_length: int
    """Tokens of a request at most."""
    dtype: str
    """As of `from_pretrained`."""
    device: str


class Probed(NamedTuple):
    """What was measured."""

    latencies_ms: list[float]
    """Of each text, from the text to its label."""
    resident_before_bytes: int
    """Of the process, with its libraries, before the model is loaded."""
    resident_bytes: int
    """After all requests."""
    num_threads: int


def probe(options: Options) -> Probed:
    """Load the model and answer to one text after the other."""
    before = psutil.Process().memory_info().rss
    tokenizer = AutoTokenizer.from_pretrained(options.folder, trust_remote_code=False)
    model = AutoModelForSequenceClassification.from_pretrained(
        options.folder, dtype=options.dtype, use_safetensors=True, trust_remote_code=False
    )
    model = model.to(options.device).eval()

    def answer(text: str) -> int:
        encoded = tokenizer(text, truncation=True, max_length=options.max_length, return_tensors="pt")
        inputs = {name: encoded[name].to(options.device) for name in ("input_ids", "attention_mask")}
        return int(model(**inputs).logits.argmax())

    latencies_ms = []
    with torch.inference_mode():
        for text in options.texts[:WARM_UP]:
            answer(text)
        for text in options.texts:
            began = time.perf_counter()
            answer(text)
            latencies_ms.append(1e3 * (time.perf_counter() - began))
    return Probed(latencies_ms, before, psutil.Process().memory_info().rss, torch.get_num_threads())


if __name__ == "__main__":
    sys.stdout.write(json.dumps(probe(Options(**json.load(sys.stdin)))._asdict()))
