"""A sequence classifier as an ONNX graph, written by transformers' exporter.

Shapes: B texts, T tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
from torch import Tensor
from transformers.exporters.configs import OnnxConfig
from transformers.exporters.exporter_onnx import OnnxExporter

from distill_eval.engine.encoder import GRAPH
from distill_eval.errors import ModelError, boundary
from distill_eval.export.graph import name_axes
from distill_eval.export.original import copy_small_files
from distill_eval.export.quiet import quiet
from distill_eval.schema.export import Precision

_ONE_FILE = 2**30
"""Bytes of weights up to which the graph holds them itself; protobuf ends at twice that."""


def export(
    model: Any, example: Mapping[str, Tensor], source: Path, built: Path, scratch: Path, precision: Precision
) -> None:
    """Write the graph, with any number of texts and tokens, and everything of the original folder that is no weight.

    Args:
        model: In float32.
        example: A tokenizer's output [B, T] for two texts at least.
        source: Folder of the original.
        built: Folder to write to.
        scratch: Folder for what is only needed on the way.
        precision: `fp32`, or `int8` with activations quantized as they come.

    Raises:
        ModelError: the exporter fails.
    """
    size = float32_bytes(model)
    with boundary(ModelError, f"transformers' ONNX exporter failed on {type(model).__name__}"), quiet():
        proto = OnnxExporter().export(model, dict(example), config=OnnxConfig(dynamic=True)).model_proto
        name_axes(proto, ("batch", "sequence"))
        built.mkdir(exist_ok=True)
        target = scratch / GRAPH if precision == "int8" else built / GRAPH
        onnx.save_model(proto, target, save_as_external_data=size > _ONE_FILE, location=f"{GRAPH}.data")
        if precision == "int8":
            quantize(target, built / GRAPH, size)
        copy_small_files(source, built)


def float32_bytes(model: Any) -> int:
    """What a model's weights take in float32."""
    return sum(parameter.numel() * 4 for parameter in model.parameters())


def quantize(source: Path, target: Path, size_bytes: int) -> None:
    """Weights become int8, a scale per column; activations are quantized as they come, a scale per tensor.

    Args:
        source: Graph in float32.
        target: Graph to write.
        size_bytes: Of the weights in float32.

    Raises:
        ModelError: ONNX Runtime cannot.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with boundary(ModelError, "ONNX Runtime cannot quantize the classifier's graph"), quiet():
        quantize_dynamic(
            source,
            target,
            weight_type=QuantType.QInt8,
            per_channel=True,
            use_external_data_format=size_bytes > _ONE_FILE,
        )
