"""bitsandbytes' int8 (LLM.int8(), Dettmers et al. 2022, arXiv 2208.07339) and nf4 (QLoRA, arXiv 2305.14314).

transformers quantizes while it loads. Nothing else here asks for bitsandbytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from distill_eval.errors import ModelError, StoreError, boundary
from distill_eval.schema.quant import Scheme


def write_quantized(
    source: Path, output: Path, *, scheme: Scheme, ignored: Sequence[str], double_quant: bool, device: str
) -> None:
    """Quantize the weights of a model folder and write them.

    Raises:
        ModelError: the model cannot be loaded or quantized.
        StoreError: the output cannot be written.
    """
    wanted = BitsAndBytesConfig(
        load_in_8bit=scheme == "int8",
        load_in_4bit=scheme == "nf4",
        llm_int8_skip_modules=list(ignored),
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=double_quant,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    with boundary(ModelError, f"bitsandbytes cannot quantize {source}"):
        model: Any = AutoModelForCausalLM.from_pretrained(
            source,
            quantization_config=wanted,
            dtype="auto",
            device_map=device,
            use_safetensors=True,
            trust_remote_code=False,
        )
    with boundary(StoreError, f"cannot write {output}"):
        model.save_pretrained(output)
