"""The command line of `distill-eval prepare`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from distill_eval.errors import require
from distill_eval.record import record
from distill_eval.schema.model import ModelRef
from distill_eval.schema.student import LayerMeasure
from distill_eval.student.layers import check_syntax
from distill_eval.student.sizes import parse_size

_DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")


@record
class PrepareConfig:
    """Make a student from a teacher: fewer layers, narrower ones, or a new model of the same kind."""

    teacher: str
    """Hub name (org/name or org/name@revision) or folder of a causal language model or sequence classifier."""
    output_dir: Path
    """Folder to write the student to; it must not exist, or be empty."""
    keep_layers: str | None = None
    """Layers to keep, from 0, in ascending order: numbers, ranges and slices, e.g. 0,1,2,5-9 or ::2."""
    drop_layers: str | None = None
    """Layers to drop, written like those to keep."""
    num_layers: int | None = None
    """Keep so many layers, those that matter most on the calibration text."""
    importance: LayerMeasure | None = None
    """How layers are ranked: block-influence (the default), or loss, its rise without the layer, one pass for each."""
    keep_ends: bool = True
    """The first and the last layer stay whatever their importance; --no-keep-ends lets them go."""
    ffn_size: int | None = None
    """Inner neurons of each feed-forward block to keep, by their activations on the calibration text."""
    hidden_size: int | None = None
    """Channels of the residual stream to keep, likewise."""
    num_heads: int | None = None
    """Query heads per layer to keep, likewise; grouped ones go together with their key and value head."""
    target_params: str | None = None
    """Parameters of the student, within 2 %, e.g. 80M; sizes that are not given are chosen to meet it."""
    ratio: float | None = None
    """The same as a share of the teacher's parameters, e.g. 0.5."""
    fresh: bool = False
    """A new config in the teacher's proportions, deeper rather than wider, instead of a cut teacher."""
    init: Literal["random", "teacher"] | None = None
    """Weights of a fresh student: random (the default), or the teacher's where a tensor has its shape."""
    calibration: str | None = None
    """Text on which importance and loss are measured: .txt, .jsonl, .parquet or .csv file, folder, or Hub data set."""
    calibration_subset: str | None = None
    """Subset (config) of a Hub data set, e.g. wikitext-2-raw-v1."""
    calibration_split: str = "train"
    """Split of a Hub data set."""
    text_column: str = "text"
    """Column of the calibration data that holds the text."""
    calibration_samples: int = 32
    """Samples to measure on."""
    calibration_length: int = 512
    """Tokens per sample; a language model's text is cut into pieces of this length, a classifier's truncated to it."""
    seed: int = 0
    """Of the choice of calibration text and of random weights."""
    device: str = "auto"
    """Where to measure: auto, cpu, cuda or cuda:N."""

    def __post_init__(self) -> None:
        ModelRef.parse(self.teacher)
        for text, option in ((self.keep_layers, "--keep-layers"), (self.drop_layers, "--drop-layers")):
            if text is not None:
                check_syntax(text, option)
        if self.target_params is not None:
            parse_size(self.target_params)
        _check_numbers(self)
        _check_layers(self)
        _check_together(self)

    @property
    def has_target(self) -> bool:
        """Whether a number of parameters is asked for."""
        return self.target_params is not None or self.ratio is not None

    @property
    def ranks_layers(self) -> bool:
        """Whether layers are chosen by their importance."""
        listed = self.keep_layers is not None or self.drop_layers is not None
        return not self.fresh and (self.num_layers is not None or (self.has_target and not listed))

    @property
    def needs_calibration(self) -> bool:
        """Whether anything is chosen by its importance."""
        narrower = (self.ffn_size, self.hidden_size, self.num_heads) != (None, None, None)
        return not self.fresh and (self.ranks_layers or narrower or self.has_target)


def _check_numbers(config: PrepareConfig) -> None:
    at_least = {
        "--num-layers": (config.num_layers, 1),
        "--ffn-size": (config.ffn_size, 1),
        "--hidden-size": (config.hidden_size, 1),
        "--num-heads": (config.num_heads, 1),
        "--calibration-samples": (config.calibration_samples, 1),
        "--calibration-length": (config.calibration_length, 2),
    }
    for option, (value, least) in at_least.items():
        require(value is None or value >= least, f"{option} {value}: expected {least} or more")
    r = config.ratio
    require(r is None or 0 < r <= 1, f"--ratio {r}: expected a share of the teacher between 0 and 1, e.g. 0.5")
    require(config.seed >= 0, f"--seed {config.seed}: expected 0 or more")
    device = config.device
    require(bool(_DEVICE.fullmatch(device)), f"--device {device!r}: expected auto, cpu, cuda or cuda:N")


def _check_layers(config: PrepareConfig) -> None:
    given = {
        "--keep-layers": config.keep_layers,
        "--drop-layers": config.drop_layers,
        "--num-layers": config.num_layers,
    }
    named = [option for option, value in given.items() if value is not None]
    require(len(named) <= 1, f"{' and '.join(named)} say the same in different ways: give one of them")
    listed = [option for option in named if option != "--num-layers"]
    require(not (config.fresh and listed), f"{'/'.join(listed)} cuts the teacher, --fresh does not: type --num-layers")
    measure = "--importance" if config.importance is not None else "--no-keep-ends" if not config.keep_ends else ""
    require(
        not measure or config.ranks_layers,
        f"{measure}: no layer is chosen by importance here; it goes with --num-layers, --target-params or --ratio, "
        "without --fresh, --keep-layers and --drop-layers",
    )


def _check_together(config: PrepareConfig) -> None:
    sizes = (config.num_layers, config.ffn_size, config.hidden_size, config.num_heads)
    asked = config.has_target or (config.keep_layers, config.drop_layers, *sizes) != (None,) * 6
    require(
        asked,
        "prepare: say what the student keeps, e.g. --keep-layers ::2, --num-layers 20, --ffn-size 1024, --ratio 0.5 "
        "or --target-params 80M",
    )
    both = config.target_params is not None and config.ratio is not None
    require(not both, "--target-params and --ratio are two ways to say the same: give one of them")
    require(config.init is None or config.fresh, "--init says how a new model begins: it goes with --fresh")
    require(
        config.calibration is not None or not config.needs_calibration,
        "what is removed is chosen by its importance on text: name some, e.g. --calibration corpus.txt. "
        "(--keep-layers and --drop-layers alone need none, nor does --fresh)",
    )
