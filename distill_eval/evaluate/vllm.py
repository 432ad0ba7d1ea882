"""A vLLM server for one model of an evaluation, as an engine."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill_eval.evaluate.models import ModelFolder
from distill_eval.evaluate.options import EvaluateOptions
from distill_eval.serving.config import ServeConfig, kv_cache_bytes
from distill_eval.serving.log import Hints
from distill_eval.serving.server import free_port, require_installed, serve

if TYPE_CHECKING:
    from distill_eval.evaluate.scorer.served import ServedEngine

NUM_BEHIND = 2
"""Tokens of a request behind those that the model reads: the last target, and the one that vLLM must generate."""
_INSTEAD = "take --engine hf"
_HINTS = Hints(
    length="Free memory for {max_model_len} tokens of context, or lower max_position_embeddings in its config.json",
    memory="Free memory, or take a smaller model",
    unsupported=f"vLLM does not serve this model or scheme here: {_INSTEAD}",
)


@contextmanager
def served(
    folder: ModelFolder, tokenizer: Any, *, dtype: str, device: str, options: EvaluateOptions
) -> Iterator[ServedEngine]:
    """The model in a server that ends with the block; its log stays in the temporary folder when it failed.

    vLLM takes no prompt beyond the model's context, so that of the longest requests two tokens less are read than
    transformers reads.

    Raises:
        ServerError: vLLM is not installed, or does not serve this model.
    """
    import httpx

    from distill_eval.evaluate.harness.engine_lm import context_length
    from distill_eval.evaluate.scorer.served import ServedEngine

    require_installed(_INSTEAD)
    length = context_length(folder.path, tokenizer, trust_remote_code=options.trust_remote_code)
    shape = json.loads((folder.path / "config.json").read_text(encoding="utf-8"))
    config = ServeConfig(
        model=folder.path.resolve(),
        served_name=folder.ref.name,
        port=free_port(),
        max_model_len=length,
        dtype=dtype,
        seed=options.seed,
        device=device,
        eager=device == "cpu",  # compiling takes longer there than most evaluations
        trust_remote_code=options.trust_remote_code,
        kv_cache_bytes=None if device != "cpu" else kv_cache_bytes(shape.get("text_config") or shape, length, dtype),
    )
    handle, name = tempfile.mkstemp(prefix="distill-eval-vllm-", suffix=".log")
    os.close(handle)
    log = Path(name)
    # A proxy of the environment has no way to this machine's loopback.
    with (
        serve(config, log, hints=_HINTS) as endpoint,
        httpx.Client(base_url=endpoint.address, trust_env=False) as client,
    ):
        yield ServedEngine(client, endpoint.model, endpoint.max_model_len - NUM_BEHIND, log)
    log.unlink()  # what went well needs no explanation
