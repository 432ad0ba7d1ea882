"""What a quantized folder is: its size, its layers, and how far its outputs are from the original's.

Shapes: T tokens of a sample, V vocabulary, D inputs of a layer, O outputs of it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor, nn

from distill_eval.checkpoint import weight_bytes, weight_files
from distill_eval.engine import LogitModel
from distill_eval.errors import ModelError
from distill_eval.schema.quant import LayerError

_SIGNS = (".weight_scale", ".SCB", ".weight.absmax")
"""What a quantized weight has beside it: compressed-tensors, bitsandbytes int8, bitsandbytes nf4."""
_ROWS = 256
"""Positions whose log-probabilities exist at once in float32."""


class Folder(NamedTuple):
    """What is in a folder's weight files."""

    size_bytes: int
    quantized: frozenset[str]
    """Layers that have integers for weights."""
    bytes_of: dict[str, int]
    """Of each tensor."""


def read_folder(folder: Path) -> Folder:
    """The sizes and the quantized layers of a model folder, from the headers of its files."""
    sizes: dict[str, int] = {}
    for file in weight_files(folder):
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118
                sizes[name] = opened.get_tensor(name).nbytes
    quantized = {name.removesuffix(sign) for name in sizes for sign in _SIGNS if name.endswith(sign)}
    return Folder(weight_bytes(folder), frozenset(quantized), sizes)


class Closeness(NamedTuple):
    """Two models on the same tokens."""

    num_tokens: int
    mean_kl: float
    stderr_kl: float | None
    top1_agreement: float
    perplexity_original: float
    perplexity: float


def closeness(original: Iterable[Tensor], model: LogitModel, samples_T: Sequence[Tensor]) -> Closeness:
    """KL(original || model) and what goes with it, over the next-token distributions of all samples.

    Args:
        original: Its logits [T, V] per sample, which may be computed as they are asked for.
        model: The other one.
        samples_T: Token ids.

    Raises:
        ModelError: the other model's logits are not numbers.
    """
    kl: list[float] = []
    agree, losses, scored = 0, [0.0, 0.0], 0
    for logits_TV, sample_T in zip(original, samples_T, strict=True):
        found_TV = model.logits(sample_T.tolist())
        total = 0.0
        for rows in torch.arange(len(sample_T)).split(_ROWS):
            p_RV, q_RV = (logits[rows].float().log_softmax(-1) for logits in (logits_TV, found_TV))
            total += float(F.kl_div(q_RV, p_RV, reduction="sum", log_target=True))
            agree += int((p_RV.argmax(-1) == q_RV.argmax(-1)).sum())
            next_R = sample_T[rows[rows + 1 < len(sample_T)] + 1]
            for place, log_probs in enumerate((p_RV, q_RV)):
                losses[place] += float(F.nll_loss(log_probs[: len(next_R)], next_R, reduction="sum"))
            scored += len(next_R)
        if not math.isfinite(total):
            raise ModelError("the quantized model's logits are not numbers: take another scheme, or leave layers out")
        kl.append(total / len(sample_T))
    num_tokens = sum(map(len, samples_T))
    return Closeness(
        num_tokens=num_tokens,
        mean_kl=statistics.fmean(kl),  # all samples are of one length
        stderr_kl=statistics.stdev(kl) / math.sqrt(len(kl)) if len(kl) > 1 else None,
        top1_agreement=agree / num_tokens,
        perplexity_original=math.exp(losses[0] / scored),
        perplexity=math.exp(losses[1] / scored),
    )


def layer_errors(original: Any, quantized: Any, layers: Sequence[str], samples_T: Sequence[Tensor]) -> list[LayerError]:
    """The error of each layer on the inputs that the original model gives it; the largest first.

    Args:
        original: The transformers model.
        quantized: The same, quantized.
        layers: Names of the quantized layers.
        samples_T: Token ids.
    """
    squares = {name: [0.0, 0.0] for name in layers}

    def listen(name: str, theirs: nn.Module) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hear(module: nn.Module, inputs: tuple[Tensor, ...], output_TO: Tensor) -> None:
            del module
            found_TO = theirs(inputs[0].clone())
            squares[name][0] += float((found_TO.float() - output_TO.float()).square().sum())
            squares[name][1] += float(output_TO.float().square().sum())

        return hear

    hooks = [
        original.get_submodule(name).register_forward_hook(listen(name, quantized.get_submodule(name)))
        for name in layers
    ]
    try:
        with torch.no_grad():
            for sample_T in samples_T:
                original(sample_T[None].to(original.device), use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    errors = [
        LayerError(
            layer=name,
            num_parameters=original.get_submodule(name).weight.numel(),
            relative_error=math.sqrt(error / size) if size else None,
        )
        for name, (error, size) in squares.items()
    ]
    return sorted(errors, key=lambda one: -(one.relative_error or 0.0))


@contextmanager
def swapped(model: Any, other: Any, names: Sequence[str]) -> Iterator[None]:
    """Have another model's layers in place of the model's own for a while."""
    own = {name: model.get_submodule(name) for name in names}
    try:
        for name in names:
            model.set_submodule(name, other.get_submodule(name))
        yield
    finally:
        for name, module in own.items():
            model.set_submodule(name, module)
