"""The command line of `distill-eval export`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from distill_eval.errors import require
from distill_eval.record import record
from distill_eval.schema.export import Format, Precision
from distill_eval.schema.model import ModelRef

Algorithm = Literal["rtn", "k-quant", "k-quant-last", "k-quant-mixed"]
Int8Algorithm = Literal["weight-only", "w8a8"]
Exporter = Literal["builtin", "optimum"]

BLOCK_SIZES = (256, 128, 64, 32, 16)
ACCURACY_LEVELS = (0, 1, 4)
DEFAULT_ACCURACY_LEVEL = 4
SHORTEST = 16
"""Tokens of the longest parity text, at least: an eighth of it has a next token still."""
_DEVICE = re.compile(r"cpu|cuda")


@record
class ExportConfig:
    """Write a model as an ONNX graph that runs without this package, and prove that it is the same model."""

    model: str
    """Hub name (org/name or org/name@revision) or folder of a causal language model or sequence classifier."""
    output_dir: Path
    """Folder to write to; it must not exist, or be empty."""
    text: str
    """Text on which original and exported model are compared: .txt, .jsonl, .parquet or .csv file, folder, or Hub
    data set."""
    format: Format = "onnx"
    """What to write."""
    precision: Precision = "fp32"
    """Of the weights: fp32 must agree with the original, the others report what they lost. fp16 is for CUDA, int4 for
    causal language models."""
    exporter: Exporter = "builtin"
    """What writes the graph: builtin (ONNX Runtime GenAI's model builder; transformers for classifiers), or optimum,
    which runs in an environment of its own and knows more architectures: fp32, and int8 of a classifier."""
    optimum_cli: Path | None = None
    """With --exporter optimum, the optimum-cli command of that environment, e.g. ENV/bin/optimum-cli."""
    block_size: int | None = None
    """Weights that share a scale (int4 and int8 of a causal language model): 16, 32, 64, 128 or 256; by default the
    largest up to 32 (int4) or 64 (int8) that divides the model's widths."""
    accuracy_level: int | None = None
    """What int4 products are computed in: 0 or 1 float32, 4 int8 (the default); int8 weights take 4 alone."""
    int4_algorithm: Algorithm | None = None
    """How int4 weights are rounded: rtn (round to nearest, the default), or k-quant, with the head in 8 bit
    (k-quant-last), or the most sensitive layers too (k-quant-mixed)."""
    int8_algorithm: Int8Algorithm | None = None
    """What an int8 causal language model rounds: weight-only (blocks of weights, the default: nearest to the original,
    on any CPU), or w8a8 (weights by output channel, activations by token: reads prompts nearly twice as fast on a CPU
    with AMX, and needs VNNI on x86)."""
    text_subset: str | None = None
    """Subset (config) of a Hub data set, e.g. wikitext-2-raw-v1."""
    text_split: str = "train"
    """Split of a Hub data set."""
    text_column: str = "text"
    """Column of the data that holds the text."""
    text_samples: int = 8
    """Texts to compare on."""
    text_length: int = 256
    """Tokens of the longest; a language model's are cut to all, a half, a quarter and an eighth of it in turn."""
    seed: int = 0
    """Of the choice of text."""
    device: str = "cpu"
    """Where the graph will run: cpu or cuda."""

    def __post_init__(self) -> None:
        ModelRef.parse(self.model)
        _check_numbers(self)
        _check_precision(self)
        _check_exporter(self)

    @property
    def is_quantized(self) -> bool:
        """Whether weights become integers."""
        return self.precision in ("int8", "int4")

    @property
    def is_w8a8(self) -> bool:
        """Whether activations become integers with the weights, a scale for each token."""
        return self.int8_algorithm == "w8a8"


def _check_numbers(config: ExportConfig) -> None:
    at_least = {
        "--text-samples": (config.text_samples, 2),
        "--text-length": (config.text_length, SHORTEST),
        "--seed": (config.seed, 0),
    }
    for option, (value, least) in at_least.items():
        require(value >= least, f"{option} {value}: expected {least} or more")
    block = config.block_size
    require(block is None or block in BLOCK_SIZES, f"--block-size {block}: expected 16, 32, 64, 128 or 256")
    require(bool(_DEVICE.fullmatch(config.device)), f"--device {config.device!r}: expected cpu or cuda")


def _check_precision(config: ExportConfig) -> None:
    precision, level = config.precision, config.accuracy_level
    given = {"--block-size": config.block_size, "--accuracy-level": level}
    for option, value in given.items():
        require(
            value is None or config.is_quantized,
            f"{option} {value}: weights in {precision} have no blocks; it goes with --precision int8 or int4",
        )
    require(
        config.int4_algorithm is None or precision == "int4",
        f"--int4-algorithm {config.int4_algorithm} goes with --precision int4, not with {precision}",
    )
    require(
        config.int8_algorithm is None or precision == "int8",
        f"--int8-algorithm {config.int8_algorithm} goes with --precision int8, not with {precision}",
    )
    _check_w8a8(config, given)
    known = " or ".join(map(str, ACCURACY_LEVELS))
    require(level is None or level in ACCURACY_LEVELS, f"--accuracy-level {level}: expected {known}")
    require(
        precision != "int8" or level in (None, DEFAULT_ACCURACY_LEVEL),
        f"--accuracy-level {level} with --precision int8: ONNX Runtime has a fast kernel for 8-bit weights at level 4 "
        "alone (below it, one is about 100 times slower). Type --accuracy-level 4, or leave it out",
    )
    require(
        precision != "fp16" or config.device == "cuda",
        "--precision fp16 --device cpu: ONNX Runtime GenAI does not decode in fp16 on a CPU, and would compute in "
        "float32 anyway. Type --precision int8 or fp32, or --device cuda",
    )


def _check_w8a8(config: ExportConfig, given: Mapping[str, int | None]) -> None:
    if not config.is_w8a8:
        return
    for option, value in given.items():
        require(
            value is None,
            f"{option} {value}: --int8-algorithm w8a8 rounds whole output channels and computes in int8; leave it out, "
            "or type --int8-algorithm weight-only",
        )
    require(
        config.device == "cpu",
        f"--int8-algorithm w8a8 --device {config.device}: ONNX Runtime has these int8 products for CPUs alone. Type "
        "--int8-algorithm weight-only, or --device cpu",
    )


def _check_exporter(config: ExportConfig) -> None:
    if config.exporter != "optimum":
        require(config.optimum_cli is None, f"--optimum-cli {config.optimum_cli} goes with --exporter optimum")
        return
    require(
        config.optimum_cli is not None,
        "--exporter optimum needs --optimum-cli: optimum's own command, in another virtual environment, e.g. "
        "ENV/bin/optimum-cli",
    )
    require(
        config.precision in ("fp32", "int8"),
        f"--exporter optimum --precision {config.precision}: optimum writes fp32, of which a classifier can be "
        "quantized to int8. Leave --exporter out, or type --precision fp32",
    )
    require(
        config.device == "cpu",
        f"--exporter optimum --device {config.device}: its graphs are written for cpu here. Leave --exporter out",
    )
