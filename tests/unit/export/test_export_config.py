"""What `export` refuses before any work, and what its options come to."""

import inspect
from pathlib import Path

import pytest
from transformers import LlamaConfig

from distill_eval.errors import ModelError, UsageError
from distill_eval.export.builder import ARCHITECTURES, Rounding, check_architecture, choose_rounding
from distill_eval.export.config import ExportConfig

SMOLLM2 = LlamaConfig(hidden_size=576, intermediate_size=1536, num_attention_heads=9, num_key_value_heads=3)
OPTIMUM = {"exporter": "optimum", "optimum_cli": Path("o")}


def config(**options):
    return ExportConfig(**({"model": "m", "output_dir": Path("out"), "text": "t.txt"} | options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"text_samples": 1}, "--text-samples 1: expected 2 or more"),
        ({"text_length": 15}, "--text-length 15: expected 16 or more"),
        ({"seed": -1}, "--seed -1: expected 0 or more"),
        ({"block_size": 48, "precision": "int4"}, "--block-size 48: expected 16, 32, 64, 128 or 256"),
        ({"block_size": 32}, "--block-size 32: weights in fp32 have no blocks"),
        ({"accuracy_level": 4}, "--accuracy-level 4: weights in fp32 have no blocks"),
        ({"accuracy_level": 2, "precision": "int4"}, "--accuracy-level 2: expected 0 or 1 or 4"),
        ({"accuracy_level": 0, "precision": "int8"}, "--accuracy-level 0 with --precision int8: .* 100 times slower"),
        ({"accuracy_level": 1, "precision": "int8"}, "--accuracy-level 1 with --precision int8"),
        (
            {"int4_algorithm": "rtn", "precision": "int8"},
            "--int4-algorithm rtn goes with --precision int4, not with int8",
        ),
        (
            {"int8_algorithm": "w8a8", "precision": "int4"},
            "--int8-algorithm w8a8 goes with --precision int8, not with int4",
        ),
        (
            {"int8_algorithm": "w8a8", "precision": "int8", "block_size": 64},
            "--block-size 64: --int8-algorithm w8a8 rounds whole output channels",
        ),
        (
            {"int8_algorithm": "w8a8", "precision": "int8", "accuracy_level": 4},
            "--accuracy-level 4: --int8-algorithm w8a8 .* computes in int8; leave it out",
        ),
        (
            {"int8_algorithm": "w8a8", "precision": "int8", "device": "cuda"},
            "--int8-algorithm w8a8 --device cuda: .* for CPUs alone. Type --int8-algorithm weight-only",
        ),
        ({"precision": "fp16"}, "--precision fp16 --device cpu"),
        ({"device": "tpu"}, "--device 'tpu': expected cpu or cuda"),
        ({"optimum_cli": Path("o")}, "--optimum-cli o goes with --exporter optimum"),
        ({"exporter": "optimum"}, "--exporter optimum needs --optimum-cli"),
        ({**OPTIMUM, "precision": "int4"}, "--exporter optimum --precision int4: optimum writes fp32"),
        ({**OPTIMUM, "device": "cuda"}, "--exporter optimum --device cuda: "),
    ],
)
def test_bad_options_are_refused_with_what_to_type(options, message):
    with pytest.raises(UsageError, match=message):
        config(**options)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, None),
        ({"precision": "int8"}, Rounding("rtn", 64, 4)),
        ({"precision": "int8", "int8_algorithm": "weight-only"}, Rounding("rtn", 64, 4)),
        ({"precision": "int8", "int8_algorithm": "w8a8"}, None),
        ({"precision": "int4"}, Rounding("rtn", 32, 4)),
        ({"precision": "int4", "block_size": 64, "accuracy_level": 0}, Rounding("rtn", 64, 0)),
        ({"precision": "int4", "int4_algorithm": "k-quant-mixed"}, Rounding("k-quant-mixed", 32, 4)),
    ],
)
def test_the_block_size_fits_the_model_and_the_accuracy_level_is_explicit(options, expected):
    assert choose_rounding(config(**options), SMOLLM2) == expected


def test_a_block_size_that_does_not_divide_the_widths_is_refused_with_those_that_do():
    with pytest.raises(
        UsageError, match="--block-size 128 does not divide the widths 576 and 1536: type 64 or 32 or 16"
    ):
        choose_rounding(config(precision="int4", block_size=128), SMOLLM2)


def test_k_quant_needs_an_even_number_of_blocks():
    with pytest.raises(UsageError, match=r"--block-size 64 .* into an even number of blocks: type 32 or 16"):
        choose_rounding(config(precision="int4", int4_algorithm="k-quant", block_size=64), SMOLLM2)


def test_widths_that_no_block_divides_are_refused():
    odd = LlamaConfig(hidden_size=40, intermediate_size=64, num_attention_heads=2, head_dim=32)
    with pytest.raises(UsageError, match="no block of 16 weights or more divides the widths 40 and 64"):
        choose_rounding(config(precision="int8"), odd)


def test_every_architecture_that_is_offered_is_one_that_the_builder_knows():
    from onnxruntime_genai.models import builder

    source = inspect.getsource(builder.create_model)
    assert all(f'"{name}"' in source for name in ARCHITECTURES)


def test_an_unknown_architecture_is_refused_with_the_nearest():
    with pytest.raises(
        ModelError, match=r"unknown architecture of 'm' .*'LlamaForCausal'\. Did you mean 'LlamaForCausalLM'"
    ):
        check_architecture("LlamaForCausal", "m", SMOLLM2)


def test_heads_that_the_attention_kernel_does_not_compute_are_refused():
    with pytest.raises(ModelError, match=r"'m' has heads of 8: .* multiples of 16"):
        check_architecture("LlamaForCausalLM", "m", LlamaConfig(hidden_size=32, num_attention_heads=4, head_dim=8))
