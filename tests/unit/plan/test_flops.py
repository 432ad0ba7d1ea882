"""Operations against the sum over the matrices, and against torch's own counter."""

import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM, LlamaConfig
from unit.plan.shapes import sizes

from distill_eval.plan.flops import forward_flops, matrix_parameters, step_flops
from distill_eval.plan.sizes import model_sizes
from distill_eval.schema.plan import Parts

ATTENTION = 4 * 2 * 4 * 5  # per token of the row


def test_a_token_is_multiplied_with_every_matrix_and_looks_at_every_token():
    assert matrix_parameters(sizes()) == 1200 + 1800 + 100 * 10
    assert forward_flops(sizes(), 8) == 2 * 4000 + ATTENTION * 8


def test_an_untied_head_is_counted_once_and_looked_up_embeddings_never():
    untied = sizes(parts=Parts(embeddings=1000, attention=1200, feed_forward=1800, norms=50, head=1000, other=0))
    assert matrix_parameters(untied) == 4000


def test_a_step_is_three_passes_of_the_student_and_one_of_its_teacher():
    one = forward_flops(sizes(), 8)
    assert step_flops(None, sizes(), 8, checkpointing=False) == 3 * one
    assert step_flops(sizes(), sizes(), 8, checkpointing=False) == 4 * one
    assert step_flops(sizes(), sizes(), 8, checkpointing=True) == 5 * one - 2 * 1000


def test_torch_counts_as_many():
    config = LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    with FlopCounterMode(display=False) as counter:
        model(torch.arange(40)[None]).logits.sum().backward()
    found = model_sizes(config, "causal", name="tiny", source="made here")
    assert counter.get_total_flops() == 3 * 40 * forward_flops(found, 40)
