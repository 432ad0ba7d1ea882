"""A model's vocabulary projection, and what its architecture does to the logits afterwards.

Shapes: N rows, V vocabulary, D hidden size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from distill_eval.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor


class Head(NamedTuple):
    """logits = softcap * tanh(scale * (hidden @ weight.T + bias) / softcap); no tanh without a softcap."""

    weight_VD: Tensor
    bias_V: Tensor | None = None
    scale: float = 1.0
    """Cohere multiplies by `logit_scale`; Granite divides by `logits_scaling`."""
    softcap: float | None = None
    """Gemma 2 and its successors: `final_logit_softcapping`."""

    def project(self, hidden_ND: Tensor) -> Tensor:
        """Hidden states @ weight.T + bias [N, V] in the dtype of both, before the scale and the softcap."""
        projected_NV = hidden_ND @ self.weight_VD.T
        return projected_NV if self.bias_V is None else projected_NV.add_(self.bias_V)

    def shape(self, projected_NV: Tensor) -> Tensor:
        """The logits [N, V], in float32 unless they come in float64; the very tensor that was given, if it may be.

        Half precision is left before the softcap, where transformers leaves it after.
        """
        wide_NV = projected_NV.float() if projected_NV.element_size() < 4 else projected_NV
        return shape_logits(wide_NV, self.scale, self.softcap)

    def chain(self, grad_NV: Tensor, logits_NV: Tensor) -> Tensor:
        """From d loss / d logits, which is overwritten, to d loss / d projected, in place."""
        if self.softcap is not None:
            grad_NV.mul_((logits_NV / self.softcap).square_().neg_().add_(1))
        return grad_NV if self.scale == 1.0 else grad_NV.mul_(self.scale)


def read_head(model: Any) -> Head:
    """The head of a transformers model with one logit per token of its vocabulary.

    Raises:
        ModelError: the model has no such head, or its weights are quantized.
    """
    projection = model.get_output_embeddings()
    weight = getattr(projection, "weight", None)
    if weight is None or weight.ndim != 2 or not weight.is_floating_point():
        raise ModelError(
            f"{type(model).__name__}: expected a vocabulary projection with a floating-point weight [vocabulary, "
            f"hidden], found {type(projection).__name__}. Load the model with its head left out of the quantization"
        )
    return Head(weight, getattr(projection, "bias", None), *read_shape(model))


def read_shape(model: Any) -> tuple[float, float | None]:
    """The scale and the softcap of a transformers model's logits; 1 and `None` where its config names none."""
    config = model.config.get_text_config()
    scale = float(getattr(config, "logit_scale", None) or 1.0) / float(getattr(config, "logits_scaling", None) or 1.0)
    return scale, getattr(config, "final_logit_softcapping", None)


def shape_logits(projected_NV: Tensor, scale: float, softcap: float | None) -> Tensor:
    """The logits [N, V] in the dtype of what is given, which may be the very tensor that comes back."""
    logits_NV = projected_NV if scale == 1.0 else projected_NV * scale
    return logits_NV if softcap is None else (logits_NV / softcap).tanh_().mul_(softcap)
