"""W8A8 graphs: each product against integers in numpy, on graphs of a few nodes that ONNX Runtime runs."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from distill_eval.export.graph import read_graph
from distill_eval.export.w8a8 import quantize_products

VOCAB, WIDTH, INNER = 12, 20, 24
OPSETS = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
DRAW = np.random.default_rng(0)
HEAD = DRAW.normal(size=(WIDTH, VOCAB)).astype(np.float32)
UP, SIDE = (DRAW.normal(size=(WIDTH, INNER)).astype(np.float32) for _ in range(2))
UP[:, 3] = 0  # an output channel that is always 0
BIAS = DRAW.normal(size=INNER).astype(np.float32)
TABLE = DRAW.normal(size=(VOCAB, WIDTH)).astype(np.float32)
TABLE[5] = 0  # a token whose embedding is 0, as padding's often is
IDS = np.array([[3, 0, 11], [7, 5, 5]])


def save(path, *, tied):
    """An embedding, two products of it, one with a bias, and a head, named as the builder names them."""
    weights = {"up.weight": UP, "side.weight": SIDE, "up.bias": BIAS, "lm_head.MatMul.weight": HEAD}
    nodes = []
    if tied:
        table = "/model/embed_tokens/Transpose/output_0"
        nodes.append(
            helper.make_node(
                "Transpose", ["lm_head.MatMul.weight"], [table], "/model/embed_tokens/Transpose", perm=[1, 0]
            )
        )
    else:
        table = "model.embed_tokens.weight"
        weights[table] = TABLE
    nodes += [
        helper.make_node("Gather", [table, "input_ids"], ["hidden"], "/model/embed_tokens/Gather"),
        helper.make_node("MatMul", ["hidden", "up.weight"], ["up"], "/up/MatMul"),
        helper.make_node("Add", ["up", "up.bias"], ["biased"], "/up/Add"),
        helper.make_node("MatMul", ["hidden", "side.weight"], ["side"], "/side/MatMul"),
        helper.make_node("MatMul", ["hidden", "lm_head.MatMul.weight"], ["logits"], "/lm_head/MatMul"),
    ]
    outputs = ("hidden", "biased", "side", "logits")
    graph = helper.make_graph(
        nodes,
        "fp32",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "sequence"])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", "sequence", name]) for name in outputs],
        [numpy_helper.from_array(weight, name) for name, weight in weights.items()],
        value_info=[helper.make_tensor_value_info(table, TensorProto.FLOAT, [VOCAB, WIDTH])] if tied else [],
    )
    model = helper.make_model(graph, opset_imports=OPSETS, ir_version=10)
    onnx.save_model(model, path, save_as_external_data=True, location=f"{path.name}.data", size_threshold=0)


def run(path):
    found = onnxruntime.InferenceSession(path).run(None, {"input_ids": IDS})
    return dict(zip(("hidden", "biased", "side", "logits"), found, strict=True))


def rounded(matrix, axis):
    """Codes from -127 to 127, and a scale for each row or column."""
    scales = np.abs(matrix).max(axis, keepdims=True) / np.float32(127)
    codes = np.rint(np.divide(matrix, scales, out=np.zeros_like(matrix), where=scales > 0))
    return codes.astype(np.int64), np.where(scales > 0, scales, 1).astype(np.float32)


def product(hidden, matrix):
    """In integers, then in the order of the graph's float32."""
    step = np.float32(1 / 127)
    largest = np.abs(hidden).max(-1, keepdims=True)
    share = np.divide(hidden, largest, out=np.zeros_like(hidden), where=largest > 0)
    codes, scales = rounded(matrix, 0)
    sums = np.rint(share / step).astype(np.int64) @ codes
    return sums.astype(np.float32) * (step * scales) * largest


@pytest.mark.parametrize("tied", [False, True])
def test_every_product_is_that_of_integers_to_the_bit(tmp_path, tied):
    path = tmp_path / "model.onnx"
    save(path, tied=tied)
    before = run(path)
    quantize_products(path)
    after = run(path)
    codes, scales = rounded(HEAD.T if tied else TABLE, 1)
    hidden = (codes.astype(np.float32) * scales)[IDS]
    assert np.array_equal(after["hidden"], hidden)
    assert np.array_equal(after["biased"], product(hidden, UP) + BIAS)
    assert np.array_equal(after["side"], product(hidden, SIDE))
    assert np.array_equal(after["logits"], product(hidden, HEAD))
    for name, was in before.items():
        assert 0 < np.abs(after[name] - was).max() < 0.02 * np.abs(was).max()


def test_a_token_of_zeros_gives_zeros(tmp_path):
    path = tmp_path / "model.onnx"
    save(path, tied=False)
    quantize_products(path)
    after = run(path)
    assert not after["hidden"][1, 1:].any()
    assert not after["logits"][1, 1:].any()
    assert np.array_equal(after["biased"][1, 1:], np.stack([BIAS, BIAS]))


def test_the_rows_of_a_batch_do_not_touch_each_other(tmp_path):
    path = tmp_path / "model.onnx"
    save(path, tied=False)
    quantize_products(path)
    session = onnxruntime.InferenceSession(path)
    together = session.run(["logits"], {"input_ids": IDS})[0]
    for row, token in np.ndindex(IDS.shape):
        alone = session.run(["logits"], {"input_ids": IDS[row : row + 1, token : token + 1]})[0]
        assert np.array_equal(together[row, token], alone[0, 0])


@pytest.mark.parametrize("tied", [False, True])
def test_an_activation_is_rounded_once_and_every_weight_kept_once_in_a_byte(tmp_path, tied):
    path = tmp_path / "model.onnx"
    save(path, tied=tied)
    quantize_products(path)
    kinds = [node.op_type for node in onnx.load(path).graph.node]
    assert kinds.count("QuantizeLinear") == 1
    assert kinds.count("MatMulIntegerToFloat") == 3
    found = read_graph(path)
    assert found.num_weights_by_bits == {"8": 3}
    assert found.embedding_bytes == (1 if tied else 2) * (VOCAB * WIDTH + VOCAB * 4)
    weights = onnx.load(path).graph.initializer
    assert {
        weight.name for weight in weights if weight.data_type == TensorProto.FLOAT and len(weight.dims) > 1
    } == set()
