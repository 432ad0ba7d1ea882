from pathlib import Path

import pytest

from distill_eval.errors import UsageError
from distill_eval.quantize.config import QuantizeConfig
from distill_eval.quantize.schemes import choose_group_size, read_scheme


def config(**options):
    settings = {"model": "org/m", "scheme": "W4A16", "output_dir": Path("o"), "calibration": "text.txt", **options}
    return QuantizeConfig(**settings)


@pytest.mark.parametrize(
    ("typed", "meant"), [("W4A61", "W4A16"), ("w8a8", "W8A8"), ("INT8", "int8"), ("W8A61", "W8A16"), ("nf", "nf4")]
)
def test_a_scheme_that_does_not_exist_is_answered_with_the_nearest(typed, meant):
    with pytest.raises(UsageError) as error:
        config(scheme=typed)
    assert str(error.value) == (
        f"unknown scheme {typed!r}. Did you mean {meant!r}? Known: W4A16, W8A16, W8A8, int8, nf4"
    )


def test_a_scheme_like_no_other_gets_the_list():
    with pytest.raises(UsageError, match=r"unknown scheme 'ternary'\. Known: W4A16, W8A16, W8A8, int8, nf4"):
        read_scheme("ternary")


@pytest.mark.parametrize(
    ("widths", "asked", "chosen"),
    [
        ({"a": 576, "b": 1536}, None, 64),
        ({"a": 512, "b": 4096}, None, 128),
        ({"a": 48}, None, 16),
        ({"a": 576}, 32, 32),
        ({"a": 300}, 100, 100),
    ],
)
def test_the_largest_group_that_divides_every_width(widths, asked, chosen):
    assert choose_group_size(widths, asked) == chosen


def test_a_group_that_does_not_fit_is_answered_with_one_that_does():
    with pytest.raises(UsageError) as error:
        choose_group_size({"mlp.down_proj": 1536, "attn.q_proj": 576}, 128)
    assert str(error.value) == (
        "a group of 128 does not divide attn.q_proj, which has 576 inputs. Type --group-size 64"
    )


def test_a_layer_that_no_group_fits_is_named():
    with pytest.raises(UsageError, match=r"a group of 16 does not divide odd, which has 50 inputs.*--ignore odd"):
        choose_group_size({"fits": 64, "odd": 50}, None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"algorithm": "gptq"}, "--algorithm gptq: no kept GPTQ implementation shares an environment"),
        ({"algorithm": "autorond"}, "unknown algorithm 'autorond'. Did you mean 'autoround'?"),
        ({"scheme": "nf4", "algorithm": "rtn"}, "--algorithm: bitsandbytes nf4 knows no such choice"),
        ({"scheme": "int8", "group_size": 64, "symmetric": False}, "--group-size, --no-symmetric: bitsandbytes int8"),
        ({"scheme": "W8A8", "symmetric": False}, "--no-symmetric: engines run W8A8 with symmetric weights alone"),
        ({"scheme": "W8A8", "group_size": 64}, "--group-size: W8A8 has one scale per output channel"),
        ({"double_quant": True}, "--double-quant goes with --scheme nf4"),
        ({"iterations": 10}, "--iterations goes with --algorithm autoround"),
        ({"iterations": 10, "algorithm": "rtn"}, "--iterations goes with --algorithm autoround"),
        ({"max_kl": 0.0}, "--max-kl 0.0: expected nats per token above 0, e.g. 0.05"),
        ({"held_out_samples": 0}, "--held-out-samples 0: expected 1 or more"),
        ({"calibration_length": 1}, "--calibration-length 1: expected 2 or more"),
        ({"keep_best": -1}, "--keep-best -1: expected 0 or more"),
    ],
)
def test_what_does_not_go_together_is_refused(options, message):
    with pytest.raises(UsageError) as error:
        config(**options)
    assert str(error.value).startswith(message)


def test_what_quantizes():
    assert [config(scheme=scheme).way for scheme in ("W8A8", "W4A16", "int8", "nf4")] == [
        "rtn",
        "rtn",
        "bitsandbytes",
        "bitsandbytes",
    ]
    assert config(algorithm="autoround").way == "autoround"
