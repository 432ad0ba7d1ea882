"""A model folder run by ONNX Runtime GenAI; the one file that imports it to run models.

Shapes: B sequences, T tokens, S of them one by one, V vocabulary.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoTokenizer

from distill_eval.engine import GENAI_CONFIG
from distill_eval.errors import ModelError, boundary

INSTALL = "pip install 'distill-eval[onnx]'"
PIECE = 512
"""Tokens of one run of the graph: 100 MB of logits at a vocabulary of 49k."""


class GenaiModel:
    """Satisfies `distill_eval.engine.LogitModel`.

    A GenAI generator runs the graph on all tokens that are appended at once and keeps the logits of each, so whole
    sequences are scored by the same graph and the same KV cache that serve them.
    """

    def __init__(self, folder: Path, model: Any, config: dict[str, Any], name: str) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        self.vocab_size: int = config["vocab_size"]
        self.max_length: int = config["context_length"]
        ends = config["eos_token_id"]
        self.end_ids = frozenset(ends if isinstance(ends, list) else [ends])
        """Tokens that end a text."""
        self._pad: int = config["pad_token_id"]
        self._name = name
        self._model = model

    def logits(self, ids_T: Sequence[int]) -> Tensor:
        """Logits [T, V] behind each of these tokens, computed at once."""
        with self._running():
            generator = self._generator(len(ids_T))
            generator.append_tokens(list(ids_T))
            return _logits(generator)[0]

    def logits_stepwise(self, ids_T: Sequence[int], num_steps: int) -> Tensor:
        """Logits [S, V] behind the last tokens, as decoding computes them.

        Those before are appended at once, the last `num_steps` one by one, from the KV cache.
        """
        with self._running():
            generator = self._generator(len(ids_T))
            start = len(ids_T) - num_steps
            if start:
                generator.append_tokens(list(ids_T[:start]))
            rows = []
            for token in ids_T[start:]:
                generator.append_tokens([token])
                rows.append(_logits(generator)[0, -1])
            return torch.stack(rows)

    def walk(self, max_length: int) -> Walk:
        """A sequence of up to `max_length` tokens that grows and is cut back with its keys and values kept."""
        with self._running():
            return Walk(self._generator(max_length), self._running)

    def logits_padded(self, texts: Sequence[Sequence[int]]) -> list[Tensor]:
        """Logits [T, V] of each text, computed in one batch that is padded on the right.

        GenAI tells padding by the token alone, so pad tokens that end a text are left out of it.
        """
        kept = [_without_end(ids_T, self._pad) for ids_T in texts]
        longest = max(map(len, kept))
        with self._running():
            generator = self._generator(longest, batch_size=len(kept))
            rows = [[*ids_T, *[self._pad] * (longest - len(ids_T))] for ids_T in kept]
            generator.append_tokens(np.array(rows, dtype=np.int32))
            logits_BTV = _logits(generator)
            return [logits_TV[: len(ids_T)] for logits_TV, ids_T in zip(logits_BTV, kept, strict=True)]

    def greedy(self, ids_T: Sequence[int], num_tokens: int) -> list[int]:
        """The most likely continuation; it ends early behind an end-of-text token, which is included."""
        return list(self.greedy_stream(ids_T, num_tokens))

    def greedy_stream(self, ids_T: Sequence[int], num_tokens: int, *, ignore_eos: bool = False) -> Iterator[int]:
        """As `greedy`, each token as soon as it is there.

        Args:
            ids_T: What is continued.
            num_tokens: Of the continuation at most.
            ignore_eos: Tokens that end a text end nothing.
        """
        with self._running():
            generator = self._generator(len(ids_T) + num_tokens)
            generator.append_tokens(list(ids_T))
            token = 0
            for done in range(num_tokens):
                if generator.is_done():
                    if not ignore_eos:
                        return
                    # It goes on where the last token is appended as one of the prompt's.
                    generator.rewind_to(len(ids_T) + done - 1)
                    generator.append_tokens([token])
                generator.generate_next_token()
                token = int(generator.get_next_tokens()[0])
                yield token

    def greedy_each(
        self, ids_T: Sequence[int], num_tokens: int, each: Callable[[int], bool], *, ignore_eos: bool = False
    ) -> None:
        """As `HFModel.greedy_each`."""
        for token in self.greedy_stream(ids_T, num_tokens, ignore_eos=ignore_eos):
            if not each(token):
                return

    def _generator(self, max_length: int, batch_size: int = 1) -> Any:
        import onnxruntime_genai

        params = onnxruntime_genai.GeneratorParams(self._model)
        # The folder's own search options may sample or penalize, which is not for a measurement.
        params.set_search_options(max_length=max_length, do_sample=False, num_beams=1, min_length=0)
        params.set_search_options(repetition_penalty=1.0, no_repeat_ngram_size=0, batch_size=batch_size)
        return onnxruntime_genai.Generator(self._model, params)

    def _running(self) -> Any:
        return boundary(ModelError, f"{self._name} cannot be run by ONNX Runtime GenAI")


class Walk:
    """One sequence of a `GenaiModel`, which shares its beginning with the one before it."""

    def __init__(self, generator: Any, running: Callable[[], Any]) -> None:
        self._generator = generator
        self._running = running
        self._ids: list[int] = []

    def to(self, ids_T: Sequence[int], *, first: int) -> Iterator[Tensor]:
        """Logits [P, V] behind the tokens from place `first` on, in order; what stands there already is not run again.

        The graph is run on `PIECE` tokens at a time, the next ones when their logits are asked for: who reduces each
        piece before the next never holds the logits of a long text all at once.
        """
        ids = list(ids_T)
        same = next((i for i, (a, b) in enumerate(zip(self._ids, ids, strict=False)) if a != b), None)
        kept = min(len(self._ids), len(ids), first) if same is None else min(same, first)
        if kept < len(self._ids):
            with self._running():
                self._generator.rewind_to(kept)
        self._ids = ids[:kept]
        for start in range(kept, len(ids), PIECE):
            piece = ids[start : start + PIECE]
            with self._running():
                self._generator.append_tokens(piece)
            self._ids += piece
            if len(self._ids) > first:
                yield self._rows(max(first - start, 0))

    def _rows(self, start: int) -> Tensor:
        with self._running():
            return _logits(self._generator)[0, start:]


def check_library(folder: Path) -> None:
    """Refuse a folder where nothing runs it.

    Raises:
        ModelError: the package is not installed.
    """
    if find_spec("onnxruntime_genai") is None:
        raise ModelError(f"{folder} is run by ONNX Runtime GenAI, which is not installed: {INSTALL}")


def load(folder: Path, *, name: str | None = None, num_threads: int | None = None) -> GenaiModel:
    """The model of a folder that ONNX Runtime GenAI's builder wrote.

    Args:
        folder: With genai_config.json, the graph and the tokenizer's files.
        name: As the user knows it, for messages; by default the folder.
        num_threads: To compute with; as many as torch has by default, so that engines are compared alike.

    Raises:
        ModelError: the package is not installed, or the folder is not one that it runs.
    """
    check_library(folder)
    import onnxruntime_genai

    if not (folder / GENAI_CONFIG).is_file():
        raise ModelError(
            f"{folder} has no {GENAI_CONFIG}: ONNX Runtime GenAI runs what `distill-eval export` writes. For a folder "
            "of transformers type --engine hf"
        )
    threads = num_threads or torch.get_num_threads()
    with boundary(ModelError, f"{name or folder} cannot be loaded by ONNX Runtime GenAI"):
        config: dict[str, Any] = json.loads((folder / GENAI_CONFIG).read_text(encoding="utf-8"))["model"]
        runtime = onnxruntime_genai.Config(str(folder))
        session = {"intra_op_num_threads": threads}
        runtime.overlay(json.dumps({"model": {"decoder": {"session_options": session}}}))
        return GenaiModel(folder, onnxruntime_genai.Model(runtime), config, name or str(folder))


def _without_end(ids_T: Sequence[int], pad: int) -> list[int]:
    kept = list(ids_T)
    while len(kept) > 1 and kept[-1] == pad:
        kept.pop()
    return kept


def _logits(generator: Any) -> Tensor:
    """Logits [B, T, V] behind the tokens that were appended last, copied from the runtime's buffer."""
    return torch.from_numpy(generator.get_output("logits")).to(torch.float32, copy=True)
