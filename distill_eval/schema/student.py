"""How a student was made from its teacher, before any training: the content of `student.json`."""

from __future__ import annotations

from typing import Literal

from distill_eval.record import record
from distill_eval.schema.calibration import Calibration
from distill_eval.schema.model import ModelRef
from distill_eval.schema.retention import Provenance

SCHEMA = "distill-eval/student"
SCHEMA_VERSION = 3

LayerMeasure = Literal["block-influence", "loss"]
Axis = Literal["ffn", "heads", "hidden", "pooled"]


@record
class Shape:
    """The sizes of a transformer that decide its number of parameters, its vocabulary and positions aside."""

    num_layers: int
    hidden_size: int
    """Channels of the residual stream."""
    ffn_size: int
    """Inner neurons of each feed-forward block."""
    num_heads: int
    """Query heads per layer."""
    num_kv_heads: int
    """Key and value heads per layer; `num_heads` where queries are not grouped."""
    head_dim: int


@record
class CalibrationLoss:
    """The loss on the calibration text of the teacher and of the student before its training."""

    kind: Literal["cross_entropy", "kl_to_teacher"]
    """`cross_entropy`: nats per token, of the next token. `kl_to_teacher`: nats per text, of a classifier's
    answers from its teacher's, since calibration text has no labels; the teacher's own is 0."""
    num_scored: int
    """Tokens, or texts, that the mean is over."""
    teacher: float
    student: float


@record
class ChannelGroup:
    """What was removed along one axis, in one layer or (hidden size, classifier head) in the whole model.

    The importance of a channel is the mean over a sample's tokens of its absolute activation, combined over samples
    by the root of the mean square (Minitron, arXiv 2407.14679, its mean then L2).
    """

    axis: Axis
    """`ffn`: inner neurons. `heads`: KV groups, each with its query heads. `hidden`: channels of the residual
    stream. `pooled`: neurons between a classifier's encoder and its labels."""
    layer: int | None
    """The teacher's number of the layer; `None` for what all layers share."""
    num_before: int
    num_after: int
    removed: tuple[int, ...] | None
    """Their numbers in the teacher, from 0; `None` for `ffn` and `pooled`, which are too many to list."""
    kept_importance: float
    """Mean over what stayed."""
    removed_importance: float
    """Mean over what was removed."""
    removed_share: float | None
    """Of the summed importance; `None` when that is 0: nothing was ever active."""


@record
class FreshStart:
    """Where the weights of a student with a new config come from."""

    init: Literal["random", "teacher"]
    """`teacher`: tensors of the teacher's shape are copied, from layers spread evenly over the teacher's."""
    seed: int
    """Of everything that is random."""
    num_parameters_from_teacher: int


@record
class StudentInit:
    """How a student was cut from its teacher, or made anew in its likeness; its model folder holds this file."""

    schema: str = SCHEMA
    version: int = SCHEMA_VERSION
    teacher: ModelRef
    """As the user named it."""
    teacher_commit: str | None
    """The Hub commit that was read; `None` for a folder."""
    architecture: str
    """Class name in transformers, e.g. `LlamaForCausalLM`."""
    dtype: str
    """Of the weights of both, e.g. `bfloat16`."""
    teacher_shape: Shape | None
    """`None` for an architecture of which only layers can be dropped."""
    student_shape: Shape | None
    kept_layers: tuple[int, ...]
    """The teacher's layer numbers, from 0; entry i became the student's layer i. Empty for a fresh student."""
    dropped_layers: tuple[int, ...]
    layers_chosen_by: Literal["list", "importance"] | None
    """`None` when every layer was kept, or the student is fresh."""
    layer_measure: LayerMeasure | None
    """`block-influence`: 1 - cosine similarity of a layer's input and output, mean over tokens (ShortGPT, arXiv
    2403.03853). `loss`: increase of the calibration loss when the layer alone is left out."""
    layer_importance: tuple[float, ...] | None
    """One per layer of the teacher; `None` without calibration text."""
    channels: tuple[ChannelGroup, ...]
    """Empty when the width was kept, or the student is fresh."""
    fresh: FreshStart | None
    """`None` when the student was cut from the teacher."""
    target_num_parameters: int | None
    """What was asked for, if it was; the student is within 2 %."""
    teacher_num_parameters: int
    """Shared (tied) parameters counted once, as everywhere here."""
    student_num_parameters: int
    teacher_size_bytes: int
    """Bytes of the safetensors files on disk."""
    student_size_bytes: int
    calibration: Calibration | None
    loss: CalibrationLoss | None
    """`None` without calibration text."""
    provenance: Provenance
