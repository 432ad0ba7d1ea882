"""What a score depends on: the key of the evaluation cache, and the manifest that decides what is comparable."""

from __future__ import annotations

from typing import Any

from distill_eval.evaluate import models
from distill_eval.evaluate.options import EvaluateOptions
from distill_eval.provenance import engine_version, package_version, unpacking_version
from distill_eval.schema.evals import Manifest

FORMAT = 3
"""Counted up when the scorer or what is kept changes so that older results must not be used."""


ENGINES = {"hf": "transformers", "onnx": "onnxruntime-genai", "vllm": "vllm"}
"""The engines by the names of their projects."""


def identity(folder: models.ModelFolder, template: str | None, options: EvaluateOptions, device: str) -> dict[str, Any]:
    """Everything that can change a score besides the task and its prompts.

    Args:
        folder: The model, known by the content of its files.
        template: SHA-256 of the chat template that is applied, if one is.
        options: How to score.
        device: `cpu` or `cuda[:n]`; the number does not matter.
    """
    return {
        "distill_eval": package_version("distill-eval"),
        "format": FORMAT,
        "weights": folder.weights_digest,
        "tokenizer": folder.tokenizer_digest,
        "dtype": models.resolve_dtype(folder, options.dtype),
        "device": device.partition(":")[0],
        "engine": ENGINES[folder.engine],
        "engine_version": engine_version(folder.engine),
        "unpacked_by": unpacking_version(folder.path) if folder.engine == "hf" else None,
        "lm_eval": package_version("lm_eval"),
        "scorer": options.scorer,
        "batch_tokens": options.batch_tokens,
        "num_fewshot": options.num_fewshot,
        "limit": options.limit,
        "seed": options.seed,
        "chat_template": template,
    }


def manifest(known: dict[str, Any], options: EvaluateOptions) -> Manifest:
    """The identity as an artifact's manifest."""
    return Manifest(
        limit=options.limit,
        num_fewshot=options.num_fewshot,
        seed=options.seed,
        apply_chat_template=options.apply_chat_template,
        chat_template_digest=known["chat_template"],
        engine=known["engine"],
        engine_version=known["engine_version"],
        lm_eval_version=known["lm_eval"],
        dtype=known["dtype"],
        device=known["device"],
        batch_tokens=options.batch_tokens,
        scorer=options.scorer,
    )
