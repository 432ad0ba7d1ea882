"""What the formula says a layer keeps, against the tensors that autograd saves of a real one."""

import pytest
import torch
from fakes.tiny_families import CONFIGS
from torch.autograd.graph import saved_tensors_hooks
from transformers import AutoModelForCausalLM
from unit.plan.shapes import sizes

from distill_eval.distill.isolation import find_isolation, forward_inputs
from distill_eval.plan.activations import KEPT, activation_bytes
from distill_eval.plan.sizes import model_sizes

FAMILIES = ["llama", "mistral", "qwen2", "qwen3", "gemma3", "gpt-neox"]
BATCH, LENGTH = 2, 24


def saved_bytes(model, dtype):
    """Of a forward pass over two packed documents per row: all storages but the weights and their bfloat16 copies."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    found = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        found[storage.data_ptr()] = storage  # kept, so that no address comes twice
        return tensor

    half = LENGTH // 2
    batch = {
        "input_ids": torch.randint(0, 200, (BATCH, LENGTH)),
        "position_ids": torch.arange(half).repeat(2).expand(BATCH, -1),
    }
    inputs = forward_inputs(batch, find_isolation(model))
    model.train()
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16")
    with saved_tensors_hooks(pack, lambda tensor: tensor), autocast:
        output = model.base_model(**inputs)
    del output
    return sum(storage.nbytes() for address, storage in found.items() if address not in weights)


def copied_bytes(model):
    """Autocast's copies of the layers' matrices."""
    return 2 * sum(
        weight.numel() for name, weight in model.named_parameters() if weight.ndim == 2 and ".layers." in name
    )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_keeps_what_the_formula_says(family, dtype):
    model = AutoModelForCausalLM.from_config(CONFIGS[family]())
    found = model_sizes(model.config, "causal", name=family, source="made here")
    formula = activation_bytes(found, dtype, batch_size=BATCH, length=LENGTH, checkpointing=False)
    kept = saved_bytes(model, dtype) - (copied_bytes(model) if dtype == "bfloat16" else 0)
    # Beside the layers: tokens, positions, rotary angles, the norm's roots.
    assert 0 <= kept - formula < 0.03 * formula


def test_every_architecture_of_the_table_is_held_against_a_real_model():
    assert {type(AutoModelForCausalLM.from_config(CONFIGS[family]())).__name__ for family in FAMILIES} == set(KEPT)


def test_an_architecture_beside_the_table_has_no_number():
    other = sizes(architecture="OtherForCausalLM")
    assert activation_bytes(other, "float32", batch_size=1, length=8, checkpointing=False) is None
