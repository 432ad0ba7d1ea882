"""Classifiers and encoders that become one: what their labels are, and how they are loaded."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from transformers import (
    MODEL_FOR_MASKED_LM_MAPPING,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    AutoModelForSequenceClassification,
    set_seed,
)

from distill_eval.distill import models
from distill_eval.distill.classifier.labels import ModelLabels
from distill_eval.distill.models import Located
from distill_eval.errors import UsageError, require

CLASSIFIER = "ForSequenceClassification"


def read_labels(model: Located, role: str) -> ModelLabels | None:
    """A classifier's labels in the order of its logits; `None` for an encoder without a head.

    Args:
        model: Before its weights are loaded.
        role: `student` or `teacher`; a teacher has to be a classifier.

    Raises:
        UsageError: it is of another kind, or gives no distribution over labels.
    """
    config, name = model.config, (model.config.architectures or [type(model.config).__name__])[0]
    if not name.endswith(CLASSIFIER):
        _require_encoder(model, name, role)
        return None
    problem = getattr(config, "problem_type", None)
    require(
        problem in (None, "single_label_classification") and config.num_labels > 1,
        f"--{role} {model.ref} gives {config.num_labels} labels ({problem or 'a regression'}): expected a classifier "
        "that chooses one of several labels",
    )
    return ModelLabels(str(model.ref), tuple(str(config.id2label[number]) for number in range(config.num_labels)))


def _require_encoder(model: Located, name: str, role: str) -> None:
    """Refuse what cannot be a classifier, or is none yet although it should teach."""
    kind = type(model.config)
    encoder = kind in MODEL_FOR_MASKED_LM_MAPPING and kind in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING
    if not encoder or "CausalLM" in name or name.endswith("LMHeadModel"):
        raise UsageError(
            f"--{role} {model.ref} is a {name}, which has no labels: --label-column trains a sequence classifier "
            "(BERT, DistilBERT, RoBERTa ...). Take one, or leave --label-column out to train a language model"
        )
    require(
        role == "student",
        f"--teacher {model.ref} is a {name}, an encoder without a classification head: it knows no labels. Train it "
        f"first: distill-eval distill --student {model.ref} --alpha 0 --label-column ...",
    )


def load_student(student: Located, names: Sequence[str], seed: int, device: str) -> Any:
    """The classifier to train, in float32, with these labels; an encoder gets a head drawn from the seed.

    Raises:
        ModelError: it cannot be loaded, or lacks more than a head.
    """
    config = copy.deepcopy(student.config)
    numbers = {name: number for number, name in enumerate(names)}
    config.update({"id2label": dict(enumerate(names)), "label2id": numbers})
    may_lack = None
    if not (config.architectures or [""])[0].endswith(CLASSIFIER):
        built: Any = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[type(config)]
        inside = f"{built.base_model_prefix}."

        def may_lack(name: str) -> bool:  # sentence encoders and masked language models come without a pooler
            return not name.startswith(inside) or ".pooler." in name

    set_seed(seed)
    auto = AutoModelForSequenceClassification
    return models.load_strictly(student, auto, may_lack=may_lack, config=config, dtype=torch.float32).to(device)


def load_teacher(teacher: Located, dtype: str, device: str) -> Any:
    """The teacher, frozen, in evaluation mode; see `distill.models.load_teacher`."""
    return models.load_teacher(teacher, dtype, device, AutoModelForSequenceClassification)
