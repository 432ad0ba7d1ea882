"""Configs of well-known teachers that come with the package, for those that are gated and for machines without a Hub.

The files in `configs/` hold what the published config.json says of sizes, each with the address where it can be read.
Token ids are left out, so that one file stands for a base model and its instruct version; BERT and DistilBERT are
published as masked language models and stand here as classifiers of two labels, which is what their students are.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from distill_eval.schema.model import ModelRef

PUBLISHED: dict[str, str] = {
    "HuggingFaceTB/SmolLM2-135M": "smollm2-135m",
    "HuggingFaceTB/SmolLM2-135M-Instruct": "smollm2-135m",
    "meta-llama/Llama-3.2-1B": "llama-3.2-1b",
    "meta-llama/Llama-3.2-1B-Instruct": "llama-3.2-1b",
    "meta-llama/Llama-3.1-8B": "llama-3.1-8b",
    "meta-llama/Llama-3.1-8B-Instruct": "llama-3.1-8b",
    "meta-llama/Llama-3.1-70B": "llama-3.1-70b",
    "meta-llama/Llama-3.1-70B-Instruct": "llama-3.1-70b",
    "Qwen/Qwen2.5-1.5B": "qwen2.5-1.5b",
    "Qwen/Qwen2.5-7B": "qwen2.5-7b",
    "google/gemma-3-1b-pt": "gemma-3-1b",
    "google/gemma-3-1b-it": "gemma-3-1b",
    "google-bert/bert-base-uncased": "bert-base-uncased",
    "google-bert/bert-large-uncased": "bert-large-uncased",
    "distilbert/distilbert-base-uncased": "distilbert-base-uncased",
}
"""Hub name to file."""


def published(name: str) -> tuple[Any, str] | None:
    """The transformers config of a well-known model and the address that it was read at; `None` for any other.

    Args:
        name: Its Hub name, perhaps with a revision, or the last part of it, in whatever case.
    """
    from transformers import CONFIG_MAPPING

    files = {_last(known): file for known, file in PUBLISHED.items()}
    file = files.get(_last(ModelRef.parse(name).name))
    if file is None:
        return None
    fields = json.loads((Path(__file__).parent / "configs" / f"{file}.json").read_text(encoding="utf-8"))
    source = fields.pop("_source")
    return CONFIG_MAPPING[fields["model_type"]].from_dict(fields), source


def _last(name: str) -> str:
    return name.rpartition("/")[2].lower()
