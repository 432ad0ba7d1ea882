"""The engine `hf`: a model folder run by transformers, quantized ones too.

Shapes: T tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from distill_eval.engine import Dtype
from distill_eval.errors import ModelError, boundary

_LIBRARIES = {
    "bitsandbytes": ("bitsandbytes", "pip install 'distill-eval[quantize]'"),
    "compressed-tensors": ("compressed_tensors", "pip install compressed-tensors"),
    "auto-round": ("auto_round", "pip install 'distill-eval[quantize]'"),
    "gptq": ("gptqmodel", "pip install gptqmodel"),
    "awq": ("gptqmodel", "pip install gptqmodel"),
}
"""What a quantized folder names as its method: the module that transformers needs for it, and where that comes from."""
LENGTHS = ("max_position_embeddings", "n_positions", "seq_length")
"""Where configs say how many tokens a model reads."""
_LONGEST = 2048
"""Of a model that does not say how much it reads, as lm-eval assumes."""


class HFModel:
    """A causal language model of transformers, in evaluation mode (a `LogitModel`)."""

    def __init__(self, model: Any, tokenizer: Any, name: str = "the model") -> None:
        """Prepare. Of the model's own generation config only the tokens that end a text apply.

        Args:
            model: On its device.
            tokenizer: Its own.
            name: As the user named it, for messages.
        """
        self._name = name
        self.model, self.tokenizer = model.eval().requires_grad_(False), tokenizer
        config = model.config.get_text_config()
        self.vocab_size = int(config.vocab_size)
        known = (getattr(config, name, None) for name in LENGTHS)
        self.max_length = next((int(length) for length in known if length), _LONGEST)
        own = model.generation_config.eos_token_id
        ends = {*(own if isinstance(own, list) else [own]), tokenizer.eos_token_id} - {None}
        pad = min(ends, default=0)
        model.generation_config = GenerationConfig(do_sample=False, eos_token_id=sorted(ends) or None, pad_token_id=pad)
        self._endless = GenerationConfig(do_sample=False, pad_token_id=pad)

    @torch.no_grad()
    def logits(self, ids_T: Sequence[int]) -> Tensor:
        """Logits [T, V] behind each of these tokens, float32 on the CPU."""
        with self._running(len(ids_T)):
            ids_1T = torch.tensor([list(ids_T)], device=self.model.device)
            logits_TV: Tensor = self.model(input_ids=ids_1T, use_cache=False).logits[0]
            return logits_TV.float().cpu()

    @torch.no_grad()
    def greedy(self, ids_T: Sequence[int], num_tokens: int) -> list[int]:
        """The most likely continuation; it ends early behind an end-of-text token, which is included."""
        with self._running(len(ids_T)):
            ids_1T = torch.tensor([list(ids_T)], device=self.model.device)
            whole_1T = self.model.generate(
                input_ids=ids_1T, attention_mask=torch.ones_like(ids_1T), max_new_tokens=num_tokens
            )
            found: list[int] = whole_1T[0, ids_1T.shape[1] :].tolist()
            return found

    def greedy_each(
        self, ids_T: Sequence[int], num_tokens: int, each: Callable[[int], bool], *, ignore_eos: bool = False
    ) -> None:
        """As `greedy`, with a word at every token.

        Args:
            ids_T: What is continued.
            num_tokens: Of the continuation at most.
            each: Takes a token as soon as it is there, and says whether to go on.
            ignore_eos: Tokens that end a text end nothing.
        """

        def stop(ids_1T: Tensor, *_: object, **__: object) -> Tensor:
            return torch.tensor([not each(int(ids_1T[0, -1]))], device=ids_1T.device)

        own = self.model.generation_config
        try:
            # The model's own config fills what a config that is passed leaves out, so that it has to be another.
            self.model.generation_config = self._endless if ignore_eos else own
            with self._running(len(ids_T)), torch.no_grad():
                ids_1T = torch.tensor([list(ids_T)], device=self.model.device)
                self.model.generate(
                    input_ids=ids_1T,
                    attention_mask=torch.ones_like(ids_1T),
                    max_new_tokens=num_tokens,
                    stopping_criteria=[stop],
                )
        finally:
            self.model.generation_config = own

    def _running(self, num_tokens: int) -> Any:
        return boundary(ModelError, f"{self._name} cannot be run by transformers on {num_tokens} tokens")


def load(folder: Path, *, name: str | None = None, dtype: Dtype = "auto", device: str = "cpu") -> HFModel:
    """The model of a folder, with all of its weights.

    Args:
        folder: With safetensors weights, config and tokenizer; quantized by bitsandbytes or to compressed-tensors, too.
        name: As the user named it, for messages; by default the folder.
        dtype: To run it in; `auto` is that of its files. Of a quantized model, that of what is not quantized.
        device: `cpu` or `cuda[:n]`.

    Raises:
        ModelError: it is no causal language model, cannot be loaded, lacks weights, or the library that it was
            quantized with is missing.
    """
    what = f"cannot load {name or folder} from {folder}"
    with boundary(ModelError, what):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    check_kind(config, name or str(folder))
    check_library(config, what)
    with boundary(ModelError, what):
        auto: Any = AutoModelForCausalLM
        model, info = auto.from_pretrained(
            folder,
            config=config,
            dtype=dtype if dtype == "auto" else getattr(torch, dtype),
            device_map=device,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    missing = sorted(info["missing_keys"])
    if missing:
        raise ModelError(f"{what}: the weight files lack {', '.join(missing[:3])}; is the folder complete?")
    return HFModel(model, tokenizer, name or str(folder))


def check_kind(config: Any, name: str) -> None:
    """Refuse a model that is no causal language model.

    Raises:
        ModelError: it is an encoder-decoder, a classifier or a masked language model.
    """
    kind = (config.architectures or [""])[0]
    if config.is_encoder_decoder or kind.endswith(("ForSequenceClassification", "ForMaskedLM")):
        raise ModelError(f"{name} is a {kind or config.model_type}: expected a causal language model")


def quantization_method(config: Any) -> str | None:
    """What a transformers config says that the weights were quantized with; `None` where they were not."""
    found = getattr(config, "quantization_config", None)
    if found is None:
        return None
    return str((found if isinstance(found, dict) else found.to_dict()).get("quant_method", "an unnamed method"))


def check_library(config: Any, what: str) -> None:
    """Refuse a quantized model whose library is not installed.

    Args:
        config: Of transformers.
        what: That is then impossible.

    Raises:
        ModelError: it is not.
    """
    method = quantization_method(config)
    module, command = _LIBRARIES.get(str(method), (None, ""))
    if module is not None and find_spec(module) is None:
        raise ModelError(f"{what}: it is quantized with {method}, which needs {module}. Type: {command}")
