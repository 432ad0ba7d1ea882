"""A model that is loaded when it is first needed, and its chat template."""

from __future__ import annotations

import gc
import hashlib
import json
from typing import Any

from distill_eval.errors import ModelError, boundary
from distill_eval.evaluate import models
from distill_eval.evaluate.options import EvaluateOptions
from distill_eval.schema.model import ModelFacts


class LazyModel:
    """A model that is loaded when the first uncached task needs it."""

    def __init__(self, folder: models.ModelFolder, options: EvaluateOptions, device: str) -> None:
        self.folder = folder
        self.options = options
        self._device = device
        self._lm: Any = None

    def get(self) -> Any:
        """The `SharedPrefixLM`."""
        if self._lm is None:
            from distill_eval.evaluate.harness.lm import SharedPrefixLM

            o = self.options
            dtype = models.resolve_dtype(self.folder, o.dtype)
            model, tokenizer = models.load(
                self.folder, dtype=dtype, device=self._device, trust_remote_code=o.trust_remote_code
            )
            self._lm = SharedPrefixLM(model, tokenizer, scorer=o.scorer, batch_tokens=o.batch_tokens, seed=o.seed)
            self._facts = models.facts(self.folder, model, dtype=dtype, max_length=int(self._lm.max_length))
        return self._lm

    def facts(self) -> ModelFacts:
        """Facts of the loaded model."""
        self.get()
        return self._facts

    def release(self) -> None:
        """Give the model's memory back, so that the next model finds room."""
        self._lm = None
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
