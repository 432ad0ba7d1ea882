"""Answers of a teacher that transformers runs here, many prompts at once.

Shapes: B prompts of a batch, T tokens, V vocabulary.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList

from distill_eval.checkpoint import weight_files
from distill_eval.distill import models
from distill_eval.distill.answer.asking import Keep, Sampling
from distill_eval.distill.chat import render
from distill_eval.distill.documents import Document
from distill_eval.errors import ModelError
from distill_eval.schema.answers import Answer, Form

_SPOKEN = ("config.json", "generation_config.json", "tokenizer*", "chat_template*", "vocab.*", "merges.txt", "*.model")
"""Files beside the weights that an answer depends on."""


class Encoded(NamedTuple):
    """One request."""

    number: int
    ids: list[int]


class LocalTeacher:
    """A causal language model of transformers; it is loaded when there is something to answer."""

    def __init__(
        self, teacher: models.Located, sampling: Sampling, *, form: Form, dtype: str, device: str, batch_size: int
    ) -> None:
        """Take the teacher's place and how it is asked."""
        self._teacher, self._sampling, self._form = teacher, sampling, form
        self._dtype, self._device, self._batch_size = dtype, device, batch_size

    @property
    def facts(self) -> dict[str, Any]:
        """See `Engine`. The batch size is among them: what is sampled depends on it."""
        return {
            "engine": "transformers",
            "teacher_digest": _digest(self._teacher),
            "served_model": None,
            "form": self._form,
            "dtype": self._dtype,
            "device": self._device,
            "batch_size": self._batch_size,
        }

    def answer(self, requests: Sequence[Document], done: Container[int], keep: Keep) -> None:
        """See `Engine`. Batches depend on all requests, and a batch's seed on its number: a resumed run says the same.

        Raises:
            ModelError: the model cannot be loaded, its logits are not numbers, or memory runs out.
            DataError: the chat template refuses a conversation.
        """
        fitting = []
        for request in self._encoded(requests):
            too_long = self._too_long(request)
            if too_long is None:
                fitting.append(request)
            else:
                keep({request.number: too_long})
        speaker: Speaker | None = None
        for number, batch in enumerate(_batches(fitting, self._batch_size)):
            if all(request.number in done for request in batch):
                continue
            if speaker is None:
                model = models.load_teacher(self._teacher, self._dtype, self._device)
                speaker = Speaker(model, self._teacher, self._sampling, self._form)
            keep(speaker.answer(batch, self._sampling.derived_seed(number)))

    def _encoded(self, requests: Sequence[Document]) -> Iterator[Encoded]:
        tokenizer = self._teacher.tokenizer
        for number, prompt in enumerate(requests):
            if isinstance(prompt, str):
                ids = tokenizer(prompt, verbose=False)["input_ids"]
                ids = ids[:-1] if ids[-1:] == [tokenizer.eos_token_id] and len(ids) > 1 else ids
            else:
                text = render(tokenizer, prompt, prompt=True)
                ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
            yield Encoded(number, ids)

    def _too_long(self, request: Encoded) -> Answer | None:
        limit = getattr(self._teacher.config.get_text_config(), "max_position_embeddings", None)
        size, new = len(request.ids), self._sampling.max_new_tokens
        if limit is None or size + new <= limit:
            return None
        error = (
            f"{size:,} prompt tokens and --max-new-tokens {new:,} are more than the {limit:,} that the teacher reads"
        )
        return Answer(error=error, num_prompt_tokens=size)


def _batches(requests: list[Encoded], batch_size: int) -> Iterator[list[Encoded]]:
    """Longest first, so that little is padded, and too little memory shows at once."""
    ordered = sorted(requests, key=lambda request: (-len(request.ids), request.number))
    for start in range(0, len(ordered), batch_size):
        yield ordered[start : start + batch_size]


class Speaker:
    """The loaded teacher."""

    def __init__(self, model: Any, teacher: models.Located, sampling: Sampling, form: Form) -> None:
        """Prepare. Of the teacher's own generation config only the tokens that end an answer apply."""
        self._model, self._tokenizer, self._name, self._form = model, teacher.tokenizer, str(teacher.ref), form
        ends = model.generation_config.eos_token_id
        own = ends if isinstance(ends, list) else [ends]
        self._ends = sorted({end for end in [*own, self._tokenizer.eos_token_id] if end is not None})
        samples: dict[str, Any] = {}
        if sampling.temperature > 0:
            samples = {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
        self._limit = sampling.max_new_tokens
        model.generation_config = GenerationConfig(
            max_new_tokens=sampling.max_new_tokens,
            do_sample=sampling.temperature > 0,
            eos_token_id=self._ends,
            pad_token_id=self._ends[0] if self._ends else 0,  # hidden by the mask, and behind an end
            **samples,
        )

    def answer(self, batch: list[Encoded], seed: int) -> dict[int, Answer]:
        """By the request's number."""
        ids_BT, mask_BT = _left_padded([request.ids for request in batch], self._model.device)
        devices = [self._model.device] if self._model.device.type == "cuda" else []
        with torch.inference_mode(), torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            try:
                said_BT = self._model.generate(
                    input_ids=ids_BT, attention_mask=mask_BT, logits_processor=LogitsProcessorList([self._finite])
                )
            except torch.OutOfMemoryError:
                raise ModelError(
                    f"memory ran out while {self._name} answered {len(batch)} prompts of up to {ids_BT.shape[1]:,} "
                    "tokens at once. Lower --batch-size (with another --output-dir, once there are answers)"
                ) from None
        new = said_BT[:, ids_BT.shape[1] :].tolist()
        return {request.number: self._read(request, ids) for request, ids in zip(batch, new, strict=True)}

    def _read(self, request: Encoded, new: list[int]) -> Answer:
        """The tokens up to the first that ends the answer, as text."""
        size = next((place for place, token in enumerate(new) if token in self._ends), None)
        said = new if size is None else new[:size]
        return Answer(
            text=self._decode(request.ids, said),
            finish_reason="length" if size is None else "stop",
            num_prompt_tokens=len(request.ids),
            num_answer_tokens=len(said) + (size is not None),
        )

    def _decode(self, before: list[int], said: list[int]) -> str:
        """A text goes on where it was: some tokenizers drop the space before the first token that they are given."""

        def text(ids: list[int]) -> str:
            found = self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
            return str(found)

        if self._form == "text":
            start, whole = text(before), text(before + said)
            if whole.startswith(start):
                return whole[len(start) :]
        return text(said)

    def _finite(self, ids_BT: Tensor, logits_BV: Tensor) -> Tensor:
        """A logits processor that lets numbers pass."""
        del ids_BT
        if not logits_BV.amax(-1).isfinite().all():
            raise ModelError(f"{self._name} gave logits that are not numbers. Try --teacher-dtype float32")
        return logits_BV


def _left_padded(rows: list[list[int]], device: Any) -> tuple[Tensor, Tensor]:
    """Token ids and mask [B, T]."""
    longest = max(map(len, rows))
    ids = [[0] * (longest - len(row)) + row for row in rows]
    mask = [[0] * (longest - len(row)) + [1] * len(row) for row in rows]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def _digest(teacher: models.Located) -> str:
    """SHA-256 over names and content of the files that an answer depends on."""
    small = {path for pattern in _SPOKEN for path in teacher.folder.glob(pattern) if path.is_file()}
    sha = hashlib.sha256()
    for path in [*sorted(small), *weight_files(teacher.folder)]:
        with path.open("rb") as file:
            sha.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return sha.hexdigest()
