"""Find a teacher's files and read its configuration, so that whatever is wrong is said before weights are loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NamedTuple

from distill_eval import checkpoint
from distill_eval.errors import ModelError, boundary
from distill_eval.schema.model import ModelRef
from distill_eval.student.architectures import ARCHITECTURES, Architecture

Kind = Literal["causal", "classifier"]


class Teacher(NamedTuple):
    """What is known of a teacher without its weights."""

    ref: ModelRef
    config: Any
    """The transformers config."""
    kind: Kind
    class_name: str

    @property
    def architecture(self) -> Architecture:
        """Where to cut it.

        Raises:
            ModelError: it is of an architecture that can lose layers at most.
        """
        known = ARCHITECTURES.get(self.class_name)
        if known is None:
            raise ModelError(
                f"{str(self.ref)!r} is a {self.class_name}, of which layers can be listed with --keep-layers or "
                f"--drop-layers and nothing else. All options know {', '.join(sorted(ARCHITECTURES))}"
            )
        for field, value in known.required.items():
            if getattr(self.config, field, value) != value:
                raise ModelError(f"{str(self.ref)!r} has {field}={getattr(self.config, field)}: expected {value}")
        return known


def locate(ref: ModelRef) -> Path:
    """The folder with everything but the weights: the user's own, or a snapshot of the Hub repository.

    Raises:
        UsageError: a revision of a local folder was asked for.
        ModelError: there is no such folder, repository or revision, or the Hub cannot be reached.
    """
    return checkpoint.locate(ref, checkpoint.SMALL_FILES, role="teacher")


def read_teacher(ref: ModelRef, folder: Path) -> Teacher:
    """The config of a causal language model, or of a sequence classifier that can be cut.

    Raises:
        ModelError: there is no readable config, or the model is of a kind that is not supported.
    """
    from transformers import AutoConfig

    with boundary(ModelError, f"the config of {str(ref)!r} cannot be read (code from a repository is never run)"):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    return describe(ref, config)


def describe(ref: ModelRef, config: Any) -> Teacher:
    """What a config says of a teacher that can be cut.

    Raises:
        ModelError: it is of a kind that is not supported, or quantized.
    """
    name, kind = _kind(ref, config)
    if getattr(config, "quantization_config", None) is not None:
        raise ModelError(f"{str(ref)!r} is quantized: name the unquantized model, and quantize the student afterwards")
    if not isinstance(getattr(config, "num_hidden_layers", None), int):
        raise ModelError(f"{name} has no num_hidden_layers in its config: layers cannot be dropped from {str(ref)!r}")
    return Teacher(ref, config, kind, name)


def _kind(ref: ModelRef, config: Any) -> tuple[str, Kind]:
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    causal: Any = getattr(MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None), "__name__", None)
    name = (config.architectures or [causal or type(config).__name__])[0]
    if name.endswith("ForSequenceClassification") and name in ARCHITECTURES:
        return name, "classifier"
    if getattr(config, "is_encoder_decoder", False) or name != causal:
        classifiers = ", ".join(known for known in ARCHITECTURES if known.endswith("ForSequenceClassification"))
        raise ModelError(
            f"{str(ref)!r} is a {name}: expected a causal language model without an encoder, or one of {classifiers}"
        )
    return name, "causal"


def fetch_weights(ref: ModelRef) -> Path:
    """The folder with the safetensors weights too; on the Hub they are downloaded now.

    Raises:
        ModelError: there are none, only pickle files, or a shard is missing.
    """
    return checkpoint.locate_with_weights(ref, checkpoint.SMALL_FILES, role="teacher")
