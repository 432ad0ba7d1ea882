"""AutoRound (Cheng et al. 2023, arXiv 2309.05516): tune the rounding and the range of every block on calibration text.

The only file that imports auto_round.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from distill_eval.errors import ModelError, boundary
from distill_eval.quantize.schemes import SCHEMES
from distill_eval.schema.quant import Scheme

MAX_BATCH_TOKENS = 2048
"""Tokens per tuning step; the samples of a step are drawn anew each time."""


def write_tuned(
    model: Any,
    tokenizer: Any,
    samples_T: Sequence[torch.Tensor],
    output: Path,
    *,
    scheme: Scheme,
    group_size: int | None,
    symmetric: bool,
    ignored: Sequence[str],
    iterations: int,
    seed: int,
) -> Path:
    """Quantize the model, which is used up, and write it in compressed-tensors' format to a folder below `output`.

    Layers with a width that is no multiple of 32 are left in high precision, which auto-round does not say.

    Raises:
        ModelError: AutoRound cannot quantize this model.
    """
    with boundary(ModelError, "auto-round cannot quantize this model"):
        from auto_round import AutoRound, SignRoundConfig

        logging.getLogger("autoround").setLevel(logging.ERROR)
        length = len(samples_T[0])
        tuned = AutoRound(
            model,
            tokenizer=tokenizer,
            scheme=_wanted(scheme, group_size=group_size, symmetric=symmetric),
            alg_configs=SignRoundConfig(iters=iterations),
            layer_config={name: {"bits": 16, "act_bits": 16} for name in ignored},
            dataset=[{"input_ids": ids[None], "attention_mask": torch.ones_like(ids)[None]} for ids in samples_T],
            nsamples=len(samples_T),
            seqlen=length,
            batch_size=max(1, min(len(samples_T), MAX_BATCH_TOKENS // length)),
            device_map=str(model.device),
            seed=seed,
            enable_torch_compile=False,  # on a CPU its compilation takes longer than the tuning of a small model
        )
        _, written = tuned.quantize_and_save(str(output), format="llm_compressor")
    return Path(written[0] if isinstance(written, list) else written)


def _wanted(scheme: Scheme, *, group_size: int | None, symmetric: bool) -> Any:
    """The scheme in auto-round's terms."""
    from auto_round.schemes import QuantizationScheme

    facts = SCHEMES[scheme]
    inputs: dict[str, Any] = {"act_bits": 16}
    if facts.activation_bits == 8:
        inputs = {"act_bits": 8, "act_data_type": "int", "act_group_size": -1, "act_sym": True, "act_dynamic": True}
    return QuantizationScheme(
        bits=facts.weight_bits, group_size=group_size or -1, sym=symmetric, data_type="int", **inputs
    )
