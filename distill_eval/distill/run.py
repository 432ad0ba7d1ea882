"""The stage: from options to a trained student's folder with its `distill.json`."""

from __future__ import annotations

import gc
import math
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
from distill_eval.distill.cached_signal import read_manifest
from distill_eval.distill.config import DistillConfig
from distill_eval.distill.course import Course
from distill_eval.distill.diagnosis import diagnose
from distill_eval.distill.finish import write_student
from distill_eval.distill.held import held
from distill_eval.distill.output import ARTIFACT, begin, check_output
from distill_eval.distill.own_text import OwnText, end_ids
from distill_eval.distill.processes import Processes, joined
from distill_eval.distill.ready import Ready, make_ready
from distill_eval.distill.settings import Batching
from distill_eval.distill.stopping import Clock, OnValidation, Report, StopEarly, Tell, told_of
from distill_eval.distill.teaching import Teaching, prepare_teaching
from distill_eval.distill.trainer import SKIPPED
from distill_eval.errors import ModelError, TrainingError
from distill_eval.provenance import collect
from distill_eval.record import to_json, to_jsonable
from distill_eval.schema.distill import Classification, DistillRun, Point, Validation
from distill_eval.schema.model import ModelRef
from distill_eval.store import write_atomic

CLOCKS = frozenset({"step", "train_runtime", *(f"train_{what}_per_second" for what in ("samples", "steps", "tokens"))})


def run(
    config: DistillConfig,
    *,
    argv: Sequence[str],
    say: Any = print,
    ready: Ready | None = None,
    on_validation: OnValidation | None = None,
) -> DistillRun:
    """Train the student and write it to the output folder as a Hugging Face folder with `distill.json`.

    Of several processes the main one writes and speaks.

    Args:
        config: What to learn from whom.
        argv: The command line, for the artifact.
        say: Takes lines for the reader.
        ready: Of `make_ready` with the same models, data, seed, batch and device; several runs may share it.
        on_validation: Hears each validation; what it raises ends the run.

    Raises:
        UsageError: options that do not fit together, the models or the data; an output folder with another run.
        ModelError: a model cannot be had or loaded.
        DataError: the data cannot be had.
        TrainingError: too many batches without a finite loss.
        StoreError: the output folder cannot be written.
    """
    device = choose_device(config.training.device)
    with joined(device) as processes, ExitStack() as stack:
        options = to_jsonable(config) | {"num_processes": processes.num_processes}
        check_output(config, options)
        say = say if processes.is_main else _silent
        ready = ready or make_ready(config, say, processes.num_processes)
        teaching = prepare_teaching(config, ready, stack)
        begin(config, options, ready, processes)
        with held(device, ready.resident_bytes) as memory:
            done = Job(config, ready.course, teaching, device, processes, say, on_validation).train()
        done = done._replace(peak_bytes=memory.num_bytes)
        return _finish(config, ready.course, done, argv, processes, say)


def _finish(
    config: DistillConfig, course: Course, done: Done, argv: Sequence[str], processes: Processes, say: Any
) -> DistillRun:
    """Write the student, then the record, and only then remove the checkpoints."""
    measured = None
    with processes.main_first():
        if processes.is_main:
            write_student(done.model, course.student.folder, config.output_dir, _file_dtype(course.student))
            measured = course.measure(config, done.model.device.type, say) if course.measure is not None else None
    result = _result(config, course, done, argv, measured)
    if processes.is_main:
        write_atomic(config.output_dir / ARTIFACT, to_json(result))
        checkpoints.keep_last(config.output_dir, 0)
    return result


def _silent(line: str) -> None:
    """What the processes beside the main one have to say."""
    del line


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
    cached = read_manifest(config.cached_teacher) if config.cached_teacher is not None else None
    names = config.teacher or ((cached.teacher,) if cached is not None else ())
    return DistillRun(
        student=ModelRef.parse(config.student),
        teachers=tuple(ModelRef.parse(name) for name in names),
        teacher_weights=config.mixture or (1.0,) * len(names),
        baseline=config.baseline,
        settings=settings.settings(config),
        num_parameters=int(done.model.num_parameters()),
        size_bytes=sum(file.stat().st_size for file in weights),
        data=course.facts(),
        num_steps=done.num_steps,
        num_tokens_seen=done.num_tokens_seen,
        peak_bytes=done.peak_bytes,
        seconds_per_step=done.seconds_per_step,
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
    seconds_per_step: float | None
    peak_bytes: int | None = None


def _finite(after: Validation) -> Validation:
    """Refuse a student that came to nothing, before it is written."""
    if not math.isfinite(after.hard_loss):
        raise TrainingError(
            f"the validation loss after training is {after.hard_loss}: begin again in another --output-dir with a "
            "lower --learning-rate"
        )
    return after


def _give_back(device: str) -> None:
    """Free what a failed attempt held: its model, optimizer and trainer refer to one another."""
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()


class Job:
    """One training, and again with smaller batches when memory runs out."""

    def __init__(
        self,
        config: DistillConfig,
        course: Course,
        teaching: Teaching,
        device: str,
        processes: Processes,
        say: Any,
        on_validation: OnValidation | None,
    ) -> None:
        self.config, self.student, self.texts, self.craft = config, course.student, course.texts, course.craft
        self.device, self.processes, self.say = device, processes, say
        self.teaching, self.on_validation = teaching, on_validation
        self.batching = Batching(config.training.batch_size, config.training.accumulate)

    def train(self) -> Done:
        """Train; on too little memory go on from the last checkpoint with half the sequences at once."""
        teacher = None
        while True:
            try:
                teacher = teacher or self._validate_teacher()
                with ExitStack() as attempt:
                    return self._train_once(teacher, attempt)
            except torch.OutOfMemoryError:
                if self.processes.num_processes > 1:  # the others wait for this one's gradients
                    raise ModelError(
                        f"memory ran out in one of {self.processes.num_processes} processes. Lower --batch-size "
                        "and raise --accumulate, or lower --max-length, or add --gradient-checkpointing"
                    ) from None
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
            _give_back(self.device)

    def _validate_teacher(self) -> Validation | None:
        if not self.teaching.teachers:
            return None
        first, batches = self.teaching.teachers[0], self._validation_batches()
        teacher: Validation = self.craft.validate_teacher(first, batches, self.processes.total)
        self.say(f"teacher: validation {told_of(teacher)}")
        return teacher

    def _train_once(self, teacher: Validation | None, stack: ExitStack) -> Done:
        config = self.config
        model = self.craft.load_student(self.student, self.device)
        lesson = self.teaching.lesson(model, stack)
        stack.callback(lesson.detach)
        before = lesson.validate(self._validation_batches(), self.processes.total)
        self.say(f"student: validation {told_of(before)} before training")
        train = self.texts.train
        steps = settings.num_steps(
            config.training, len(train) if isinstance(train, Sized) else None, self.processes.num_processes
        )
        clock = Clock()
        stop = StopEarly(
            patience=config.training.patience,
            stop_within=config.training.stop_within,
            teacher_perplexity=teacher.perplexity if teacher else None,
            teacher_bits_per_byte=teacher.bits_per_byte if teacher else None,
        )
        trainer = self.craft.trainer(
            lesson=lesson,
            validation=self._validation_batches,
            processes=self.processes,
            alpha=lambda step: None if step >= (1 - config.loss.hard_last) * steps else config.alpha,
            max_skipped=config.training.max_skipped,
            keep_checkpoints=config.training.keep_checkpoints,
            own_text=self._own_text(lesson, model),
            model=model,
            args=settings.arguments(config, self.batching, steps, use_cpu=self.device == "cpu"),
            train_dataset=train,
            eval_dataset=self.texts.validation,
            data_collator=self.texts.collate,
            callbacks=[stop, clock, Tell(self.say), *([Report(self.on_validation)] if self.on_validation else [])],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train(resume_from_checkpoint=self._last_checkpoint())
        after = _finite(trainer.validated())
        state, num_tokens = trainer.state, int(trainer.state.num_input_tokens_seen)
        rest = (state.log_history, state.global_step, num_tokens, stop.reason, clock.seconds_per_step)
        return Done(model, before, after, teacher, *rest)

    def _last_checkpoint(self) -> str | None:
        with self.processes.main_first():  # it removes what a killed run left half-written
            last = checkpoints.last_whole(self.config.output_dir)
        if last is None:
            return None
        self.say(f"going on from {last.name}")
        return str(last)

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
        batches = DataLoader(self.texts.validation, batch_size=size, collate_fn=self.texts.collate)
        for batch in self.processes.share(batches):
            yield {name: value.to(self.device) for name, value in batch.items()}
