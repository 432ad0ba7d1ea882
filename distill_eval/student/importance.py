"""How much each layer and channel of a teacher matters, from its activations on calibration text.

Shapes: T tokens, D hidden size, H query heads, G KV groups, C channels of any axis.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from distill_eval.schema.student import Axis, Shape
from distill_eval.student.architectures import FFN, HEADS, HIDDEN, POOLED, WHOLE, Architecture, Axes
from distill_eval.student.depth import find_layers
from distill_eval.student.loss import Loss, measure_loss
from distill_eval.student.teacher import Kind
from distill_eval.tell import Each, in_silence

Key = tuple[Axis, int | None]
"""An axis, and the layer unless all layers share it."""
Hook = Callable[[Any, tuple[Any, ...], dict[str, Any], Any], Any]


class Importance(NamedTuple):
    """What one pass over the calibration text says about a teacher."""

    loss: Loss
    influence: tuple[float, ...]
    """Block influence of each layer: 1 - cosine similarity of its input and output, mean over tokens (ShortGPT,
    arXiv 2403.03853)."""
    channels: dict[Key, Tensor]
    """Of each channel, float64 [C]: the mean over a sample's tokens of its absolute activation, then over samples the
    root of the mean square (Minitron, arXiv 2407.14679). A head's activation is the L2 norm of its
    output, a group's the mean over its heads; a hidden channel's is taken at the output of all norms."""


def measure_importance(
    model: PreTrainedModel,
    samples_T: Sequence[Tensor],
    kind: Kind,
    architecture: Architecture | None,
    shape: Shape | None,
    each: Each = in_silence,
) -> Importance:
    """Loss, importance of layers and, where architecture and shape are given, importance of channels."""
    blocks = [_Mean() for _ in range(model.config.num_hidden_layers)]
    channels: dict[Key, _Mean] = {}
    hooks = [(layer, _watch_block(mean)) for layer, mean in zip(find_layers(model)[1], blocks, strict=True)]
    if architecture is not None and shape is not None:
        hooks += _channel_hooks(model, architecture, shape, channels)
    losses = []
    with _hooked(hooks):
        for sample_T in each("importance, calibration samples", samples_T):
            losses.append(measure_loss(model, [sample_T], kind))
            for mean in (*blocks, *channels.values()):
                mean.end_sample()
    scored = sum(loss.num_scored for loss in losses)
    total = sum(loss.mean * loss.num_scored for loss in losses)
    return Importance(
        Loss(total / scored, scored, [answer_L for loss in losses for answer_L in loss.answers_L]),
        tuple(float(mean.over_samples()) for mean in blocks),
        {key: mean.root_mean_square() for key, mean in channels.items()},
    )


def measure_removals(
    model: PreTrainedModel, samples_T: Sequence[Tensor], kind: Kind, teacher: Loss, each: Each = in_silence
) -> tuple[float, ...]:
    """By how much the loss rises, in nats, when one layer alone hands on what it gets; for each layer."""
    rises = []
    for layer in each("loss without a layer, layers", list(find_layers(model)[1])):
        with _hooked([(layer, _hand_on)]):
            rises.append(measure_loss(model, samples_T, kind, teacher.answers_L).mean - teacher.mean)
    return tuple(rises)


class _Mean:
    """Means over the tokens of each sample."""

    def __init__(self) -> None:
        self._sum_C: Any = 0.0
        self._num_rows = 0
        self._samples_C: list[Tensor] = []

    def add(self, values_TC: Tensor) -> None:
        """Count some tokens of the current sample."""
        self._sum_C = self._sum_C + values_TC.double().sum(0)
        self._num_rows += len(values_TC)

    def end_sample(self) -> None:
        """What was added since the last call is one sample."""
        self._samples_C.append((self._sum_C / self._num_rows).cpu())
        self._sum_C, self._num_rows = 0.0, 0

    def over_samples(self) -> Tensor:
        """The mean of the samples' means, [C]."""
        return torch.stack(self._samples_C).mean(0)

    def root_mean_square(self) -> Tensor:
        """The root of the mean square of the samples' means, [C]."""
        return torch.stack(self._samples_C).square().mean(0).sqrt()


@contextmanager
def _hooked(hooks: Sequence[tuple[Any, Hook]]) -> Iterator[None]:
    """Call hooks after the forward passes of modules; what a hook returns replaces the output."""
    handles = [module.register_forward_hook(hook, with_kwargs=True) for module, hook in hooks]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _entering(inputs: tuple[Any, ...], keywords: dict[str, Any]) -> Tensor:
    hidden: Tensor = inputs[0] if inputs else keywords["hidden_states"]
    return hidden


def _hand_on(module: Any, inputs: tuple[Any, ...], keywords: dict[str, Any], output: Any) -> Any:
    del module
    entering = _entering(inputs, keywords)
    return (entering, *output[1:]) if isinstance(output, tuple) else entering


def _watch_block(mean: _Mean) -> Hook:
    def watch(module: Any, inputs: tuple[Any, ...], keywords: dict[str, Any], output: Any) -> None:
        del module
        leaving = output[0] if isinstance(output, tuple) else output
        before_TD, after_TD = _rows(_entering(inputs, keywords)), _rows(leaving)
        mean.add(1 - F.cosine_similarity(before_TD, after_TD, dim=-1))

    return watch


def _rows(values: Tensor) -> Tensor:
    """[..., C] as float32 [T, C]."""
    return values.flatten(0, -2).float()


def _group_norms(values: Tensor, shape: Shape) -> Tensor:
    """[..., H * head_dim] as the mean norm of each KV group's heads, [T, G]."""
    heads_THC: Tensor = _rows(values).unflatten(-1, (shape.num_heads, shape.head_dim))
    norms_TH: Tensor = torch.linalg.vector_norm(heads_THC, dim=-1)
    return norms_TH.view(-1, shape.num_kv_heads, shape.num_heads // shape.num_kv_heads).mean(-1)


_READ: dict[Axes, tuple[Axis, Callable[[Tensor, Tensor, Shape], Tensor]]] = {
    (HIDDEN, FFN): ("ffn", lambda entering, leaving, shape: _rows(entering).abs()),
    (HIDDEN, HEADS): ("heads", lambda entering, leaving, shape: _group_norms(entering, shape)),
    (HIDDEN,): ("hidden", lambda entering, leaving, shape: _rows(leaving).abs()),
    (WHOLE, POOLED): ("pooled", lambda entering, leaving, shape: _rows(entering).abs()),
}
"""Which axis is seen at modules with these axes, and what is seen of it."""


def _channel_hooks(
    model: PreTrainedModel, architecture: Architecture, shape: Shape, channels: dict[Key, _Mean]
) -> list[tuple[Any, Hook]]:
    modules = dict(model.named_modules())
    places: list[tuple[int | None, str, Axes]] = [(None, path, axes) for path, axes in architecture.outside.items()]
    for number in range(shape.num_layers):
        prefix = f"{architecture.layers}.{number}"
        places += [(number, f"{prefix}.{path}", axes) for path, axes in architecture.inside.items()]
    hooks: list[tuple[Any, Hook]] = []
    for layer, path, axes in places:
        if axes in _READ and path in modules:
            axis, read = _READ[axes]
            mean = channels.setdefault((axis, None if axis == "hidden" else layer), _Mean())
            hooks.append((modules[path], _watch_channels(mean, read, shape)))
    return hooks


def _watch_channels(mean: _Mean, read: Callable[[Tensor, Tensor, Shape], Tensor], shape: Shape) -> Hook:
    def watch(module: Any, inputs: tuple[Any, ...], keywords: dict[str, Any], output: Any) -> None:
        del module, keywords
        mean.add(read(inputs[0], output, shape))

    return watch
