"""Which weights say what an engine alone costs."""

import json
from pathlib import Path

import pytest

from distill_eval.compare_config import CompareConfig
from distill_eval.errors import ModelError, UsageError
from distill_eval.evaluate.options import EvaluateOptions
from distill_eval.pipeline.parity import Unquantized, Variant, made_of, named_models, plan_parity, unquantized
from distill_eval.schema.model import ModelRef
from distill_eval.store import Store

BASE = ModelRef(name="org/base", revision="v1")
OTHER = ModelRef(name="org/other")


@pytest.fixture
def variant(tmp_path):
    def make(name, engine, quantization, record=None):
        folder = tmp_path / name
        folder.mkdir()
        if engine == "onnx":
            (folder / "genai_config.json").write_text("{}")
        if record:
            said = {"model": {"name": BASE.name, "revision": BASE.revision}}
            precision = {} if quantization is None else {"precision": quantization.partition(" ")[2]}
            (folder / record).write_text(json.dumps(said | {"precision": "fp32"} | precision))
        return Variant(ModelRef(name=str(folder)), engine, quantization)

    return make


def test_on_vllm_it_is_what_was_quantized_or_the_student_itself(variant):
    packed, plain = variant("packed", "vllm", "compressed-tensors W8A8", "quant.json"), variant("plain", "vllm", None)
    assert made_of(packed.ref) == BASE
    assert unquantized(packed, [packed], []) == Unquantized(BASE, BASE)
    assert unquantized(plain, [plain], []) == Unquantized(plain.ref, plain.ref)


def test_a_foreign_folder_needs_a_name(variant):
    packed = variant("packed", "vllm", "gptq W4A16")
    assert "name that with --parity-model" in unquantized(packed, [packed], [])
    assert unquantized(packed, [packed], [BASE]) == Unquantized(BASE, BASE)
    exported = variant("exported", "onnx", None)
    assert "name that with --parity-model" in unquantized(exported, [exported], [])
    assert unquantized(exported, [exported], [BASE]) == Unquantized(BASE, exported.ref)


def test_on_onnx_it_is_an_export_without_quantization(variant):
    int4, fp32 = variant("int4", "onnx", "onnx int4", "export.json"), variant("fp32", "onnx", None, "export.json")
    assert unquantized(fp32, [fp32], []) == Unquantized(BASE, fp32.ref)
    assert unquantized(int4, [int4, fp32], []) == Unquantized(BASE, fp32.ref), "of the same table"
    assert unquantized(int4, [int4], [fp32.ref]) == Unquantized(BASE, fp32.ref), "named"
    assert "distill-eval export --model org/base@v1 --format onnx --precision fp32" in unquantized(int4, [int4], [])


def test_an_export_of_another_model_is_not_taken(variant):
    int4, fp32 = variant("int4", "onnx", "onnx int4"), variant("fp32", "onnx", None, "export.json")
    assert "there is no fp32 export of org/other" in unquantized(int4, [int4, fp32], [OTHER, fp32.ref])


def asked(*students, **changes):
    refs = tuple(str(one if isinstance(one, str) else one.ref) for one in students)
    options = EvaluateOptions(tasks=("t",), device="cpu")
    return CompareConfig(teacher="org/t", student=refs, evaluation=options, **changes)


def test_a_named_model_is_for_all_students_or_for_the_one_in_its_place(variant):
    fp32 = variant("fp32", "onnx", None, "export.json")
    one = named_models(asked("org/a", "org/b", parity_model=(str(BASE), str(fp32.ref))))
    assert one == {ModelRef(name=name): (BASE, fp32.ref) for name in ("org/a", "org/b")}
    each = named_models(asked("org/a", "org/b", parity_model=(str(BASE), str(OTHER))))
    assert each == {ModelRef(name="org/a"): (BASE,), ModelRef(name="org/b"): (OTHER,)}
    with pytest.raises(UsageError, match=r"--parity-model names 2 models and --student 3 models: expected one for all"):
        named_models(asked("org/a", "org/b", "org/c", parity_model=(str(BASE), str(OTHER))))
    with pytest.raises(UsageError, match="--parity-model names 2 ONNX exports"):
        named_models(asked("org/a", parity_model=(str(fp32.ref), str(fp32.ref))))


def test_a_quantized_model_is_not_the_unquantized_one(variant):
    int4, packed = variant("int4", "onnx", "onnx int4", "export.json"), variant("packed", "hf", None)
    (Path(packed.ref.name) / "config.json").write_text(json.dumps({"quantization_config": {"quant_method": "awq"}}))
    for model, said in ((int4, r"onnx int4"), (packed, "awq")):
        with pytest.raises(UsageError, match=rf"is quantized \({said}\): expected the unquantized model"):
            named_models(asked("org/a", parity_model=(str(model.ref),)))


def test_the_pairs_are_known_before_anything_is_scored(variant, tmp_path):
    """A record of another tool is a reason, not an end."""
    foreign, fp32 = variant("foreign", "onnx", None), variant("fp32", "onnx", None, "export.json")
    for one in (foreign, fp32):
        (Path(one.ref.name) / "tokenizer.json").write_text("{}")
    (Path(foreign.ref.name) / "quant.json").write_text('{"bits": 4}')
    with pytest.raises(ModelError, match=r"quant.json does not say what it was made of: KeyError: 'model'"):
        made_of(foreign.ref)
    store = Store(tmp_path / "store")
    found = plan_parity(asked(foreign, fp32), store)
    assert found[fp32.ref] == Unquantized(BASE, fp32.ref)
    assert "quant.json does not say what it was made of" in found[foreign.ref]
    assert plan_parity(asked(foreign, fp32, parity=False), store) == {}
