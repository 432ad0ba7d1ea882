"""The command line of `distill-eval quantize`."""

from __future__ import annotations

from dataclasses import field
from pathlib import Path
from typing import Literal

from distill_eval.errors import require
from distill_eval.quantize.schemes import SCHEMES, SchemeFacts, check_algorithm, read_scheme
from distill_eval.record import record
from distill_eval.schema.model import ModelRef
from distill_eval.schema.quant import Scheme

DEFAULT_ITERATIONS = 200
Way = Literal["rtn", "autoround", "bitsandbytes"]


@record
class QuantizeConfig:
    """Make an INT8 or INT4 variant of a model, load it again, and measure what that did to it."""

    model: str
    """Hub name (org/name or org/name@revision) or folder of a causal language model."""
    scheme: str
    """W8A8, W4A16 or W8A16 (compressed-tensors: transformers and vLLM, W8A16 there on a GPU alone), or int8 or nf4
    (bitsandbytes: transformers)."""
    output_dir: Path
    """Folder to write the variant to; it must not exist, or be empty."""
    calibration: str
    """Text for calibration and for the check: .txt, .jsonl, .parquet or .csv file, folder, or Hub data set."""
    calibration_subset: str | None = None
    """Subset (config) of a Hub data set, e.g. wikitext-2-raw-v1."""
    calibration_split: str = "train"
    """Split of a Hub data set."""
    text_column: str = "text"
    """Column of the calibration data that holds the text."""
    calibration_samples: int = 128
    """Samples to calibrate on; those to check on are drawn behind them."""
    calibration_length: int = 512
    """Tokens per sample."""
    held_out_samples: int = 16
    """Samples to check the variant on; none of them calibrates."""
    algorithm: str | None = None
    """rtn (round to nearest, the default) or autoround (tunes the rounding on the calibration text, block by block)."""
    iterations: int | None = None
    """Steps of autoround per block (default: 200)."""
    group_size: int | None = None
    """Weights that share a scale; by default the largest of 128, 64, 32, 16 that fits (W8A8, W8A16: a whole row)."""
    symmetric: bool = True
    """--no-symmetric gives every group a zero point, too (W8A16 and W4A16; not every engine takes it)."""
    double_quant: bool = False
    """Quantize the scales of nf4, too."""
    ignore: tuple[str, ...] = field(default_factory=lambda: ("lm_head",))
    """Layers to leave in high precision: names, their last parts, or patterns with * and ?."""
    keep_best: int = 0
    """Leave so many of the most harmful layers in high precision; what an engine fuses (q, k, v) counts as one."""
    max_kl: float | None = None
    """Warn when the mean KL to the original is above this (nats per token); the default depends on the scheme."""
    seed: int = 0
    """Of the choice of text, and of autoround."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda or cuda:N."""

    def __post_init__(self) -> None:
        ModelRef.parse(self.model)
        read_scheme(self.scheme)
        _check_numbers(self)
        _check_together(self)

    @property
    def known_scheme(self) -> Scheme:
        """The scheme."""
        return read_scheme(self.scheme)

    @property
    def facts(self) -> SchemeFacts:
        """What the scheme is."""
        return SCHEMES[self.known_scheme]

    @property
    def way(self) -> Way:
        """What quantizes."""
        if self.facts.backend == "bitsandbytes":
            return "bitsandbytes"
        return "autoround" if self.algorithm == "autoround" else "rtn"


def _check_numbers(config: QuantizeConfig) -> None:
    at_least = {
        "--calibration-samples": (config.calibration_samples, 1),
        "--calibration-length": (config.calibration_length, 2),
        "--held-out-samples": (config.held_out_samples, 1),
        "--iterations": (config.iterations, 1),
        "--group-size": (config.group_size, 1),
        "--keep-best": (config.keep_best, 0),
        "--seed": (config.seed, 0),
    }
    for option, (value, least) in at_least.items():
        require(value is None or value >= least, f"{option} {value}: expected {least} or more")
    kl = config.max_kl
    require(kl is None or kl > 0, f"--max-kl {kl}: expected nats per token above 0, e.g. 0.05")


def _check_together(config: QuantizeConfig) -> None:
    if config.algorithm is not None:
        check_algorithm(config.algorithm)
    bitsandbytes = config.way == "bitsandbytes"
    given = {
        "--algorithm": config.algorithm is not None,
        "--group-size": config.group_size is not None,
        "--no-symmetric": not config.symmetric,
    }
    named = [option for option, is_given in given.items() if is_given]
    require(not (bitsandbytes and named), f"{', '.join(named)}: bitsandbytes {config.scheme} knows no such choice")
    require(
        config.symmetric or config.scheme != "W8A8", "--no-symmetric: engines run W8A8 with symmetric weights alone"
    )
    require(
        config.group_size is None or config.scheme != "W8A8",
        "--group-size: W8A8 has one scale per output channel, which is what its int8 kernels take",
    )
    require(not config.double_quant or config.scheme == "nf4", "--double-quant goes with --scheme nf4")
    require(
        config.iterations is None or config.algorithm == "autoround", "--iterations goes with --algorithm autoround"
    )
