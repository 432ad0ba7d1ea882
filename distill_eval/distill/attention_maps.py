"""The distance between attention maps, or value relations, of student and teacher at chosen layers.

Shapes: B batch, H query heads, K key-value heads, T query positions, S key positions (the same tokens), D head size,
R relation heads, W width of all heads' values.

The model keeps running on `sdpa`, which has no maps: a `Tap` puts an attention function in its place that calls it for
the output, and beside that computes the scores of the chosen layers from the same queries and keys.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Self

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from distill_eval.errors import ModelError, require

NAME = "distill_eval_tap"
"""The name under which transformers knows the attention function."""

Kind = Literal["kl", "mse", "value_relation"]


class LayerAttention(NamedTuple):
    """What one layer attends with, before dropout."""

    scores_BHTS: Tensor | None
    """Scaled products of queries and keys, unmasked; `None`: the values were asked for."""
    value_BKSD: Tensor | None
    """`None`: the scores were asked for."""
    allowed: Tensor | None
    """True where a query may see a key, broadcastable to [B, H, T, S]; `None`: everywhere."""


class Tap:
    """Keeps the scores (or the values) of chosen layers of a model from each forward pass.

    with Tap(model, layers, "kl") as tap:
        tap.open()
        model(**batch)
        attention = tap.take()
    """

    def __init__(self, model: Any, layers: Sequence[int], kind: Kind) -> None:
        """Prepare; the model changes on entering.

        Args:
            model: A transformers model that runs on sdpa.
            layers: From 0.
            kind: `value_relation` keeps the values, the others the scores.

        Raises:
            UsageError: a layer does not exist, or the model does not run on sdpa.
            ModelError: the model's layers are not one list of modules.
        """
        count = model.config.get_text_config().num_hidden_layers
        require(
            all(0 <= layer < count for layer in layers),
            f"--layer-map: {type(model).__name__} has the layers 0 to {count - 1}, not {max(layers, default=0)}",
        )
        native = model.config._attn_implementation
        require(
            native == "sdpa",
            f"--attention-weight: {type(model).__name__} runs on {native!r} attention: load it with "
            "attn_implementation='sdpa'",
        )
        self.model, self.layers, self.kind = model, frozenset(layers), kind
        stack = _layer_stack(model, count)
        self._layer_of = {module: layer for layer in self.layers for module in stack[layer].modules()}
        self._kept: dict[int, LayerAttention] = {}
        self._is_open = False

    def __enter__(self) -> Self:
        AttentionInterface.register(NAME, _attend)
        AttentionMaskInterface.register(NAME, sdpa_mask)
        for module in self._layer_of:
            _TAPS[module] = self
        self.model.set_attn_implementation(NAME)
        return self

    def __exit__(self, *error: object) -> None:
        self.model.set_attn_implementation("sdpa")
        for module in self._layer_of:
            _TAPS.pop(module, None)
        self._kept = {}

    def open(self) -> None:
        """Keep what the next forward pass computes."""
        self._kept, self._is_open = {}, True

    def take(self) -> dict[int, LayerAttention]:
        """Layer -> what was kept of it; then nothing more is kept.

        Raises:
            ModelError: a layer did not compute its attention through transformers' interface.
        """
        kept, self._kept, self._is_open = self._kept, {}, False
        missing = sorted(self.layers - kept.keys())
        if missing:
            raise ModelError(
                f"{type(self.model).__name__}: layer {missing[0]} does not use transformers' attention interface: "
                "attention maps cannot be distilled, leave --attention-weight out"
            )
        return kept

    def see(
        self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, options: dict[str, Any]
    ) -> None:
        """Compute what is kept of a layer: also when gradient checkpointing runs it again, and so while closed."""
        if not (self._is_open or torch.is_grad_enabled()):
            return
        if options.get("position_bias") is not None:
            raise ModelError(
                f"{type(module).__name__} adds a position bias to its scores: leave --attention-weight out"
            )
        causal = options.get("is_causal")
        allowed, bias = _read_mask(
            mask, bool(getattr(module, "is_causal", True) if causal is None else causal), query, key
        )
        if self.kind == "value_relation":
            kept = LayerAttention(None, value, allowed)
        else:
            scaling = options.get("scaling")
            key_BHSD = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
            scores_BHTS = query @ key_BHSD.transpose(2, 3) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
            kept = LayerAttention(scores_BHTS if bias is None else scores_BHTS + bias, None, allowed)
        if self._is_open:
            self._kept[self._layer_of[module]] = kept


_TAPS: weakref.WeakKeyDictionary[nn.Module, Tap] = weakref.WeakKeyDictionary()
"""Modules of the chosen layers: student and teacher share the one attention function."""


def _attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    output: Tensor = sdpa_attention_forward(module, query, key, value, attention_mask, **options)[0]
    if module in _TAPS:
        _TAPS[module].see(module, query, key, value, attention_mask, options)
    return output, None


def _layer_stack(model: Any, count: int) -> nn.ModuleList:
    lists = {name: module for name, module in model.named_modules() if isinstance(module, nn.ModuleList)}
    found = [
        module
        for name, module in lists.items()
        if len(module) == count and not any(name.startswith(f"{other}.") for other in lists)
    ]
    if len(found) != 1:
        raise ModelError(
            f"{type(model).__name__}: expected its {count} layers in one list of modules: no --attention-weight"
        )
    return found[0]


def _read_mask(mask: Tensor | None, is_causal: bool, query: Tensor, key: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """Which keys each query may see, and what is added to their scores (ALiBi), from the mask that sdpa gets."""
    num_queries, num_keys = query.shape[2], key.shape[2]
    if mask is None:
        if not is_causal or num_queries == 1:
            return None, None
        ones = torch.ones(num_queries, num_keys, dtype=torch.bool, device=query.device)
        return ones.tril_()[None, None], None
    if mask.dtype == torch.bool:
        return mask, None
    allowed = mask > torch.finfo(mask.dtype).min / 2
    return allowed, mask.masked_fill(~allowed, 0)


def log_maps(scores: Tensor, allowed: Tensor | None) -> Tensor:
    """Log of the attention weights, float32; a query that may see nothing sees all alike, as in eager attention."""
    scores = scores.float()
    if allowed is not None:
        scores = scores.masked_fill(~allowed, torch.finfo(torch.float32).min)
    return scores.log_softmax(-1)


def attention_loss(
    student: Mapping[int, LayerAttention],
    teacher: Mapping[int, LayerAttention],
    pairs: Sequence[tuple[int, int]],
    scored_BT: Tensor,
    kind: Kind,
) -> Tensor:
    """Summed over the scored query positions, the mean over heads and over the pairs of layers.

    Per query and head: `kl` is KL(teacher || student) of its weights over the keys, `mse` the sum of their squared
    differences. Where the numbers of heads differ, the maps are averaged over heads first. `value_relation` is the KL
    between softmax(V V^T / sqrt(d)) (MiniLM, Wang et al. 2020, arXiv 2002.10957, section 3.2), with the values
    regrouped into a common number of relation heads (MiniLMv2, arXiv 2012.15828, section 3.1). A key counts where both
    models may see it.

    Args:
        student: From its tap, with gradients.
        teacher: From its tap.
        pairs: Layers of the student and of the teacher.
        scored_BT: True where a position counts.
        kind: As of the taps.
    """
    total = torch.zeros((), device=scored_BT.device)
    for student_layer, teacher_layer in pairs:
        ours, theirs = student[student_layer], teacher[teacher_layer]
        if torch.is_grad_enabled() and not any(t is not None and t.requires_grad for t in ours):
            raise ModelError(
                f"the attention of the student's layer {student_layer} has no gradient: is the layer frozen, or "
                "gradient checkpointing reentrant?"
            )
        total = total + _distances(ours, theirs, kind).mean(1)[scored_BT].sum()
    return total / len(pairs)


def _distances(ours: LayerAttention, theirs: LayerAttention, kind: Kind) -> Tensor:
    """Of each head and query [B, H, T]."""
    allowed = ours.allowed
    if theirs.allowed is not None:
        allowed = theirs.allowed if allowed is None else allowed & theirs.allowed
    scores, target_scores = (
        _relations(ours, theirs) if kind == "value_relation" else (ours.scores_BHTS, theirs.scores_BHTS)
    )
    assert scores is not None
    assert target_scores is not None
    log_p, log_q = log_maps(scores, allowed), log_maps(target_scores.detach(), allowed)
    if log_p.shape[1] != log_q.shape[1]:
        log_p, log_q = _mean_over_heads(log_p), _mean_over_heads(log_q)
    if kind == "mse":
        return (log_p.exp() - log_q.exp()).square().sum(-1)
    return (log_q.exp() * (log_q - log_p)).sum(-1)


def _mean_over_heads(log_BHTS: Tensor) -> Tensor:
    mean_B1TS = log_BHTS.exp().mean(1, keepdim=True)
    return mean_B1TS.clamp(min=torch.finfo(torch.float32).tiny).log()


def _relations(ours: LayerAttention, theirs: LayerAttention) -> tuple[Tensor, Tensor]:
    """Scaled products of values with values [B, R, S, S]; R is the teacher's number of heads where that divides."""
    assert ours.value_BKSD is not None
    assert theirs.value_BKSD is not None
    num_ours, num_theirs = ours.value_BKSD.shape[1], theirs.value_BKSD.shape[1]
    width = num_ours * ours.value_BKSD.shape[3]
    num_heads = num_theirs if width % num_theirs == 0 else math.gcd(num_ours, num_theirs)
    return _relation(ours.value_BKSD, num_heads), _relation(theirs.value_BKSD, num_heads)


def _relation(value_BKSD: Tensor, num_heads: int) -> Tensor:
    value_BSW = value_BKSD.transpose(1, 2).flatten(2)
    value_BRSD = value_BSW.view(*value_BSW.shape[:2], num_heads, -1).transpose(1, 2)
    return value_BRSD @ value_BRSD.transpose(2, 3) / math.sqrt(value_BRSD.shape[-1])
