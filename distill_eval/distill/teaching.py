"""From the options to a teacher that answers, and to the lesson of one student."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, NamedTuple

from distill_eval.distill import models
from distill_eval.distill.attention_maps import Tap
from distill_eval.distill.blocks import Blocks
from distill_eval.distill.cached_signal import CachedSignal
from distill_eval.distill.config import DistillConfig, LossConfig
from distill_eval.distill.features import FeatureLoss
from distill_eval.distill.layer_map import layer_pairs
from distill_eval.distill.lesson import Lesson
from distill_eval.distill.objective import InnerLosses
from distill_eval.distill.ready import Ready
from distill_eval.distill.signals import KeptSignal, LiveSignal, Signal
from distill_eval.errors import UsageError

FEATURE_MODULE = "distillation_projections"
"""Where learned projections hang on the student while it trains: the optimizer and checkpoints have them from there."""


class Teaching(NamedTuple):
    """The teachers of a run, and how their layers are compared with a student's."""

    teachers: tuple[Any, ...]
    signal: Signal | None
    loss: LossConfig
    num_teacher_layers: int
    teacher_width: int

    def lesson(self, student: Any, stack: ExitStack) -> Lesson:
        """What this student is measured on; its taps end with the stack."""
        inner, tap = self._inner(student, stack)
        return Lesson(
            student,
            self.signal,
            divergence=self.loss.loss,
            temperature=self.loss.temperature,
            beta=self.loss.beta,
            inner=inner,
            tap=tap,
        )

    def _inner(self, student: Any, stack: ExitStack) -> tuple[InnerLosses | None, Tap | None]:
        loss = self.loss
        if not self.num_teacher_layers:
            return None, None
        config = student.config.get_text_config()
        pairs = layer_pairs(loss.layer_map, config.num_hidden_layers, self.num_teacher_layers)
        features = None
        if loss.feature_weight > 0:
            features = FeatureLoss(pairs, config.hidden_size, self.teacher_width, loss.feature_loss).to(student.device)
            student.add_module(FEATURE_MODULE, features)
        tap = None
        if loss.attention_weight > 0:
            tap = stack.enter_context(Tap(student, [ours for ours, _ in pairs], loss.attention_loss))
        return InnerLosses(pairs, loss.feature_weight, features, loss.attention_weight, loss.attention_loss), tap


def prepare_teaching(
    config: DistillConfig,
    ready: Ready,
    stack: ExitStack,
) -> Teaching:
    """Let the live teachers answer, or open the cached one; a baseline keeps its teacher for validation alone.

    Raises:
        UsageError: the cache is of something else, or the data stream past it.
    """
    loss, live = config.loss, ready.teachers
    if config.cached_teacher is not None and config.alpha > 0:
        return Teaching((), KeptSignal(_open_cache(config, ready)), loss, 0, 0)
    if not live:
        return Teaching((), None, loss, 0, 0)
    compares = not config.baseline and (loss.feature_weight > 0 or loss.attention_weight > 0)
    if not compares:
        return Teaching(live, LiveSignal(live, config.mixture), loss, 0, 0)
    theirs = live[0].config.get_text_config()
    ours = ready.student.config.get_text_config()
    layers = [layer for _, layer in layer_pairs(loss.layer_map, ours.num_hidden_layers, theirs.num_hidden_layers)]
    tap = stack.enter_context(Tap(live[0], layers, loss.attention_loss)) if loss.attention_weight > 0 else None
    signal = LiveSignal(live, config.mixture, feature_layers=layers if loss.feature_weight > 0 else (), tap=tap)
    return Teaching(live, signal, loss, theirs.num_hidden_layers, theirs.hidden_size)


def _open_cache(config: DistillConfig, ready: Ready) -> CachedSignal:
    assert config.cached_teacher is not None
    train, student = ready.texts.train, ready.student
    if not isinstance(train, Blocks):
        raise UsageError("--cached-teacher holds the answers to fixed rows: leave --streaming out")
    if config.loss.loss != "forward_kl":
        raise UsageError(
            f"--loss {config.loss.loss}: it needs the teacher's whole distribution, and a cached teacher keeps a part. "
            "Type --loss forward_kl, or train with a live --teacher"
        )
    expected: dict[str, Any] = {"teacher_digest": ready.teacher_digest} if ready.teacher_digest else {}
    expected |= {
        "tokenizer_digest": models.vocabulary_digest(student.tokenizer),
        "vocab_size": student.config.get_text_config().vocab_size,
        "data_digest": train.digest,
        "temperature": config.loss.temperature,
    }
    return CachedSignal(config.cached_teacher, expected)
