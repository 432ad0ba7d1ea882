"""Documents in the tokens of the student and, beside them, in those of a teacher with another tokenizer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding, Tokenizer

from distill_eval.distill.alignment import Ints, Segment, Theirs, pair, read_up_to
from distill_eval.distill.chat import ASSISTANT, check_template, render
from distill_eval.distill.documents import Message
from distill_eval.distill.text import Tokens, end_of_text
from distill_eval.errors import DataError, ModelError, boundary


class TwoTokenizers:
    """Adds the teacher's tokens to documents that the student's tokenizer has encoded."""

    def __init__(self, ours: Any, theirs: Any, *, limit: int | None) -> None:
        """Prepare.

        Args:
            ours: The student's tokenizer.
            theirs: The teacher's.
            limit: Tokens that the teacher can read at most; `None`: not known.

        Raises:
            ModelError: a tokenizer does not tell where in the text its tokens stand, or the teacher's has no EOS token.
        """
        self._ours, self._theirs, self._limit = ours, theirs, limit
        self._exact_ours, self._exact_theirs = _exact(ours), _exact(theirs)
        self._end = end_of_text(theirs)

    def add_to_texts(self, texts: list[str], encoded: Sequence[Tokens]) -> list[Tokens]:
        """Texts: the whole of one is the whole of the other.

        Args:
            texts: The documents.
            encoded: From `text.encode_texts`.
        """
        found = []
        ours, theirs = (self._encode(exact, texts, special=True) for exact in (self._exact_ours, self._exact_theirs))
        for text, tokens, our, their in zip(texts, encoded, ours, theirs, strict=True):
            ids_K = their.ids if their.ids and their.ids[-1] == self._end else [*their.ids, self._end]
            whole = [Segment(0, 0, len(text))]
            found.append(self._join(tokens, our, np.array(ids_K, dtype=np.uint32), their, whole, text, text))
        return found

    def add_to_conversations(self, conversations: list[list[Message]], encoded: Sequence[Tokens]) -> list[Tokens]:
        """Conversations: each in the chat template of its model; what both hold are the messages.

        Args:
            conversations: The documents.
            encoded: From `chat.encode_conversations`.

        Raises:
            ModelError: the teacher's tokenizer has no chat template.
        """
        check_template(self._theirs)
        found = []
        for conversation, tokens in zip(conversations, encoded, strict=True):
            texts = [render(tokenizer, conversation, prompt=False) for tokenizer in (self._ours, self._theirs)]
            our, their = (
                self._encode(exact, [text], special=False)[0]
                for exact, text in zip((self._exact_ours, self._exact_theirs), texts, strict=True)
            )
            segments = self._messages(conversation, *texts)
            found.append(self._join(tokens, our, np.array(their.ids, dtype=np.uint32), their, segments, *texts))
        return found

    def _join(
        self,
        tokens: Tokens,
        our: Encoding,
        ids_K: npt.NDArray[np.uint32],
        their: Encoding,
        segments: Sequence[Segment],
        our_text: str,
        their_text: str,
    ) -> Tokens:
        if our.ids != tokens.ids_M[: len(our.ids)].tolist():
            raise ModelError(
                f"the tokenizer of {self._ours.name_or_path!r} gives other tokens when it is asked where they stand: "
                "expected the same, so --loss uld cannot align them"
            )
        ours_read_M = read_up_to(_offsets(our, len(tokens.ids_M)), our_text)
        theirs_read_K = read_up_to(_offsets(their, len(ids_K)), their_text)
        partner_M, bytes_M = pair(ours_read_M, theirs_read_K, segments, our_text)
        return tokens._replace(theirs=Theirs(ids_K, partner_M, bytes_M, self._limit))

    def _messages(self, conversation: list[Message], ours: str, theirs: str) -> list[Segment]:
        """Where every message stands in both texts; one that a template changes stands in none."""
        found, ends = [], (0, 0)
        for number, message in enumerate(conversation):
            content = message.get("content")
            if not isinstance(content, str):
                continue
            answers = message["role"] == ASSISTANT
            begin = _begin(self._ours, conversation[:number], ours, answers, ends[0])
            their_begin = _begin(self._theirs, conversation[:number], theirs, answers, ends[1])
            for piece in (content, content.strip()):
                at = ours.find(piece, begin), theirs.find(piece, their_begin)
                if piece and min(*at, begin, their_begin) >= 0:
                    found.append(Segment(*at, len(piece)))
                    ends = at[0] + len(piece), at[1] + len(piece)
                    break
        return found

    def _encode(self, exact: Tokenizer, texts: list[str], *, special: bool) -> list[Encoding]:
        with boundary(DataError, "cannot encode the text with both tokenizers"):
            return exact.encode_batch(texts, add_special_tokens=special)


def between(student: Any, teacher: Any) -> TwoTokenizers:
    """The tokenizers of two models.

    Args:
        student: A `models.Located`.
        teacher: Another one.

    Raises:
        ModelError: as `TwoTokenizers`.
    """
    limit = getattr(teacher.config.get_text_config(), "max_position_embeddings", None)
    return TwoTokenizers(student.tokenizer, teacher.tokenizer, limit=limit)


def _begin(tokenizer: Any, before: list[Message], whole: str, answers: bool, end: int) -> int:
    """Where a message is looked for: behind what the template makes of those before it; -1 for an answer without."""
    if not before:
        return end
    made = render(tokenizer, before, prompt=answers)
    if not whole.startswith(made):
        return -1 if answers else end
    return max(end, len(made))


def _exact(tokenizer: Any) -> Tokenizer:
    """The tokenizer's backend, with offsets that keep the white space of a token.

    Byte-level tokenizers leave it out of them by default (`trim_offsets`), so that " a" and "a" look alike.
    """
    if not tokenizer.is_fast:
        raise ModelError(
            f"the tokenizer of {tokenizer.name_or_path!r} does not tell where in the text a token stands: --loss uld "
            "needs tokenizers with a tokenizer.json"
        )
    made = Tokenizer.from_str(json.dumps(_untrimmed(json.loads(tokenizer.backend_tokenizer.to_str()))))
    made.no_truncation()
    made.no_padding()
    return made


def _untrimmed(spec: Any) -> Any:
    if isinstance(spec, list):
        return [_untrimmed(part) for part in spec]
    if isinstance(spec, dict):
        return {key: False if key == "trim_offsets" else _untrimmed(part) for key, part in spec.items()}
    return spec


def _offsets(encoding: Encoding, num_tokens: int) -> Ints:
    """Where each token stands; the EOS behind them has no text."""
    offsets = encoding.offsets + [(0, 0)] * (num_tokens - len(encoding.offsets))
    return np.array(offsets, dtype=np.int64).reshape(-1, 2)
