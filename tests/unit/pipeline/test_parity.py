"""Which weights say what an engine alone costs."""

import json
from dataclasses import replace

import pytest

from distill_eval.pipeline.parity import Unquantized, made_of, unquantized
from distill_eval.schema.model import ModelFacts, ModelRef

BASE = ModelRef(name="org/base", revision="v1")
FACTS = ModelFacts(
    ref="",
    architecture="LlamaForCausalLM",
    num_parameters=1,
    size_bytes=1,
    dtype="float32",
    vocab_size=1,
    weights_digest="",
    tokenizer_digest="",
    max_length=1,
)


@pytest.fixture
def variant(tmp_path):
    def make(name, engine, quantization, record=None):
        folder = tmp_path / name
        folder.mkdir()
        if engine == "onnx":
            (folder / "genai_config.json").write_text("{}")
        if record:
            (folder / record).write_text(json.dumps({"model": {"name": BASE.name, "revision": BASE.revision}}))
        return replace(FACTS, ref=str(folder), engine=engine, quantization=quantization)

    return make


def ref(facts):
    return ModelRef(name=facts.ref)


def test_on_vllm_it_is_what_was_quantized_or_the_student_itself(variant):
    packed, plain = variant("packed", "vllm", "compressed-tensors W8A8", "quant.json"), variant("plain", "vllm", None)
    assert made_of(packed.ref) == BASE
    assert unquantized(packed, [packed], []) == Unquantized(BASE, BASE)
    assert unquantized(plain, [plain], []) == Unquantized(ref(plain), ref(plain))


def test_a_foreign_folder_needs_a_name(variant):
    packed = variant("packed", "vllm", "gptq W4A16")
    assert "name that with --parity-model" in unquantized(packed, [packed], [])
    assert unquantized(packed, [packed], [BASE]) == Unquantized(BASE, BASE)
    exported = variant("exported", "onnx", None)
    assert "name that with --parity-model" in unquantized(exported, [exported], [])
    assert unquantized(exported, [exported], [BASE]) == Unquantized(BASE, ref(exported))


def test_on_onnx_it_is_an_export_without_quantization(variant):
    int4, fp32 = variant("int4", "onnx", "onnx int4", "export.json"), variant("fp32", "onnx", None, "export.json")
    assert unquantized(fp32, [fp32], []) == Unquantized(BASE, ref(fp32))
    assert unquantized(int4, [int4, fp32], []) == Unquantized(BASE, ref(fp32)), "of the same table"
    assert unquantized(int4, [int4], [ref(fp32)]) == Unquantized(BASE, ref(fp32)), "named"
    assert "distill-eval export --model org/base@v1 --format onnx --precision fp32" in unquantized(int4, [int4], [])
