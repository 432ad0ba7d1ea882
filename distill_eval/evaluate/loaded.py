"""A model that is loaded when it is first needed, and its chat template."""

from __future__ import annotations

import gc
import hashlib
import json
from contextlib import ExitStack
from typing import Any

from distill_eval.errors import ModelError, boundary
from distill_eval.evaluate import models
from distill_eval.evaluate.facts import read_facts
from distill_eval.evaluate.options import EvaluateOptions
from distill_eval.schema.model import ModelFacts


class LazyModel:
    """A model that is loaded when the first uncached task needs it."""

    def __init__(self, folder: models.ModelFolder, options: EvaluateOptions, device: str) -> None:
        self.folder = folder
        self.options = options
        self._device = device
        self._lm: Any = None
        self._open = ExitStack()

    def get(self) -> Any:
        """What lm-eval asks: a `SharedPrefixLM`, or an `EngineLM`."""
        if self._lm is None:
            opened = {"hf": self._open_hf, "onnx": self._open_onnx, "vllm": self._open_vllm}[self.folder.engine]
            self._lm = opened(models.resolve_dtype(self.folder, self.options.dtype))
        return self._lm

    def _open_hf(self, dtype: str) -> Any:
        from distill_eval.evaluate.harness.lm import SharedPrefixLM

        o = self.options
        model, tokenizer = models.load(
            self.folder, dtype=dtype, device=self._device, trust_remote_code=o.trust_remote_code
        )
        return SharedPrefixLM(model, tokenizer, scorer=o.scorer, batch_tokens=o.batch_tokens, seed=o.seed)

    def _open_onnx(self, dtype: str) -> Any:
        del dtype  # the graph has its own
        from distill_eval.engine import genai
        from distill_eval.evaluate.harness.engine_lm import EngineLM
        from distill_eval.evaluate.scorer.onnx import OnnxEngine

        model = genai.load(self.folder.path)
        return EngineLM(OnnxEngine(model, model.max_length), model.tokenizer)

    def _open_vllm(self, dtype: str) -> Any:
        from distill_eval.evaluate.harness.engine_lm import EngineLM
        from distill_eval.evaluate.vllm import served

        tokenizer = _tokenizer(self.folder, self.options)
        engine = self._open.enter_context(
            served(self.folder, tokenizer, dtype=dtype, device=self._device, options=self.options)
        )
        return EngineLM(engine, tokenizer)

    def facts(self) -> ModelFacts:
        """Facts of the loaded model."""
        dtype, length = models.resolve_dtype(self.folder, self.options.dtype), int(self.get().max_length)
        return read_facts(self.folder, dtype=dtype, max_length=length, trust_remote_code=self.options.trust_remote_code)

    def release(self) -> None:
        """Give the model's memory back, and end its server, so that the next model finds room."""
        self._lm = None
        self._open.close()
        gc.collect()


def chat_template(folder: models.ModelFolder, options: EvaluateOptions) -> str:
    """SHA-256 of the model's chat template.

    Raises:
        ModelError: its tokenizer cannot be loaded, or has none.
    """
    template = _tokenizer(folder, options).chat_template
    if not template:
        raise ModelError(f"{folder.ref} has no chat template in its tokenizer; run without --apply-chat-template")
    return hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()


def chat_renderer(folder: models.ModelFolder, options: EvaluateOptions) -> Any:
    """What lm-eval calls to turn a conversation into text: the same rules as `HFLM.apply_chat_template`."""
    from distill_eval.evaluate.harness.chat import ChatRenderer

    return ChatRenderer(_tokenizer(folder, options))


def _tokenizer(folder: models.ModelFolder, options: EvaluateOptions) -> Any:
    from transformers import AutoTokenizer

    with boundary(ModelError, f"cannot load the tokenizer of {folder.ref}"):
        return AutoTokenizer.from_pretrained(folder.path, trust_remote_code=options.trust_remote_code)
