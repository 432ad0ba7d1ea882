"""The stage behind `distill-eval answer`: a teacher's answers to prompts, as a data set in a folder.

    <folder>/answers.jsonl   the data set: what `dataset` says
    <folder>/answers.json    what was asked of whom, and what became of it
    <folder>/journal         every answer and every error as they came; a killed run goes on from it, and a finished one
                             asks again for what failed

The journal holds what is left out of the data set too, so that another --keep-cut-off asks nobody.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from typing import Any

from distill_eval.device import choose_device
from distill_eval.distill import models
from distill_eval.distill.answer import dataset
from distill_eval.distill.answer.asking import Engine, Sampling
from distill_eval.distill.answer.config import AnswerConfig
from distill_eval.distill.answer.prompts import Prompts, read_prompts
from distill_eval.distill.cached_signal import differences
from distill_eval.errors import ArtifactError, ModelError, UsageError, require
from distill_eval.provenance import collect
from distill_eval.record import from_json, to_json, to_jsonable
from distill_eval.schema.answers import Answer, AnswersKey, AnswersRun, Form, Kind
from distill_eval.schema.model import ModelRef
from distill_eval.store import write_atomic
from distill_eval.store.files import FOLDER_LOCK, OUTPUT_OPTION, TEMPORARY, alone
from distill_eval.store.journal import Journal, read_header

DATA, ARTIFACT, JOURNAL = "answers.jsonl", "answers.json", "journal"
SECONDS_BETWEEN_LINES = 10.0


def run(config: AnswerConfig, *, argv: Sequence[str], say: Callable[[str], None]) -> AnswersRun:
    """Answer what is not answered yet, and write the data set with its `answers.json`.

    Args:
        config: Who answers what, and how.
        argv: The command line, for the artifact.
        say: Takes lines for the reader.

    Raises:
        UsageError: options that do not fit the teacher or the data, or a folder with other answers.
        ModelError: the teacher cannot be had or does not answer, or there is no answer to learn from.
        DataError: the prompts cannot be had, or there are none.
        StoreError: the folder cannot be written.
    """
    engine = open_engine(config)
    facts = engine.facts
    prompts = read_prompts(config, facts["form"])
    key = _key(config, prompts, facts)
    requests = [prompt for prompt in prompts.prompts for _ in range(config.num_answers)]
    with alone(config.output_dir), _journal(config, key) as journal:
        done = {number for number, value in journal.done.items() if value["error"] is None}
        if done:
            say(f"{len(done):,} of {len(requests):,} requests are answered already")
        tell = Tell(say, len(done), len(requests))

        def keep(found: Mapping[int, Answer]) -> None:
            journal.append({number: to_jsonable(answer) for number, answer in found.items()})
            tell(sum(number not in done for number in found))  # a batch that was half done is done again

        if len(done) < len(requests):
            engine.answer(requests, done, keep)
        answers = {number: Answer(**value) for number, value in journal.done.items()}
        return _finish(config, key, prompts, answers, argv)


def open_engine(config: AnswerConfig) -> Engine:
    """The teacher, not loaded yet.

    Raises:
        UsageError: httpx is not installed, the server has another model, or the form does not fit the teacher.
        ModelError: the teacher cannot be had.
    """
    sampling = Sampling(config.max_new_tokens, config.temperature, config.top_p, config.seed)
    if config.endpoint is not None:
        return _served(config, config.endpoint, sampling)
    from distill_eval.distill.answer.local import LocalTeacher

    teacher = models.locate(ModelRef.parse(config.teacher), role="teacher")
    has_template = bool(teacher.tokenizer.chat_template)
    require(
        has_template or (config.form != "chat" and not config.system),
        f"{config.teacher} has no chat template, which --form chat and --system need: take an instruct model",
    )
    form: Form = "chat" if config.form == "chat" or (config.form == "auto" and has_template) else "text"
    return LocalTeacher(
        teacher,
        sampling,
        form=form,
        dtype=config.teacher_dtype,
        device=choose_device(config.device),
        batch_size=config.batch_size,
    )


def _served(config: AnswerConfig, endpoint: str, sampling: Sampling) -> Engine:
    try:
        from distill_eval.distill.answer.server import ServedTeacher
    except ModuleNotFoundError as error:
        raise UsageError("--endpoint needs httpx. Type: pip install 'distill-eval[bench]'") from error
    return ServedTeacher(
        endpoint,
        config.teacher,
        sampling,
        form="text" if config.form == "text" else "chat",
        max_concurrency=config.max_concurrency,
        timeout_s=config.timeout_s,
        api_key=os.environ.get(config.api_key_variable),
    )


def _key(config: AnswerConfig, prompts: Prompts, facts: Mapping[str, Any]) -> AnswersKey:
    return AnswersKey(
        prompts_digest=prompts.digest,
        num_prompts=len(prompts.prompts),
        num_answers=config.num_answers,
        system=config.system,
        max_new_tokens=config.max_new_tokens,
        temperature=config.temperature,
        top_p=config.top_p,
        seed=config.seed if config.temperature > 0 else None,
        **facts,
    )


@contextmanager
def _journal(config: AnswerConfig, key: AnswersKey) -> Iterator[Journal]:
    """That of an earlier run with the same key, or a new one.

    Raises:
        UsageError: the folder holds answers to something else, or other files.
        ArtifactError: the journal's head is damaged.
    """
    folder, path = config.output_dir, config.output_dir / JOURNAL
    for left in folder.glob(f"{TEMPORARY}*"):
        left.unlink()  # what a killed run was writing
    others = sorted({file.name for file in folder.iterdir()} - {DATA, ARTIFACT, JOURNAL, FOLDER_LOCK})
    require(not others, f"{folder} holds other files ({', '.join(others[:3])}): name a new or empty folder")
    header = read_header(path, OUTPUT_OPTION)
    with closing(Journal(path, to_jsonable(key), option=OUTPUT_OPTION)) as journal:
        if not journal.done:
            path.unlink(missing_ok=True)  # begun and nothing answered: whatever it was for, nothing is lost
        elif header is None:
            raise ArtifactError(f"{path} is damaged: its first line is not whole. Remove {folder}, or name another")
        else:
            before = from_json(AnswersKey, json.dumps(header), source=str(path))
            apart = differences(before, asdict(key))
            require(
                not apart,
                f"{folder} holds answers to something else: {'; '.join(apart)}. Name another folder with "
                "--output-dir, or remove this one",
            )
        yield journal


def _finish(
    config: AnswerConfig, key: AnswersKey, prompts: Prompts, answers: Mapping[int, Answer], argv: Sequence[str]
) -> AnswersRun:
    kinds = Counter(answer.kind for answer in answers.values())
    text = dataset.lines(prompts.prompts, config.num_answers, answers, keep_cut_off=config.keep_cut_off)
    errors = [answer.error for _, answer in sorted(answers.items()) if answer.error is not None]
    if not text:
        raise ModelError(_nothing(config, kinds, errors))
    tokens = [answer.num_answer_tokens for answer in answers.values() if answer.error is None]
    result = AnswersRun(
        teacher=config.teacher,
        endpoint=config.endpoint,
        data=config.data,
        key=key,
        num_skipped_prompts=prompts.num_skipped,
        num_completed=kinds["completed"],
        num_cut_off=kinds["cut_off"],
        num_empty=kinds["empty"],
        num_errored=kinds["errored"],
        first_error=errors[0] if errors else None,
        keeps_cut_off=config.keep_cut_off,
        num_rows=text.count("\n"),
        num_answer_tokens=None if None in tokens else sum(token for token in tokens if token is not None),
        answers_sha256=hashlib.sha256(text.encode()).hexdigest(),
        provenance=collect(argv, key.device or "server"),
    )
    write_atomic(config.output_dir / DATA, text)
    write_atomic(config.output_dir / ARTIFACT, to_json(result))
    return result


def _nothing(config: AnswerConfig, kinds: Mapping[Kind, int], errors: Sequence[str]) -> str:
    counts = ", ".join(f"{count:,} {kind.replace('_', ' ')}" for kind, count in kinds.items())
    first = f" The first error: {errors[0]}." if errors else ""
    return (
        f"{config.teacher} gave no answer to learn from: {counts}.{first} Raise --max-new-tokens or add --keep-cut-off "
        "where answers were cut off; otherwise look at the prompts"
    )


class Tell:
    """A line now and then on how far it is."""

    def __init__(self, say: Callable[[str], None], num_done: int, total: int) -> None:
        """Start the clock."""
        self._say, self._begun, self._total = say, num_done, total
        self._done = num_done
        self._start = self._last = time.monotonic()

    def __call__(self, count: int) -> None:
        """So many more are done."""
        self._done += count
        now = time.monotonic()
        if self._done < self._total and now - self._last < SECONDS_BETWEEN_LINES:
            return
        self._last = now
        new = max(1, self._done - self._begun)
        left = (now - self._start) * max(0, self._total - self._done) / new
        self._say(f"{self._done:,} of {self._total:,} requests, about {left:.0f} s left")
