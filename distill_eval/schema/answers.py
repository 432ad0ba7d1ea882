"""A teacher's answers to prompts, the data set of response-based distillation: the content of `answers.json`."""

from __future__ import annotations

from typing import Literal

from distill_eval.record import record
from distill_eval.schema.retention import Provenance

SCHEMA = "distill-eval/answers"
SCHEMA_VERSION = 1

Form = Literal["chat", "text"]
Kind = Literal["completed", "cut_off", "empty", "errored"]


@record
class Answer:
    """What became of one request; `text` or `error` is there."""

    text: str | None = None
    """The answer alone, without what ends it."""
    finish_reason: Literal["stop", "length"] | None = None
    """`stop`: the teacher ended it; `length`: the limit did."""
    num_prompt_tokens: int | None = None
    """`None`: the server does not say."""
    num_answer_tokens: int | None = None
    """With the token that ends it; `None`: the server does not say."""
    error: str | None = None
    """Why there is no answer."""

    @property
    def kind(self) -> Kind:
        """What it counts as: an answer without text is `empty` however it ended."""
        if self.error is not None:
            return "errored"
        if not (self.text or "").strip():
            return "empty"
        return "cut_off" if self.finish_reason == "length" else "completed"


@record
class AnswersKey:
    """All that the answers depend on."""

    engine: Literal["transformers", "server"]
    teacher_digest: str | None
    """SHA-256 over config, weights, tokenizer and chat template; `None`: behind a server."""
    served_model: str | None
    """The server's name for the teacher; `None` without one."""
    form: Form
    """`chat`: through the teacher's chat template; `text`: the prompt is continued as it is."""
    prompts_digest: str
    """SHA-256 over the prompts, system prompt included."""
    num_prompts: int
    num_answers: int
    """Per prompt."""
    system: str | None
    max_new_tokens: int
    temperature: float
    """0: the most likely token each time."""
    top_p: float
    seed: int | None
    """`None` at temperature 0."""
    dtype: str | None = None
    """What the teacher computes in; this, device and batch size are `None` behind a server."""
    device: str | None = None
    batch_size: int | None = None


@record
class AnswersRun:
    """A finished run; `answers.jsonl` is beside it."""

    schema: str = SCHEMA
    version: int = SCHEMA_VERSION
    teacher: str
    """As the user named it."""
    endpoint: str | None
    """The server's address; `None`: transformers."""
    data: str
    """Where the prompts come from, as the user named it."""
    key: AnswersKey
    num_skipped_prompts: int
    """Conversations that end with nothing to answer, left out."""
    num_completed: int
    num_cut_off: int
    """Ended by `max_new_tokens`, not by the teacher."""
    num_empty: int
    """Without text; never in the data set."""
    num_errored: int
    """Without an answer; the same command asks for them again."""
    first_error: str | None
    keeps_cut_off: bool
    """Whether answers that were cut off are in the data set."""
    num_rows: int
    """Of `answers.jsonl`."""
    num_answer_tokens: int | None
    """Over all answers; `None` where the server does not count them."""
    answers_sha256: str
    """Of `answers.jsonl`."""
    provenance: Provenance
