"""A student with a new config: random weights, or the teacher's where the shape is the same."""

from __future__ import annotations

import copy
import re
from typing import Any

import torch
from transformers import PreTrainedModel

from distill_eval.errors import UsageError
from distill_eval.schema.student import Shape
from distill_eval.student.architectures import Architecture
from distill_eval.student.count import auto_class, label_tensors
from distill_eval.student.depth import evenly_spaced, keep_in_config
from distill_eval.student.shape import write_widths
from distill_eval.student.teacher import Kind


def make_fresh(
    teacher: PreTrainedModel, architecture: Architecture, shape: Shape, kind: Kind, *, seed: int
) -> PreTrainedModel:
    """A model of the shape with transformers' own random initialization, in the teacher's dtype.

    Layer types (sliding or full attention) are those of the teacher's first layers. The global random state of torch
    is left as it was.
    """
    config = resized(teacher.config, architecture, shape)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        student: PreTrainedModel = auto_class(kind).from_config(config, dtype=teacher.dtype)
    student.eval()
    return student


def resized(teacher: Any, architecture: Architecture, shape: Shape) -> Any:
    """The teacher's config with the sizes of the shape, its layers like the teacher's first ones."""
    config = copy.deepcopy(teacher)
    keep_in_config(config, tuple(range(shape.num_layers)))
    write_widths(config, architecture, shape)
    return config


def copy_matching(teacher: PreTrainedModel, student: PreTrainedModel, architecture: Architecture) -> int:
    """Copy every tensor of the teacher's shape, layers from those spread evenly over it; the parameters copied.

    Raises:
        UsageError: no tensor has its teacher's shape.
    """
    source = evenly_spaced(student.config.num_hidden_layers, teacher.config.num_hidden_layers)
    theirs = dict(teacher.named_parameters())
    copied = 0
    with torch.no_grad():
        for tensor in label_tensors(student, architecture):
            name = tensor.name
            if tensor.layer is not None:
                place = re.escape(architecture.layers)
                name = re.sub(rf"^({place})\.\d+\.", rf"\g<1>.{source[tensor.layer]}.", name)
            if theirs[name].shape == tensor.parameter.shape:
                tensor.parameter.copy_(theirs[name])
                copied += tensor.parameter.numel()
    if copied == 0:
        raise UsageError(
            "--init teacher: no tensor of the new student has its teacher's shape. Type --init random, or keep the "
            "hidden size; without --fresh the teacher's tensors are cut to size"
        )
    return copied
