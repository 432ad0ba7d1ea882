"""From the options to a teacher that answers, and to the lesson of one student."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import torch

from distill_eval.distill import models
from distill_eval.distill.aligned_signal import AlignedSignal
from distill_eval.distill.attention_maps import Tap
from distill_eval.distill.blocks import Blocks
from distill_eval.distill.cached_signal import CachedSignal, read_manifest
from distill_eval.distill.config import DistillConfig, LossConfig
from distill_eval.distill.craft import LANGUAGE, Craft
from distill_eval.distill.features import FeatureLoss
from distill_eval.distill.layer_map import layer_pairs
from distill_eval.distill.objective import InnerLosses
from distill_eval.distill.ready import Ready
from distill_eval.distill.signals import KeptSignal, Signal
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
    seed: int = 0
    """Of the learned projections' first weights."""
    craft: Craft = LANGUAGE

    def lesson(self, student: Any, stack: ExitStack) -> Any:
        """What this student is measured on; its taps end with the stack."""
        inner, tap = self._inner(student, stack)
        return self.craft.lesson(
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
        tap = None
        if loss.attention_weight > 0:  # before the projections hang on the student: it looks for the list of its layers
            tap = stack.enter_context(Tap(student, [ours for ours, _ in pairs], loss.attention_loss))
        features = None
        if loss.feature_weight > 0:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.seed)
                features = FeatureLoss(pairs, config.hidden_size, self.teacher_width, loss.feature_loss)
            student.add_module(FEATURE_MODULE, features.to(student.device))
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
    loss, live, craft = config.loss, ready.teachers, ready.course.craft
    if config.cached_teacher is not None and (config.alpha > 0 or (loss.feature_weight > 0 and not config.baseline)):
        return _from_cache(config, config.cached_teacher, ready)
    seed = config.training.seed
    if not live:
        return Teaching((), None, loss, 0, 0, seed, craft)
    if loss.loss == "uld":
        return Teaching(live, AlignedSignal(live[0]), loss, 0, 0)
    compares = not config.baseline and (loss.feature_weight > 0 or loss.attention_weight > 0)
    if not compares:
        return Teaching(live, craft.signal(live, config.mixture), loss, 0, 0, seed, craft)
    theirs = live[0].config.get_text_config()
    ours = ready.course.student.config.get_text_config()
    layers = [layer for _, layer in layer_pairs(loss.layer_map, ours.num_hidden_layers, theirs.num_hidden_layers)]
    tap = stack.enter_context(Tap(live[0], layers, loss.attention_loss)) if loss.attention_weight > 0 else None
    signal = craft.signal(live, config.mixture, feature_layers=layers if loss.feature_weight > 0 else (), tap=tap)
    return Teaching(live, signal, loss, theirs.num_hidden_layers, theirs.hidden_size, seed, craft)


def _from_cache(config: DistillConfig, folder: Path, ready: Ready) -> Teaching:
    loss, student = config.loss, ready.course.student
    cache = _open_cache(config, folder, ready)
    if loss.feature_weight == 0:
        return Teaching((), KeptSignal(cache), loss, 0, 0)
    key = cache.manifest.key
    if key.num_layers is None or key.hidden_size is None:
        raise UsageError(
            f"--feature-weight {loss.feature_weight:g}: {folder} holds no hidden states. Run cache-teacher with "
            f"--layer-map {loss.layer_map} and this student into another folder"
        )
    num_layers = student.config.get_text_config().num_hidden_layers
    needed = {layer for _, layer in layer_pairs(loss.layer_map, num_layers, key.num_layers)}
    if not needed.issubset(key.layers):
        raise UsageError(
            f"--layer-map {loss.layer_map} compares layers {_listed(needed)} of {cache.manifest.teacher} with those of "
            f"{student.ref}; {folder} holds {_listed(key.layers)}. Give a map of these, or run cache-teacher with "
            f"--layer-map {loss.layer_map} and this student into another folder"
        )
    signal = KeptSignal(cache, sorted(needed))
    return Teaching((), signal, loss, key.num_layers, key.hidden_size, config.training.seed)


def _listed(layers: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(layers)))


def _open_cache(config: DistillConfig, folder: Path, ready: Ready) -> CachedSignal:
    train, student = ready.course.texts.train, ready.course.student
    if not isinstance(train, Blocks):
        raise UsageError("--cached-teacher holds the answers to fixed rows: leave --streaming out")
    same: dict[str, Any] = {"teacher_digest": ready.teacher_digest} if ready.teacher_digest else {}
    same |= {"tokenizer_digest": models.vocabulary_digest(student.tokenizer), "data_digest": train.digest}
    if config.alpha == 0:
        return CachedSignal(folder, same)
    manifest = read_manifest(folder)
    if manifest is not None and manifest.key.kind == "hidden":
        raise UsageError(
            f"--alpha {config.alpha:g}: {folder} holds hidden states and no soft labels. Type --alpha 0, or run "
            "cache-teacher with --kind sample and --layer-map, which keeps both"
        )
    vocab_size = student.config.get_text_config().vocab_size
    return CachedSignal(folder, same | {"vocab_size": vocab_size, "temperature": config.loss.temperature})
