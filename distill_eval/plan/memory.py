"""The bytes that a distillation holds on each device, part by part, and on disk per token of a cached teacher."""

from __future__ import annotations

from typing import NamedTuple

from distill_eval.plan.activations import Dtype, activation_bytes
from distill_eval.plan.config import TeacherSource, TrainingPlan
from distill_eval.plan.flops import head_parameters
from distill_eval.schema.plan import Method, ModelSizes

FLOAT = 4
BYTES: dict[Dtype, int] = {"float32": FLOAT, "bfloat16": 2}
MOMENTS = 2
"""AdamW's, each in float32."""
LAYER_BYTES: dict[TeacherSource, float] = {"int8": 1.0, "int4": 0.5 + 4 / 64}
"""Per parameter of a live teacher's layers as bitsandbytes holds them: int8, and nf4 with a float32 scale per 64."""


class Memory(NamedTuple):
    """Bytes on each device; `None` where the architecture's activations are not known."""

    weights: float
    gradients: float
    optimizer: float
    activations: float | None
    logits: float
    teacher: float
    peak: float | None


def peak_memory(
    teacher: ModelSizes,
    student: ModelSizes,
    config: TrainingPlan,
    dtype: Dtype,
    *,
    num_devices: int = 1,
    on_cpu: bool = False,
    method: Method = "logit",
) -> Memory:
    """What is held at most while a student is trained, but for what the methods `feature` and `attention` compare.

    The peak is at the end of the forward pass, with all activations, the loss's buffers and the head's gradient, or at
    the end of the backward pass, with all gradients; weights, moments and teacher are there at both.
    """
    size, tokens = BYTES[dtype], config.batch_size * config.max_length
    half = dtype == "bfloat16"
    copies = size * (student.parts.attention + student.parts.feed_forward + student.parts.other) if half else 0
    weights = FLOAT * student.parts.total + copies
    gradients = FLOAT * student.parts.total
    optimizer = MOMENTS * FLOAT * student.parts.total
    activations = activation_bytes(
        student,
        dtype,
        batch_size=config.batch_size,
        length=config.max_length,
        checkpointing=config.gradient_checkpointing,
        on_cpu=on_cpu,
    )
    logits = logits_bytes(student, config, dtype, on_cpu=on_cpu, answers=method != "response")
    teacher_bytes = _teacher_bytes(teacher, config.teacher_source, tokens if method != "response" else 0)
    head = FLOAT * head_parameters(student)
    tied = student.kv_cache is not None and not student.parts.head
    buckets = gradients if num_devices > 1 else 0
    forward = None if activations is None else activations + logits + head
    backward = gradients + (head if tied else 0)
    peak = None if forward is None else weights + optimizer + teacher_bytes + buckets + max(forward, backward)
    return Memory(weights, gradients + buckets, optimizer, activations, logits, teacher_bytes, peak)


def sharded_bytes(held: Memory, num_devices: int) -> float | None:
    """On each device, were weights, gradients, moments and teacher fully sharded over all (ZeRO-3, arXiv 1910.02054).

    Activations and the loss stay whole, and what is gathered of a layer while it computes is not counted; `None` where
    the activations are not known.
    """
    if held.activations is None:
        return None
    states = held.weights + held.gradients / 2 + held.optimizer + held.teacher  # no second copy in buckets
    return states / num_devices + held.activations + held.logits


def logits_bytes(
    student: ModelSizes, config: TrainingPlan, dtype: Dtype, *, on_cpu: bool, answers: bool = True
) -> float:
    """The buffers of the loss: of a chunk of rows and of a block inside it, or the textbook's of all rows.

    A chunk's logits of both models stand in their dtypes; of a block there are float32 copies: two that are used again,
    the teacher's softened logits, its log-probabilities, and one of each model's logits that are not float32. The
    textbook holds logits and float32 probabilities of both, and the gradient. A classifier's are too few to count.
    Where the teacher does not answer while the student learns (`answers`), there is nothing of it.
    """
    if student.kv_cache is None:
        return 0.0
    from distill_eval.distill.projection import BLOCK_ELEMENTS, GPU_BLOCK_ELEMENTS, even_chunk_rows

    rows, vocabulary, size = config.batch_size * config.max_length, student.vocab_size, BYTES[dtype]
    is_live = answers and config.teacher_source != "cached"
    theirs = 2 if is_live else 0
    hidden = 0 if student.shape is None else student.shape.hidden_size
    ends = rows * hidden * (2 * FLOAT + (size if size < FLOAT else 0))  # the scored rows, their copy and gradient
    if not config.chunked_loss:
        return rows * vocabulary * (size + theirs + 3 * FLOAT) + ends
    chunk = even_chunk_rows(rows, vocabulary, size)
    elements = BLOCK_ELEMENTS["cpu"] if on_cpu else GPU_BLOCK_ELEMENTS
    block = min(chunk, max(1, elements // vocabulary))
    blocks = 2 + (3 if is_live else 0) + (size < FLOAT)
    head = 2 * size * head_parameters(student) if size < FLOAT else 0  # its copy, and a chunk's gradient of it
    return vocabulary * (chunk * (size + theirs) + block * blocks * FLOAT) + ends + head


def _teacher_bytes(teacher: ModelSizes, source: TeacherSource, tokens: int) -> float:
    """Weights, and the last hidden states of the tokens that it answers; nothing of a cached one."""
    if source == "cached":
        return 0.0
    hidden = 0 if teacher.shape is None else teacher.shape.hidden_size
    layers = teacher.parts.attention + teacher.parts.feed_forward
    return 2 * (teacher.parts.total - layers) + LAYER_BYTES.get(source, 2.0) * layers + 2 * tokens * hidden


def cache_bytes_per_token(vocab_size: int) -> float:
    """What `cache-teacher` keeps of a token at most, by its default: as many draws as 128 bytes hold."""
    from distill_eval.distill.kept_rows import most_kept, soft_bytes

    return soft_bytes("sample", most_kept("sample", vocab_size), vocab_size)
