"""What is asked of `quantize`, and everything that is found out before any work."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from torch import Tensor
from transformers import AutoTokenizer

from distill_eval import checkpoint
from distill_eval.calibration import Samples, TextSource, draw_pieces
from distill_eval.device import choose_device
from distill_eval.errors import ModelError, boundary, require
from distill_eval.quantize.config import QuantizeConfig, Way
from distill_eval.quantize.layers import Layers, read_layers
from distill_eval.quantize.schemes import choose_group_size
from distill_eval.schema.model import ModelRef
from distill_eval.tell import Each

LIBRARIES: dict[Way, tuple[str, str]] = {
    "rtn": ("compressed_tensors", "compressed-tensors"),
    "autoround": ("auto_round", "auto-round"),
    "bitsandbytes": ("bitsandbytes", "bitsandbytes"),
}
"""What each way to quantize needs: module and distribution."""
NF4_BLOCK = 64
"""Weights that share a scale; bitsandbytes' kernels for CPUs want whole blocks in every row."""
NF4_ROWS = 32
"""And so many outputs at a time."""


class Job(NamedTuple):
    """A config that has been checked against its model."""

    config: QuantizeConfig
    ref: ModelRef
    source: Path
    """The model's folder."""
    layers: Layers
    group_size: int | None
    samples: Samples
    device: str
    each: Each

    @property
    def calibration_ids(self) -> list[Tensor]:
        """Token ids to calibrate on."""
        return self.samples.ids[: self.config.calibration_samples]

    @property
    def held_out_ids(self) -> list[Tensor]:
        """Token ids to check on."""
        return self.samples.ids[self.config.calibration_samples :]


def prepare(config: QuantizeConfig, each: Each) -> Job:
    """Everything that can be refused is refused here; the weights are downloaded last.

    Raises:
        UsageError: what is asked does not fit the model, the text cannot be had, or a library is not installed.
        ModelError: the model cannot be had, or is quantized already.
    """
    require_library(config)
    device = choose_device(config.device)
    ref = ModelRef.parse(config.model)
    small = checkpoint.locate(ref, checkpoint.SMALL_FILES, role="model")
    layers = read_layers(ref, small, config.ignore)
    group_size = None
    if config.way != "bitsandbytes" and (config.facts.grouped or config.group_size is not None):
        group_size = choose_group_size(layers.widths, config.group_size)
    elif config.scheme == "nf4" and device == "cpu":
        _check_nf4(layers)
    require(
        config.keep_best < len(layers.units),
        f"--keep-best {config.keep_best}: the model has {len(layers.units)} units, and one at least is quantized",
    )
    with boundary(ModelError, f"the tokenizer of {str(ref)!r} cannot be loaded"):
        tokenizer = AutoTokenizer.from_pretrained(small, trust_remote_code=False)
    require(
        layers.max_length is None or config.calibration_length <= layers.max_length,
        f"--calibration-length {config.calibration_length}: the model reads {layers.max_length} tokens",
    )
    samples = draw_pieces(_text(config), tokenizer)
    source = checkpoint.locate_with_weights(ref, checkpoint.SMALL_FILES, role="model")
    return Job(config, ref, source, layers, group_size, samples, device, each)


def require_library(config: QuantizeConfig) -> None:
    """Refuse a scheme whose library is not installed.

    Raises:
        UsageError: it is not.
    """
    module, distribution = LIBRARIES[config.way]
    require(
        find_spec(module) is not None,
        f"--scheme {config.scheme} needs {distribution}. Type: pip install 'distill-eval[quantize]'",
    )


def _text(config: QuantizeConfig) -> TextSource:
    return TextSource(
        source=config.calibration,
        num_samples=config.calibration_samples + config.held_out_samples,
        length=config.calibration_length,
        subset=config.calibration_subset,
        split=config.calibration_split,
        column=config.text_column,
        seed=config.seed,
        num_extra=config.held_out_samples,
    )


def _check_nf4(layers: Layers) -> None:
    choose_group_size(layers.widths, NF4_BLOCK)
    for name, height in layers.heights.items():
        require(
            height % NF4_ROWS == 0,
            f"--scheme nf4: {name} has {height} outputs, and on a CPU bitsandbytes takes multiples of {NF4_ROWS}. "
            f"Leave it out with --ignore {name}",
        )
