from pathlib import Path

import pytest

from distill_eval import cli
from distill_eval.errors import UsageError
from distill_eval.student.config import PrepareConfig


def make(**options):
    return PrepareConfig(teacher="name", output_dir=Path("out"), **options)


def test_refuses_before_anything_is_read():
    with pytest.raises(UsageError, match="'name@' is not a model"):
        PrepareConfig(teacher="name@", keep_layers="0", output_dir=Path("out"))
    with pytest.raises(UsageError, match="--keep-layers '0,x': 'x' is not a layer"):
        make(keep_layers="0,x")
    with pytest.raises(UsageError, match="--drop-layers '0,x': 'x' is not a layer"):
        make(drop_layers="0,x")


def test_accepts_a_revision():
    config = PrepareConfig(teacher="org/name@v1", keep_layers="::2", output_dir=Path("out"))
    assert config.teacher == "org/name@v1"


TEXT = {"calibration": "corpus.txt"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "prepare: say what the student keeps, e.g. --keep-layers ::2"),
        (TEXT, "prepare: say what the student keeps"),
        ({"fresh": True}, "prepare: say what the student keeps"),
        ({"keep_layers": "0", "drop_layers": "1"}, "--keep-layers and --drop-layers say the same in different ways"),
        ({"keep_layers": "0", "num_layers": 1, **TEXT}, "--keep-layers and --num-layers say the same"),
        ({"target_params": "80M", "ratio": 0.5, **TEXT}, "--target-params and --ratio are two ways to say the same"),
        ({"target_params": "80X", **TEXT}, "--target-params '80X': expected a number of parameters"),
        ({"ratio": 0.0, **TEXT}, "--ratio 0.0: expected a share of the teacher between 0 and 1, e.g. 0.5"),
        ({"ratio": 1.5, **TEXT}, "--ratio 1.5: expected a share"),
        ({"ratio": float("nan"), **TEXT}, "--ratio nan: expected a share"),
        ({"num_layers": 0, **TEXT}, "--num-layers 0: expected 1 or more"),
        ({"ffn_size": 0, **TEXT}, "--ffn-size 0: expected 1 or more"),
        ({"hidden_size": -8, **TEXT}, "--hidden-size -8: expected 1 or more"),
        ({"num_heads": 0, **TEXT}, "--num-heads 0: expected 1 or more"),
        ({"keep_layers": "0", "calibration_samples": 0}, "--calibration-samples 0: expected 1 or more"),
        ({"keep_layers": "0", "calibration_length": 1}, "--calibration-length 1: expected 2 or more"),
        ({"keep_layers": "0", "seed": -1}, "--seed -1: expected 0 or more"),
        ({"keep_layers": "0", "device": "gpu"}, "--device 'gpu': expected auto, cpu, cuda or cuda:N"),
        ({"num_layers": 4}, "what is removed is chosen by its importance on text: name some, e.g. --calibration"),
        ({"ffn_size": 8}, "what is removed is chosen by its importance on text"),
        ({"ratio": 0.5}, "what is removed is chosen by its importance on text"),
        ({"keep_layers": "0", "ratio": 0.5}, "what is removed is chosen by its importance on text"),
        ({"keep_layers": "0", "importance": "loss"}, "--importance: no layer is chosen by importance here"),
        ({"keep_layers": "0", "keep_ends": False}, "--no-keep-ends: no layer is chosen by importance here"),
        ({"fresh": True, "ratio": 0.5, "importance": "loss"}, "--importance: no layer is chosen by importance here"),
        ({"fresh": True, "keep_layers": "0"}, "--keep-layers cuts the teacher, --fresh does not: type --num-layers"),
        ({"fresh": True, "ratio": 0.5, "drop_layers": "0"}, "--drop-layers cuts the teacher, --fresh does not"),
        ({"keep_layers": "0", "init": "teacher"}, "--init says how a new model begins: it goes with --fresh"),
    ],
)
def test_refuses_what_does_not_go_together(options, message):
    with pytest.raises(UsageError) as error:
        make(**options)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("options", "ranks_layers", "needs_calibration"),
    [
        ({"keep_layers": "0"}, False, False),
        ({"drop_layers": "0"}, False, False),
        ({"num_layers": 3, **TEXT}, True, True),
        ({"ffn_size": 8, **TEXT}, False, True),
        ({"ratio": 0.5, **TEXT}, True, True),
        ({"ratio": 0.5, "keep_layers": "0", **TEXT}, False, True),
        ({"ratio": 0.5, "fresh": True}, False, False),
        ({"num_layers": 3, "fresh": True}, False, False),
    ],
)
def test_says_what_it_takes(options, ranks_layers, needs_calibration):
    config = make(**options)
    assert (config.ranks_layers, config.needs_calibration) == (ranks_layers, needs_calibration)


def test_the_command_line_reads_all_of_it():
    line = (
        "prepare --teacher org/name --output-dir out --num-layers 20 --importance loss --no-keep-ends --ffn-size 1024 "
        "--hidden-size 512 --num-heads 6 --target-params 80M --calibration org/data --calibration-subset en "
        "--calibration-split validation --text-column body --calibration-samples 8 --calibration-length 128 --seed 3 "
        "--device cpu"
    )
    assert cli.parse(line.split()) == PrepareConfig(
        teacher="org/name",
        output_dir=Path("out"),
        num_layers=20,
        importance="loss",
        keep_ends=False,
        ffn_size=1024,
        hidden_size=512,
        num_heads=6,
        target_params="80M",
        calibration="org/data",
        calibration_subset="en",
        calibration_split="validation",
        text_column="body",
        calibration_samples=8,
        calibration_length=128,
        seed=3,
        device="cpu",
    )
    fresh = cli.parse(
        ["prepare", "--teacher", "t", "--output-dir", "o", "--fresh", "--ratio", "0.5", "--init", "teacher"]
    )
    assert (fresh.fresh, fresh.ratio, fresh.init) == (True, 0.5, "teacher")
