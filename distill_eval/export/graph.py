"""ONNX graphs: what is in them, and the two repairs that an export needs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import onnx
from onnx import helper, numpy_helper

from distill_eval.schema.export import Graph

_EMBEDDINGS = ("model.embed_tokens", "lm_head")
"""Initializers of the builder's begin so."""
_PRODUCTS = ("MatMul", "Gemm", "MatMulInteger", "MatMulIntegerToFloat")
_SAME_IDS = ("Cast", "Reshape")
"""What a model may do with its ids before it looks them up."""


def is_builders_table(name: str) -> bool:
    """Whether a weight of that name, in a graph of the builder, is the embedding's or the head's."""
    return name.startswith(_EMBEDDINGS)


def read_graph(path: Path, is_table: Callable[[str], bool] = is_builders_table) -> Graph:
    """Sizes and bits of a graph on disk.

    Args:
        path: Of the .onnx file; its weights may lie beside it.
        is_table: Whether a weight of that name is the embedding's (or head's).
    """
    graph = onnx.load(path, load_external_data=False).graph
    own = {weight.name: weight for weight in graph.initializer}
    multiplied = own | _turned(graph, own)
    bits: Counter[int] = Counter()
    for node in graph.node:
        weights = [multiplied[name] for name in node.input if name in multiplied and len(multiplied[name].dims) > 1]
        if node.op_type == "MatMulNBits":
            bits[_attribute(node, "bits")] += 1
        elif node.op_type in _PRODUCTS and weights:
            bits[_item_bits(weights[0])] += 1
    return Graph(
        size_bytes=sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*")),
        embedding_bytes=sum(_size(weight) for name, weight in own.items() if is_table(name)),
        num_weights_by_bits={str(width): bits[width] for width in sorted(bits)},
    )


def table_names(path: Path) -> frozenset[str]:
    """The weights of the embedding and the head in a causal language model's graph, by their place in it.

    The embedding is what `input_ids` picks rows of; the head is the last matrix before `logits`. Exporters that trace
    a model name the latter by a number.
    """
    graph = onnx.load(path, load_external_data=False).graph
    weights = {weight.name: weight for weight in graph.initializer}
    weights |= _turned(graph, weights)
    ids, found = {"input_ids"}, set()
    for node in graph.node:
        if node.op_type in _SAME_IDS and node.input[0] in ids:
            ids.add(node.output[0])
        elif node.op_type == "Gather" and node.input[1] in ids and node.input[0] in weights:
            found.add(weights[node.input[0]].name)
    makers, name = {name: node for node in graph.node for name in node.output}, "logits"
    while name in makers and makers[name].op_type not in _PRODUCTS:
        name = makers[name].input[0]
    if name in makers:
        found |= {weights[used].name for used in makers[name].input if used in weights and len(weights[used].dims) > 1}
    return frozenset(found)


def share_embedding(path: Path) -> None:
    """Let the embedding of a graph read the 8-bit weights of the head that it is tied to.

    The builder shares 4-bit weights and keeps a second copy of 8-bit ones, in float32, which would make the int8 file
    of a small model as large as its bf16 one. GatherBlockQuantized reads 8-bit weights as MatMulNBits stores them.
    """
    model = onnx.load(path)
    graph = model.graph
    gather = next(node for node in graph.node if node.op_type == "Gather" and "embed_tokens" in node.name)
    head = next(node for node in graph.node if node.op_type == "MatMulNBits" and "lm_head" in node.name)
    table, ids = gather.input[0], gather.input[1]
    shape, flat = f"{gather.name}/shape", f"{gather.name}/weights"
    rows, columns = _attribute(head, "N"), _attribute(head, "K")
    graph.initializer.append(numpy_helper.from_array(_int64([rows, columns]), shape))
    nodes = [
        helper.make_node("Reshape", [head.input[1], shape], [flat], name=f"{gather.name}/Reshape"),
        helper.make_node(
            "GatherBlockQuantized",
            [flat, ids, *head.input[2:4]],
            list(gather.output),
            name=f"{gather.name}BlockQuantized",
            domain="com.microsoft",
            bits=8,
            block_size=_attribute(head, "block_size"),
            gather_axis=0,
            quantize_axis=1,
        ),
    ]
    place = list(graph.node).index(gather)
    others = [node for node in graph.node if node != gather]
    del graph.node[:]
    graph.node.extend([*others[:place], *nodes, *others[place:]])
    kept = [weight for weight in graph.initializer if weight.name != table]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    save_again(model, path)


def save_again(model: Any, path: Path) -> None:
    """Write a graph, whole in memory, in the place that it was read from."""
    data = path.with_name(f"{path.name}.data")
    path.unlink()
    data.unlink()  # it would be appended to
    onnx.save_model(model, path, save_as_external_data=True, location=data.name)


def name_axes(model: Any, axes: tuple[str, ...]) -> None:
    """Give the dynamic axes of inputs and outputs names, and drop what the exporter left for its own debugging.

    That names source files of the machine that it ran on, and shapes that quantization makes untrue.
    """
    graph = model.graph
    del graph.value_info[:]
    for value in (*graph.input, *graph.output):
        for axis, size in zip(axes, value.type.tensor_type.shape.dim, strict=False):
            if size.HasField("dim_param"):
                size.dim_param = axis
    for part in (model, graph, *graph.input, *graph.output, *graph.node, *graph.initializer):
        del part.metadata_props[:]
    for function in model.functions:
        for part in (function, *function.node):
            del part.metadata_props[:]


def _turned(graph: Any, own: Mapping[str, Any]) -> dict[str, Any]:
    """Weights that are transposed before they are used, by the name that they have then: tied heads."""
    nodes = [node for node in graph.node if node.op_type == "Transpose" and node.input[0] in own]
    return {node.output[0]: own[node.input[0]] for node in nodes}


def _int64(values: list[int]) -> Any:
    import numpy as np

    return np.array(values, dtype=np.int64)


def _attribute(node: Any, name: str) -> int:
    return next(int(attribute.i) for attribute in node.attribute if attribute.name == name)


def _num_items(weight: Any) -> int:
    return math.prod(weight.dims)


def _item_bits(weight: Any) -> int:
    if weight.data_type in (onnx.TensorProto.INT4, onnx.TensorProto.UINT4):
        return 4  # two to a byte on disk, one in numpy
    return 8 * int(helper.tensor_dtype_to_np_dtype(weight.data_type).itemsize)


def _size(weight: Any) -> int:
    return _num_items(weight) * _item_bits(weight) // 8
