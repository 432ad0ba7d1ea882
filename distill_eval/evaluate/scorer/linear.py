"""Float32 linear layers on CPU through oneDNN's prepacked kernels.

torch multiplies float32 matrices with MKL, whose kernels for AMD processors reach about three quarters of oneDNN's
speed; torch's own compiler packs weights in the same way when it freezes a model. The sums are float32 in both.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

import torch
from torch import Tensor, nn

TYPICAL_ROWS = 512
"""Rows for which oneDNN chooses the packed layout."""
TRIM_BYTES = 1 << 26


def can_prepack(model: Any) -> bool:
    """Whether the model is float32 on a CPU and this build of torch has the packed kernels."""
    parameter = next(model.parameters())
    has_op = hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
    return (
        has_op
        and torch.backends.mkldnn.is_available()
        and parameter.device.type == "cpu"
        and parameter.dtype == torch.float32
    )


def prepack(model: Any) -> int:
    """Give every `nn.Linear` of the model a packed weight in place of its own; returns how many.

    The weight that is tied to the embedding keeps its plain copy too; of the others the shape remains. The model can
    run forward as before, but can no longer be trained or saved. A layer that is packed already stays as it is.
    """
    embedding = model.get_input_embeddings().weight
    count = freed_bytes = 0
    for module in model.modules():
        if module.__class__ is not nn.Linear or "forward" in vars(module):
            continue
        packed = torch.ops.mkldnn._reorder_linear_weight(module.weight.detach(), TYPICAL_ROWS)
        bias: Tensor | None = getattr(module, "bias", None)  # None when the layer has none, whatever the stubs say
        vars(module)["forward"] = _Packed(packed, bias, module.out_features)
        if module.weight is not embedding:
            shape = module.weight.new_full((), torch.nan).expand_as(module.weight)  # one number in memory
            freed_bytes += module.weight.nbytes
            module.weight = nn.Parameter(shape, requires_grad=False)
            if freed_bytes >= TRIM_BYTES:
                freed_bytes = 0
                _trim()
        count += 1
    if freed_bytes:
        _trim()
    return count


def _trim() -> None:
    """Give freed memory back: glibc keeps blocks of a weight's size, and the model would be there twice."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
        if trim is not None:
            trim(0)


class _Packed:
    """A linear layer's forward over a packed weight."""

    def __init__(self, weight: Tensor, bias: Tensor | None, out_features: int) -> None:
        self.weight = weight
        self.bias = bias
        self.out_features = out_features

    def __call__(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        out: Tensor = torch.ops.mkldnn._linear_pointwise(rows, self.weight, self.bias, "none", [], "")
        return out.view(*x.shape[:-1], self.out_features)
