"""Drop decoder layers of a causal language model and write what is left as a plain Hugging Face folder."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill_eval.checkpoint import weight_files
from distill_eval.errors import ModelError, StoreError, boundary, require
from distill_eval.record import to_json
from distill_eval.schema.model import ModelRef
from distill_eval.schema.student import StudentInit
from distill_eval.student.config import PrepareConfig
from distill_eval.student.layers import parse_layers
from distill_eval.student.teacher import fetch_weights, locate, read_config

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

ARTIFACT = "student.json"
_TOKENIZER = ("tokenizer*", "vocab.*", "merges.txt", "*.model", "added_tokens.json", "special_tokens_map.json")
_COPIED = (*_TOKENIZER, "chat_template*", "generation_config.json")
"""Files that are copied as they are, so that teacher and student tokenize and generate alike to the byte."""
_PER_LAYER = ("layer_types", "mlp_layer_types", "no_rope_layers")
"""Config fields of transformers that hold one entry per layer."""


def run(config: PrepareConfig) -> StudentInit:
    """Write the student's folder with its `student.json`, whole or not at all, and return that record.

    Raises:
        UsageError: the layers do not fit the teacher, or the output folder is in use.
        ModelError: the teacher cannot be had, is not a causal language model with safetensors weights, or cannot
            lose layers without changing those that stay.
        StoreError: the output folder cannot be written.
    """
    output = config.output_dir.expanduser()
    require(_is_free(output), f"--output-dir {output} exists and is not an empty folder: name another, or remove it")
    ref = ModelRef.parse(config.teacher)
    kept = parse_layers(config.keep_layers, read_config(ref, locate(ref)).num_hidden_layers)
    folder = fetch_weights(ref)
    _check_tokenizer(ref, folder)
    with boundary(StoreError, f"cannot write below {output.parent}"):
        output.parent.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(prefix=f".{output.name}-", dir=output.parent)
    with scratch as name:
        built = Path(name) / "student"
        student = _build(ref, folder, kept, built)
        with boundary(StoreError, f"cannot write {output}"):
            (built / ARTIFACT).write_text(to_json(student), encoding="utf-8")
            built.rename(output)
    return student


def drop_layers(model: PreTrainedModel, kept: tuple[int, ...]) -> None:
    """Leave only the decoder layers `kept` in the model, renumbered, with its config made to match.

    Raises:
        ModelError: the model's decoder layers are not one list of `num_hidden_layers` modules.
    """
    from torch.nn import ModuleList

    num_layers = model.config.num_hidden_layers
    name, layers = _decoder_layers(model, num_layers)
    parent, _, attribute = name.rpartition(".")
    setattr(model.get_submodule(parent), attribute, ModuleList([layers[index] for index in kept]))
    for position, index in enumerate(kept):
        for module in layers[index].modules():
            if hasattr(module, "layer_idx"):
                module.layer_idx = position  # where the layer keeps its keys and values in the cache
    config = model.config
    config.num_hidden_layers = len(kept)
    for field in _PER_LAYER:
        values = getattr(config, field, None)
        if values is not None and len(values) == num_layers:
            setattr(config, field, [values[index] for index in kept])
    if getattr(config, "max_window_layers", None) is not None:  # Qwen: the layers below it attend to everything
        config.max_window_layers -= sum(index not in kept for index in range(min(num_layers, config.max_window_layers)))


def _decoder_layers(model: PreTrainedModel, num_layers: int) -> tuple[str, Any]:
    from torch.nn import ModuleList

    lists = {name: module for name, module in model.named_modules() if isinstance(module, ModuleList)}
    outer = {name: module for name, module in lists.items() if not any(name.startswith(f"{other}.") for other in lists)}
    found = [(name, module) for name, module in outer.items() if len(module) == num_layers]
    if len(found) != 1:
        sizes = ", ".join(f"{name} ({len(module)})" for name, module in outer.items()) or "none"
        raise ModelError(
            f"{type(model).__name__}: expected its {num_layers} decoder layers in one list of modules, found {sizes}"
        )
    return found[0]


def _build(ref: ModelRef, folder: Path, kept: tuple[int, ...], built: Path) -> StudentInit:
    """Load the teacher, drop layers, write the folder, and prove that it loads as the same model."""
    model = _load(ref, folder)
    num_layers, before = model.config.num_hidden_layers, model.num_parameters()
    drop_layers(model, kept)
    after, expected = model.num_parameters(), _probe(model)
    _write(model, folder, built)
    student = StudentInit(
        teacher=ref,
        teacher_commit=folder.name if folder.parent.name == "snapshots" else None,
        architecture=type(model).__name__,
        dtype=str(model.dtype).removeprefix("torch."),
        kept_layers=kept,
        dropped_layers=tuple(index for index in range(num_layers) if index not in kept),
        teacher_num_parameters=before,
        student_num_parameters=after,
        teacher_size_bytes=sum(file.stat().st_size for file in weight_files(folder)),
        student_size_bytes=sum(file.stat().st_size for file in weight_files(built)),
    )
    del model  # a second copy is loaded now: never both in memory
    if not _probe(_load(ref, built)).equal(expected):
        raise ModelError(
            f"{student.architecture} computes something else after layers are dropped and it is loaded again: "
            f"its config ties a layer to its number. Layers of {str(ref)!r} cannot be dropped"
        )
    return student


def _write(model: PreTrainedModel, folder: Path, built: Path) -> None:
    with boundary(StoreError, f"cannot write {built}"):
        model.save_pretrained(built)
        for pattern in _COPIED:
            for file in folder.glob(pattern):
                if file.is_file():
                    shutil.copyfile(file, built / file.name)
        for file in weight_files(built):
            file.chmod((built / "config.json").stat().st_mode)  # safetensors writes for its owner only


def _load(ref: ModelRef, folder: Path) -> PreTrainedModel:
    """The model in the dtype of its files; a model of which a weight is missing is refused, not filled with noise."""
    from transformers import AutoModelForCausalLM

    with boundary(ModelError, f"the weights of {str(ref)!r} cannot be loaded"):
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype="auto", use_safetensors=True, trust_remote_code=False, output_loading_info=True
        )
    model: PreTrainedModel = loaded[0]
    info: dict[str, Any] = loaded[1]
    missing = sorted(info["missing_keys"])
    if missing:
        raise ModelError(f"the weights of {str(ref)!r} lack {len(missing)} tensors, e.g. {missing[0]}")
    model.eval()
    return model


def _probe(model: PreTrainedModel) -> torch.Tensor:
    """The model's logits on a few fixed tokens."""
    import torch

    tokens = torch.arange(1, 17).remainder(model.config.vocab_size)[None]
    with torch.inference_mode():
        logits: torch.Tensor = model(tokens, use_cache=True).logits
    return logits


def _check_tokenizer(ref: ModelRef, folder: Path) -> None:
    from transformers import AutoTokenizer

    with boundary(ModelError, f"the tokenizer of {str(ref)!r} cannot be loaded"):
        AutoTokenizer.from_pretrained(folder, trust_remote_code=False)


def _is_free(output: Path) -> bool:
    return not output.exists() or (output.is_dir() and not any(output.iterdir()))
