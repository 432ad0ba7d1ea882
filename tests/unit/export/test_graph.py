"""Repairs of ONNX graphs, on graphs of a few nodes that ONNX Runtime runs."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from distill_eval.export.graph import name_axes, read_graph, share_embedding, table_names

VOCAB, WIDTH, BLOCK = 12, 32, 16
OPSETS = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]


def save_tied(path, zero_points):
    """An embedding in float32 whose 8-bit copy is the head, named as the builder names them."""
    draw = np.random.default_rng(0)
    codes = draw.integers(0, 256, (VOCAB, WIDTH // BLOCK, BLOCK), dtype=np.uint8)
    scales = draw.random((VOCAB, WIDTH // BLOCK), dtype=np.float32)
    zeros = draw.integers(0, 256, (VOCAB, WIDTH // BLOCK), dtype=np.uint8) if zero_points else np.full_like(scales, 128)
    table = ((codes.astype(np.float32) - zeros[..., None]) * scales[..., None]).reshape(VOCAB, WIDTH)
    weights = {
        "model.embed_tokens.weight": table,
        "lm_head.MatMul.weight_Q8": codes,
        "lm_head.MatMul.weight_scales": scales,
    }
    weights |= {"lm_head.MatMul.weight_zp": zeros} if zero_points else {}
    head_inputs = [name for name in weights if name.startswith("lm_head")]
    nodes = [
        helper.make_node(
            "Gather", ["model.embed_tokens.weight", "input_ids"], ["hidden"], "/model/embed_tokens/Gather"
        ),
        helper.make_node(
            "MatMulNBits",
            ["hidden", *head_inputs],
            ["logits"],
            "/lm_head/MatMul_Q8",
            domain="com.microsoft",
            K=WIDTH,
            N=VOCAB,
            bits=8,
            block_size=BLOCK,
            accuracy_level=4,
        ),
    ]
    graph = helper.make_graph(
        nodes,
        "tied",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["s1", "s2"])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["s1", "s2", "s3"]) for name in ("logits", "hidden")],
        [numpy_helper.from_array(weight, name) for name, weight in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=OPSETS, ir_version=10)
    onnx.save_model(model, path, save_as_external_data=True, location=f"{path.name}.data", size_threshold=0)


def run(path):
    ids = np.array([[3, 0, 11], [7, 7, 5]])
    return onnxruntime.InferenceSession(path).run(["logits", "hidden"], {"input_ids": ids})


@pytest.mark.parametrize("zero_points", [False, True])
def test_a_shared_embedding_reads_the_heads_weights_and_computes_the_same(tmp_path, zero_points):
    path = tmp_path / "model.onnx"
    save_tied(path, zero_points)
    before, size = run(path), read_graph(path)
    share_embedding(path)
    after, smaller = run(path), read_graph(path)
    assert np.array_equal(before[1], after[1])
    assert np.array_equal(before[0], after[0])
    assert size.embedding_bytes - smaller.embedding_bytes == VOCAB * WIDTH * 4
    assert smaller.embedding_bytes == VOCAB * WIDTH + VOCAB * 2 * (5 if zero_points else 4)
    assert smaller.size_bytes < size.size_bytes - 1000


def test_a_graph_is_read_with_the_bits_of_its_weights(tmp_path):
    path = tmp_path / "model.onnx"
    save_tied(path, False)
    found = read_graph(path)
    assert found.num_weights_by_bits == {"8": 1}
    assert found.size_bytes == sum(file.stat().st_size for file in tmp_path.iterdir())


def test_axes_get_names_and_traces_of_the_exporting_machine_go(tmp_path):
    save_tied(tmp_path / "model.onnx", False)
    model = onnx.load(tmp_path / "model.onnx")
    model.graph.node[0].metadata_props.add(key="stack_trace", value="/home/somebody/modeling.py")
    model.graph.value_info.append(helper.make_tensor_value_info("hidden", TensorProto.FLOAT, [1]))
    name_axes(model, ("batch", "sequence"))
    axes = [size.dim_param for size in model.graph.input[0].type.tensor_type.shape.dim]
    assert axes == ["batch", "sequence"]
    assert b"somebody" not in model.SerializeToString()
    assert len(model.graph.value_info) == 0


@pytest.mark.parametrize("tied", [False, True])
def test_the_tables_of_a_traced_graph_are_found_by_their_place(tmp_path, tied):
    """The head is multiplied as it is, or is the embedding, transposed; the logits are scaled behind it."""
    weights = {"embed": (VOCAB, WIDTH), "onnx::MatMul_9": (WIDTH, VOCAB), "onnx::MatMul_98": (WIDTH, WIDTH)}
    head = "turned" if tied else "onnx::MatMul_9"
    nodes = [
        helper.make_node("Reshape", ["input_ids", "shape"], ["ids"]),
        helper.make_node("Gather", ["embed", "ids"], ["hidden"]),
        helper.make_node("MatMul", ["hidden", "onnx::MatMul_98"], ["mixed"]),
        *([helper.make_node("Transpose", ["embed"], ["turned"], perm=[1, 0])] if tied else []),
        helper.make_node("MatMul", ["mixed", head], ["product"]),
        helper.make_node("Mul", ["product", "scale"], ["logits"]),
    ]
    own = [numpy_helper.from_array(np.ones(shape, dtype=np.float32), name) for name, shape in weights.items()]
    own += [numpy_helper.from_array(np.array([1, -1]), "shape"), numpy_helper.from_array(np.float32([2]), "scale")]
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["b", "s"])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["b", "s", VOCAB])
    graph = helper.make_graph(nodes, "traced", [ids], [logits], own)
    onnx.save_model(helper.make_model(graph, opset_imports=OPSETS), tmp_path / "model.onnx")
    names = table_names(tmp_path / "model.onnx")
    assert names == ({"embed"} if tied else {"embed", "onnx::MatMul_9"})
    found = read_graph(tmp_path / "model.onnx", names.__contains__)
    assert found.embedding_bytes == VOCAB * WIDTH * 4 * len(names)
    assert found.num_weights_by_bits == {"32": 2}
