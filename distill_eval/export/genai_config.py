"""genai_config.json: how ONNX Runtime GenAI is told of a graph that its own builder did not write."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import onnx

from distill_eval.errors import ModelError

_PAST, _PRESENT = "past_key_values.{}.{}", "present.{}.{}"
"""optimum's names of a layer's cache, in and out."""
_INPUTS = ("input_ids", "attention_mask", "position_ids")
"""The others; a model that counts positions itself has no `position_ids`."""
_SEARCH: dict[str, Any] = {"do_sample": False, "temperature": 1.0, "top_k": 50, "top_p": 1.0, "repetition_penalty": 1.0}
"""What a model's generation_config.json may say, and what it means when it does not."""


class _Cache(NamedTuple):
    num_layers: int
    num_heads: int
    head_size: int


def genai_config(graph: Path, model_config: Any, tokenizer: Any, generation: Mapping[str, Any]) -> dict[str, Any]:
    """The content of genai_config.json for a graph with optimum's names.

    Args:
        graph: The .onnx file.
        model_config: The transformers config.
        tokenizer: Its end of text ends a text, as with the builder, even where the config names another.
        generation: The content of generation_config.json; empty when there is none.

    Raises:
        ModelError: the graph has other inputs or outputs, or nothing says which token ends a text.
    """
    found = onnx.load(graph, load_external_data=False).graph
    inputs, outputs = {value.name: value for value in found.input}, {value.name for value in found.output}
    cache = _cache(inputs, outputs)
    length = model_config.max_position_embeddings
    return {
        "model": {
            **_special_tokens(model_config, tokenizer, generation),
            "context_length": length,
            "decoder": {
                "session_options": {"log_id": "onnxruntime-genai", "provider_options": []},
                "filename": graph.name,
                "head_size": cache.head_size,
                "hidden_size": model_config.hidden_size,
                "num_attention_heads": model_config.num_attention_heads,
                "num_hidden_layers": cache.num_layers,
                "num_key_value_heads": cache.num_heads,
                "inputs": {name: name for name in _INPUTS if name in inputs}
                | {f"past_{part}_names": _PAST.format("%d", part) for part in ("key", "value")},
                "outputs": {"logits": "logits"}
                | {f"present_{part}_names": _PRESENT.format("%d", part) for part in ("key", "value")},
            },
            "type": "decoder",  # any, as far as its inputs and outputs are these
            "vocab_size": model_config.vocab_size,
        },
        "search": _SEARCH
        | {name: generation[name] for name in _SEARCH if generation.get(name) is not None}
        | {
            "max_length": length,
            "past_present_share_buffer": False,  # a longer cache comes out, the one that went in stays
        },
    }


def _cache(inputs: Mapping[str, Any], outputs: set[str]) -> _Cache:
    """Of keys and values [batch, heads, tokens, size of a head] per layer, which must be all there is."""
    num_layers = sum(name.endswith(".key") for name in inputs)
    parts = [(layer, part) for layer in range(num_layers) for part in ("key", "value")]
    names, made = {_PAST.format(*part) for part in parts}, {_PRESENT.format(*part) for part in parts}
    other = sorted(set(inputs) - names - set(_INPUTS))
    if not names or other or not names <= set(inputs) or outputs != {"logits", *made}:
        raise ModelError(
            "optimum's graph is not one that ONNX Runtime GenAI runs: expected input_ids, attention_mask, a cache of "
            f"keys and values per layer, and logits; it has the inputs {', '.join(list(inputs)[:5])}, ... and the "
            f"outputs {', '.join(sorted(outputs)[:3])}, ..."
        )
    shapes = {tuple(axis.dim_value for axis in inputs[name].type.tensor_type.shape.dim) for name in names}
    if len(shapes) > 1 or len(shape := shapes.pop()) != 4 or not (shape[1] and shape[3]):
        raise ModelError(
            "optimum's graph is not one that ONNX Runtime GenAI runs: its cache is not [batch, heads, tokens, size], "
            "with heads and size fixed and the same in every layer"
        )
    return _Cache(num_layers, shape[1], shape[3])


def _special_tokens(model_config: Any, tokenizer: Any, generation: Mapping[str, Any]) -> dict[str, Any]:
    def said(name: str) -> Any:
        places = generation.get(name), getattr(model_config, name, None), getattr(tokenizer, name, None)
        return next((value for value in places if value is not None), None)

    ends = said("eos_token_id")
    if ends is None:
        raise ModelError("neither config.json nor generation_config.json nor the tokenizer names an eos_token")
    ends = ends if isinstance(ends, list) else [ends]
    turn = getattr(tokenizer, "eos_token_id", None)
    ends = ends if turn is None or turn in ends else [turn, *ends]
    start, pad = said("bos_token_id"), said("pad_token_id")
    return {
        "bos_token_id": 1 if start is None else start,  # GenAI wants one, and adds none by itself
        "eos_token_id": ends if len(ends) > 1 else ends[0],
        "pad_token_id": ends[0] if pad is None else pad,
    }
