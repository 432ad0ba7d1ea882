"""Floating-point operations of a forward pass and of a training step, by the convention of the field.

A multiplication with a matrix of N entries takes 2 N operations per token, and attention 4 x layers x heads x head_dim
x length (each product over the whole row, causal or not), as in PaLM's model FLOPs utilization (arXiv 2204.02311,
appendix B); norms, activations and look-ups of embeddings are not counted.
"""

from __future__ import annotations

from distill_eval.schema.plan import ModelSizes


def matrix_parameters(sizes: ModelSizes) -> int:
    """N: entries of the matrices that every token is multiplied with; of the embeddings those that are the head too."""
    parts = sizes.parts
    return parts.attention + parts.feed_forward + parts.other + head_parameters(sizes)


def head_parameters(sizes: ModelSizes) -> int:
    """Entries of the last projection, whether it is tied to the embeddings or not."""
    if sizes.kv_cache is None or sizes.parts.head:
        return sizes.parts.head
    return sizes.parts.embeddings if sizes.shape is None else sizes.vocab_size * sizes.shape.hidden_size


def attention_flops(sizes: ModelSizes, length: float) -> float:
    """Of one token's forward pass, in a row of so many; 0 where the shape is not known."""
    shape = sizes.shape
    return 0.0 if shape is None else 4.0 * shape.num_layers * shape.num_heads * shape.head_dim * length


def forward_flops(sizes: ModelSizes, length: float) -> float:
    """Of one token."""
    return 2.0 * matrix_parameters(sizes) + attention_flops(sizes, length)


def step_flops(teacher: ModelSizes | None, student: ModelSizes, length: float, *, checkpointing: bool) -> float:
    """Of one token of training: 6 N of the student, 2 N of its teacher, and attention.

    Args:
        teacher: `None` where none is asked.
        student: It is passed forward once, and backward twice as expensively.
        length: Tokens of a row.
        checkpointing: The student's layers, not its head, are computed once more.
    """
    again = forward_flops(student, length) - 2.0 * head_parameters(student) if checkpointing else 0.0
    return 3 * forward_flops(student, length) + again + (0.0 if teacher is None else forward_flops(teacher, length))
