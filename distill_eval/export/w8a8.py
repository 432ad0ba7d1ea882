"""W8A8: the products of an fp32 graph in int8, one scale per output channel of a weight and one per token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from distill_eval.export.graph import save_again

_LARGEST = 127
"""Codes are symmetric, so that an activation has one zero point for all tokens: MLAS takes no other."""
_ZERO = 128
"""Where 0 lies in an activation's uint8 code: the kernels of x86 multiply uint8 with int8."""
_STEP, _ZERO_POINT, _LAST = "w8a8.step", "w8a8.zero_point", "w8a8.last_axis"


def quantize_products(path: Path) -> None:
    """Rewrite every product of a graph with a constant matrix, the embedding with its rows, and save it in its place.

    An embedding that the head is tied to stays so: both read the same codes and scales.
    """
    model = onnx.load(path)
    graph = model.graph
    rewriting = _Rewriting(graph)
    for node in graph.node:
        rewriting.add(node)
    del graph.value_info[:]  # an embedding's are no longer true, and ONNX Runtime infers them all
    del graph.node[:]
    graph.node.extend(rewriting.nodes)
    weights = rewriting.finish()
    del graph.initializer[:]
    graph.initializer.extend(weights)
    save_again(model, path)


class _Rewriting:
    """The nodes and weights of the new graph, as far as the old one has been read."""

    def __init__(self, graph: Any) -> None:
        self.nodes: list[Any] = []
        self._weights = {weight.name: weight for weight in graph.initializer}
        self._matrices = {
            name
            for name, weight in self._weights.items()
            if len(weight.dims) == 2 and weight.data_type == onnx.TensorProto.FLOAT
        }
        self._codes: dict[str, tuple[str, str]] = {}
        self._turned: dict[str, str] = {}
        self._quantized: dict[str, tuple[str, str]] = {}
        for name, value in (
            (_STEP, np.float32(1 / _LARGEST)),
            (_ZERO_POINT, np.uint8(_ZERO)),
            (_LAST, np.array([-1], dtype=np.int64)),
        ):
            self._keep(name, value)

    def add(self, node: Any) -> None:
        """Take the next node, as it is or rewritten."""
        if node.op_type == "MatMul" and node.input[1] in self._matrices:
            self._product(node)
        elif node.op_type == "Transpose" and "embed_tokens" in node.name:
            self._turned[node.output[0]] = node.input[0]
            codes, _ = self._round(node.input[0], axis=0)
            self._node("Transpose", [codes], f"{node.output[0]}/codes", perm=[1, 0])
        elif node.op_type == "Gather" and "embed_tokens" in node.name:
            self._embedding(node)
        else:
            self.nodes.append(node)

    def finish(self) -> list[Any]:
        """The weights, those that were rounded left out."""
        return [weight for name, weight in self._weights.items() if name not in self._codes]

    def _product(self, node: Any) -> None:
        """Codes times codes in int32, times what a step of both is worth."""
        codes, scales = self._round(node.input[1], axis=0)
        activations, largest = self._quantize(node.input[0])
        output = node.output[0]
        inputs = [activations, codes, _STEP, scales, _ZERO_POINT]
        self._node("MatMulIntegerToFloat", inputs, f"{output}/product", domain="com.microsoft")
        self._node("Mul", [f"{output}/product", largest], output)

    def _quantize(self, value: str) -> tuple[str, str]:
        """An activation's codes, and the largest absolute value of each token.

        A token of zeros divides 0 by 0; whatever its codes are, they are multiplied with 0 in the end.
        """
        if value not in self._quantized:
            size, largest, share, codes = (f"{value}/{part}" for part in ("size", "largest", "share", "codes"))
            self._node("Abs", [value], size)
            self._node("ReduceMax", [size, _LAST], largest, keepdims=1)
            self._node("Div", [value, largest], share)
            self._node("QuantizeLinear", [share, _STEP, _ZERO_POINT], codes)
            self._quantized[value] = codes, largest
        return self._quantized[value]

    def _embedding(self, node: Any) -> None:
        """Rows of codes, each times its scale."""
        table, ids = node.input
        if table in self._turned:
            codes, (_, scales) = f"{table}/codes", self._round(self._turned[table], axis=0)
        else:
            codes, scales = self._round(table, axis=1)
        output = node.output[0]
        self._node("Gather", [codes, ids], f"{output}/rows")
        self._node("Cast", [f"{output}/rows"], f"{output}/steps", to=onnx.TensorProto.FLOAT)
        self._node("Gather", [scales, ids], f"{output}/flat_scales")
        self._node("Unsqueeze", [f"{output}/flat_scales", _LAST], f"{output}/scales")
        self._node("Mul", [f"{output}/steps", f"{output}/scales"], output)

    def _round(self, name: str, *, axis: int) -> tuple[str, str]:
        """Names of a matrix's int8 codes, and of the scales of its output channels, which `axis` is summed for."""
        if name not in self._codes:
            matrix = numpy_helper.to_array(self._weights[name])
            scales = np.abs(matrix).max(axis, keepdims=True) / np.float32(_LARGEST)
            scales[scales == 0] = 1
            codes = np.rint(matrix / scales).clip(-_LARGEST, _LARGEST).astype(np.int8)
            self._codes[name] = f"{name}_Q8", f"{name}_scales"
            for new, value in zip(self._codes[name], (codes, scales.ravel()), strict=True):
                self._keep(new, value)
        return self._codes[name]

    def _keep(self, name: str, value: Any) -> None:
        self._weights[name] = numpy_helper.from_array(np.asarray(value), name)

    def _node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
