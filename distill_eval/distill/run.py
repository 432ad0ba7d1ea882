"""The stage: from options to a trained student's folder with its `distill.json`."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence, Sized
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import PrinterCallback

from distill_eval.checkpoint import weight_files
from distill_eval.device import choose_device
from distill_eval.distill import checkpoints, models, settings
from distill_eval.distill.classifier.course import classifier_course
from distill_eval.distill.config import DistillConfig
from distill_eval.distill.course import Course, language_course
from distill_eval.distill.diagnosis import diagnose
from distill_eval.distill.finish import write_student
from distill_eval.distill.own_text import OwnText, end_ids
from distill_eval.distill.settings import Batching
from distill_eval.distill.stopping import StopEarly, Tell, told_of
from distill_eval.distill.teaching import Teaching, prepare_teaching
from distill_eval.distill.trainer import SKIPPED
from distill_eval.errors import ArtifactError, ModelError, boundary, require
from distill_eval.provenance import collect
from distill_eval.record import to_json, to_jsonable
from distill_eval.schema.distill import Classification, DistillRun, Point, Validation
from distill_eval.schema.model import ModelRef
from distill_eval.store import write_atomic

ARTIFACT = "distill.json"
CLOCKS = frozenset({"step", "train_runtime", "train_samples_per_second", "train_steps_per_second"})
CONFIG = "distill-config.json"
"""Written before training, for the check that a resumed run is the same one."""


def run(config: DistillConfig, *, argv: Sequence[str], say: Any = print) -> DistillRun:
    """Train the student and write it to the output folder as a Hugging Face folder with `distill.json`.

    Args:
        config: What to learn from whom.
        argv: The command line, for the artifact.
        say: Takes lines for the reader.

    Raises:
        UsageError: options that do not fit together, the models or the data; an output folder with another run.
        ModelError: a model cannot be had or loaded.
        DataError: the data cannot be had.
        DistillEvalError: too many batches without a finite loss.
        StoreError: the output folder cannot be written.
    """
    _check_output(config)
    has_labels = config.labels.label_column is not None
    course = classifier_course(config, say) if has_labels else language_course(config)
    with ExitStack() as stack:
        job = Job(config, course, choose_device(config.training.device), say, stack)
        done = job.train()
    write_student(done.model, course.student.folder, config.output_dir, _file_dtype(course.student))
    measured = course.measure(done.model.device.type, say) if course.measure is not None else None
    result = _result(config, course, done, argv, measured)
    write_atomic(config.output_dir / ARTIFACT, to_json(result))
    checkpoints.keep_last(config.output_dir, 0)
    return result


def _check_output(config: DistillConfig) -> None:
    """Refuse a folder with another run, before any long work."""
    output = config.output_dir
    if not output.exists():
        return
    require(output.is_dir(), f"--output-dir {output} is a file; name a folder")
    require(
        not (output / ARTIFACT).exists(),
        f"--output-dir {output} holds a finished run ({ARTIFACT}): name another folder, or remove it",
    )
    if not (output / CONFIG).is_file():
        require(not any(output.iterdir()), f"--output-dir {output} is not empty: name another folder")
        return
    require(
        config.resume, f"--output-dir {output} holds a run that is not finished: add --resume, or name another folder"
    )
    with boundary(ArtifactError, f"cannot read {output / CONFIG}"):
        before = json.loads((output / CONFIG).read_text(encoding="utf-8"))
    apart = settings.differences(before, to_jsonable(config))
    require(
        not apart,
        f"--resume: the run in {output} has other options: {'; '.join(apart)}. Give the same, or name another",
    )


def _result(
    config: DistillConfig, course: Course, done: Done, argv: Sequence[str], measured: Classification | None
) -> DistillRun:
    curve = tuple(
        Point(
            step=int(entry["step"]),
            values={k: float(v) for k, v in entry.items() if k not in CLOCKS and math.isfinite(v)},
        )
        for entry in done.log
        if "train_loss" not in entry  # the Trainer's own summary
    )
    weights = weight_files(config.output_dir)
    return DistillRun(
        student=ModelRef.parse(config.student),
        teachers=tuple(ModelRef.parse(name) for name in config.teacher),
        teacher_weights=config.mixture,
        baseline=config.baseline,
        settings=settings.settings(config),
        num_parameters=int(done.model.num_parameters()),
        size_bytes=sum(file.stat().st_size for file in weights),
        data=course.facts(),
        num_steps=done.num_steps,
        num_tokens_seen=done.num_tokens_seen,
        num_skipped_batches=sum(SKIPPED in entry for entry in done.log),
        stopped=done.stopped,
        teacher_validation=done.teacher,
        before=done.before,
        after=done.after,
        classification=measured,
        curve=curve,
        findings=diagnose(curve, before=done.before, after=done.after, teacher=done.teacher),
        provenance=collect(argv, str(done.model.device)),
    )


def _file_dtype(student: models.Located) -> torch.dtype:
    """The dtype of the student's files, in which it is written again."""
    found = getattr(student.config, "dtype", None)
    return found if isinstance(found, torch.dtype) else torch.float32


class Done(NamedTuple):
    """What training left."""

    model: Any
    before: Validation
    after: Validation
    teacher: Validation | None
    log: list[dict[str, float]]
    num_steps: int
    num_tokens_seen: int
    stopped: str | None


class Job:
    """One training, and again with smaller batches when memory runs out."""

    def __init__(self, config: DistillConfig, course: Course, device: str, say: Any, stack: ExitStack) -> None:
        self.config, self.texts, self.craft = config, course.texts, course.craft
        self.student, self.teachers = course.student, course.teachers
        self.device, self.say, self.stack = device, say, stack
        self.batching = Batching(config.training.batch_size, config.training.accumulate)

    def train(self) -> Done:
        """Train; on too little memory go on from the last checkpoint with half the sequences at once."""
        teaching = prepare_teaching(
            self.config, self.student, self.teachers, self.texts, self.device, self.stack, self.craft
        )
        write_atomic(self.config.output_dir / CONFIG, json.dumps(to_jsonable(self.config), indent=2) + "\n")
        teacher = None
        if teaching.teachers:
            teacher = self.craft.validate_teacher(teaching.teachers[0], self._validation_batches())
            self.say(f"teacher: validation {told_of(teacher)}")
        while True:
            try:
                return self._train_once(teaching, teacher)
            except torch.OutOfMemoryError:
                if self.batching.batch_size < 2:
                    raise ModelError(
                        "memory ran out with one sequence at a time. Lower --max-length, add --gradient-checkpointing, "
                        "or take a smaller --teacher-dtype or a cached teacher"
                    ) from None
                self.batching = self.batching.halved()
                self.say(
                    f"memory ran out: going on with --batch-size {self.batching.batch_size} "
                    f"--accumulate {self.batching.accumulate}, the same batch per step"
                )

    def _train_once(self, teaching: Teaching, teacher: Validation | None) -> Done:
        config = self.config
        model = self.craft.load_student(self.student, self.device)
        lesson = teaching.lesson(model, self.stack)
        before = lesson.validate(self._validation_batches())
        self.say(f"student: validation {told_of(before)} before training")
        train = self.texts.train
        steps = settings.num_steps(
            config.training, len(train) if isinstance(train, Sized) else None, int(os.environ.get("WORLD_SIZE", "1"))
        )
        stop = StopEarly(
            patience=config.training.patience,
            stop_within=config.training.stop_within,
            teacher_perplexity=teacher.perplexity if teacher else None,
            teacher_bits_per_byte=teacher.bits_per_byte if teacher else None,
        )
        trainer = self.craft.trainer(
            lesson=lesson,
            alpha=lambda step: 0.0 if step >= (1 - config.loss.hard_last) * steps else config.alpha,
            max_skipped=config.training.max_skipped,
            keep_checkpoints=config.training.keep_checkpoints,
            own_text=self._own_text(lesson, model),
            model=model,
            args=settings.arguments(config, self.batching, steps, use_cpu=self.device == "cpu"),
            train_dataset=train,
            eval_dataset=self.texts.validation,
            data_collator=self.texts.collate,
            callbacks=[stop, Tell(self.say)],
        )
        trainer.remove_callback(PrinterCallback)
        last = checkpoints.last_whole(config.output_dir)
        if last is not None:
            self.say(f"going on from {last.name}")
        trainer.train(resume_from_checkpoint=str(last) if last else None)
        after = lesson.validate(self._validation_batches())
        lesson.detach()
        state = trainer.state
        num_tokens = int(state.num_input_tokens_seen)
        return Done(model, before, after, teacher, state.log_history, state.global_step, num_tokens, stop.reason)

    def _own_text(self, lesson: Any, model: Any) -> OwnText | None:
        config = self.config
        if config.own_text.on_policy == 0 or config.alpha == 0:  # a baseline has the data's text alone
            return None
        return OwnText(
            lesson,
            config.own_text,
            seed=config.training.seed,
            max_length=config.data.max_length,
            pad_id=self.texts.collate.pad_id,
            end_ids=end_ids(self.student.tokenizer, model.generation_config),
        )

    def _validation_batches(self) -> Iterator[Mapping[str, Tensor]]:
        size = self.batching.batch_size
        for batch in DataLoader(self.texts.validation, batch_size=size, collate_fn=self.texts.collate):
            yield {name: value.to(self.device) for name, value in batch.items()}
