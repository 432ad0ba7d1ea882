"""What the formula says a layer keeps, against the tensors that autograd saves of a real one."""

import pytest
import torch
from fakes.tiny_teachers import CAUSAL, CLASSIFIERS
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification
from unit.plan.shapes import sizes

from distill_eval.distill.isolation import find_isolation, forward_inputs
from distill_eval.plan.activations import KEPT, activation_bytes
from distill_eval.plan.sizes import model_sizes

FAMILIES = [*(family for family in CAUSAL if family != "llama-tied"), *CLASSIFIERS]
BATCH, LENGTH = 2, 24


def make(family):
    """A model, and what its forward pass takes: two packed documents per row, or padded texts."""
    tokens = torch.randint(2, 200, (BATCH, LENGTH))
    if family in CLASSIFIERS:
        mask = torch.ones_like(tokens)
        mask[0, LENGTH // 2 :] = 0
        model = AutoModelForSequenceClassification.from_config(CLASSIFIERS[family]())
        return model, {"input_ids": tokens, "attention_mask": mask}
    model = AutoModelForCausalLM.from_config(CAUSAL[family]())
    positions = torch.arange(LENGTH // 2).repeat(2).expand(BATCH, -1)
    return model, forward_inputs({"input_ids": tokens, "position_ids": positions}, find_isolation(model))


def saved_bytes(model, inputs, dtype):
    """Of a forward pass without its head: all storages but the weights and their bfloat16 copies."""
    own = {one.untyped_storage().data_ptr() for one in (*model.parameters(), *model.buffers())}
    found = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        found[storage.data_ptr()] = storage  # kept, so that no address comes twice
        return tensor

    model.train()
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16")
    with saved_tensors_hooks(pack, lambda tensor: tensor), autocast:
        output = model.base_model(**inputs)
    del output
    whole = sum(storage.nbytes() for address, storage in found.items() if address not in own)
    return whole - (copied_bytes(model.base_model) if dtype == "bfloat16" else 0)


def copied_bytes(model):
    """Autocast's copies of the matrices."""
    return 2 * sum(
        weight.numel() for name, weight in model.named_parameters() if weight.ndim == 2 and "embed" not in name
        and "wte" not in name and "wpe" not in name
    )  # fmt: skip


def planned_bytes(family, model, dtype, *, on_cpu):
    kind = "classifier" if family in CLASSIFIERS else "causal"
    found = model_sizes(model.config, kind, name=family, source="made here")
    return activation_bytes(found, dtype, batch_size=BATCH, length=LENGTH, checkpointing=False, on_cpu=on_cpu)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_keeps_what_the_formula_says(family, dtype):
    model, inputs = make(family)
    formula = planned_bytes(family, model, dtype, on_cpu=True)
    # Beside the layers: tokens, positions, rotary angles, the norm's roots, a pooler.
    assert 0 <= saved_bytes(model, inputs, dtype) - formula < 0.03 * formula


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_on_a_gpu_attention_is_fused_and_a_mask_of_dropout_has_a_byte_per_element(family, dtype, monkeypatch):
    masks = []
    attend = functional.scaled_dot_product_attention

    def no_dropout(hidden, p=0.5, training=True, inplace=False):
        masks.append(hidden.numel() if p > 0 and training else 0)
        return hidden

    def fused(*args, dropout_p=0.0, **kwargs):
        return attend(*args, **kwargs)

    monkeypatch.setattr(functional, "dropout", no_dropout)
    monkeypatch.setattr(functional, "scaled_dot_product_attention", fused)
    model, inputs = make(family)
    formula = planned_bytes(family, model, dtype, on_cpu=False)
    masks.clear()
    kept = saved_bytes(model, inputs, dtype)
    assert 0 <= kept + sum(masks) - formula < 0.03 * formula


def test_every_architecture_of_the_table_is_held_against_a_real_model():
    assert {type(make(family)[0]).__name__ for family in FAMILIES} == set(KEPT)


def test_an_architecture_beside_the_table_has_no_number():
    other = sizes(architecture="OtherForCausalLM")
    assert activation_bytes(other, "float32", batch_size=1, length=8, checkpointing=False, on_cpu=True) is None
