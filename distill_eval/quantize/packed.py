"""The compressed-tensors format: round weights to nearest, tensor by tensor, and write what transformers and vLLM read.

The only file that imports compressed_tensors.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from distill_eval.checkpoint import weight_files
from distill_eval.errors import ModelError, boundary
from distill_eval.quantize.schemes import SCHEMES
from distill_eval.quantize.stream import SafetensorsStream
from distill_eval.schema.quant import Scheme

_WEIGHT = ".weight"
_PARTS, _LONGEST_PART = 4, "weight_zero_point"
"""What becomes of one weight: at most so many tensors, with names at most so much longer."""


def make_scheme(scheme: Scheme, *, group_size: int | None, symmetric: bool) -> Any:
    """A `compressed_tensors` quantization scheme for linear layers."""
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme

    facts = SCHEMES[scheme]
    weights = QuantizationArgs(
        num_bits=facts.weight_bits,
        type="int",
        symmetric=symmetric,
        strategy="channel" if group_size is None else "group",
        group_size=group_size,
        dynamic=False,
    )
    inputs = None
    if facts.activation_bits == 8:
        inputs = QuantizationArgs(num_bits=8, type="int", symmetric=True, strategy="token", dynamic=True)
    return QuantizationScheme(targets=["Linear"], weights=weights, input_activations=inputs)


def quantization_config(scheme: Any, ignored: Sequence[str]) -> dict[str, Any]:
    """What config.json says of it."""
    from compressed_tensors.quantization import QuantizationConfig

    config = QuantizationConfig(
        config_groups={"group_0": scheme},
        format=_compressor(scheme)[0],
        quantization_status="compressed",
        ignore=list(ignored),
    )
    return json.loads(json.dumps(config.to_dict() | {"quant_method": "compressed-tensors"}))  # type: ignore[no-any-return]


def write_rounded(source: Path, output: Path, layers: Sequence[str], scheme: Any) -> None:
    """Write the weights of a model folder with these layers rounded to nearest, one tensor in memory after the other.

    Scales are the largest magnitude (without symmetry: the range) of a group or channel over the number of steps.

    Raises:
        ModelError: the weights of a layer are not there, or not finite.
        OSError: the output cannot be written.
    """
    names = _names(source)
    missing = sorted(set(layers) - {name.removesuffix(_WEIGHT) for name in names})
    if missing:
        raise ModelError(f"{source} has no weights for {len(missing)} linear layers, e.g. {missing[0]}{_WEIGHT}")
    chosen, longest = set(layers), max(map(len, names)) + len(_LONGEST_PART)
    with SafetensorsStream(
        output / "model.safetensors", num_tensors=_PARTS * len(names), longest_name=longest
    ) as written:
        for name, tensor in _tensors(source):
            layer = name.removesuffix(_WEIGHT)
            is_chosen = name.endswith(_WEIGHT) and layer in chosen
            parts = _round(layer, tensor, scheme) if is_chosen else {name.rpartition(".")[2]: tensor}
            for part, value in parts.items():
                written.add(f"{name.rpartition('.')[0]}.{part}", value)


def _names(folder: Path) -> list[str]:
    names: list[str] = []
    for file in weight_files(folder):
        with boundary(ModelError, f"{file} cannot be read"), safe_open(file, framework="pt") as opened:
            names += opened.keys()
    return names


def _tensors(folder: Path) -> Iterator[tuple[str, Tensor]]:
    for file in weight_files(folder):
        with boundary(ModelError, f"{file} cannot be read"), safe_open(file, framework="pt") as opened:
            names = list(opened.keys())
            for name in names:
                yield name, opened.get_tensor(name)


def _round(layer: str, weight: Tensor, scheme: Any) -> Mapping[str, Tensor]:
    from compressed_tensors.quantization.utils import calculate_qparams

    if not bool(torch.isfinite(weight).all()):
        raise ModelError(f"the weights of {layer} are not all finite numbers: they cannot be quantized")
    args = scheme.weights
    groups = weight.float() if args.group_size is None else weight.float().unflatten(-1, (-1, args.group_size))
    low, high = torch.aminmax(groups, dim=-1, keepdim=args.group_size is None)
    scale, zero_point = calculate_qparams(low, high, args)
    scale = scale.to(weight.dtype)  # as it is kept, and as engines will read it: rounded before it is divided by
    state = {"weight": weight.float(), "weight_scale": scale.float(), "weight_zero_point": zero_point}
    packed: dict[str, Tensor] = _compressor(scheme)[1].compress(state, scheme)
    return packed | {"weight_scale": scale}


def _compressor(scheme: Any) -> tuple[str, Any]:
    from compressed_tensors.compressors import BaseCompressor

    name = "int-quantized" if scheme.input_activations is not None else "pack-quantized"
    return name, BaseCompressor.get_value_from_registry(name)
