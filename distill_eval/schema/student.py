"""How a student was made from its teacher, before any training: the content of `student.json`."""

from __future__ import annotations

from distill_eval.record import record
from distill_eval.schema.model import ModelRef

SCHEMA = "distill-eval/student"
SCHEMA_VERSION = 1


@record
class StudentInit:
    """A student that keeps some of its teacher's decoder layers; its model folder holds this file."""

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
    kept_layers: tuple[int, ...]
    """The teacher's layer numbers, from 0; entry i became the student's layer i."""
    dropped_layers: tuple[int, ...]
    teacher_num_parameters: int
    """Shared (tied) parameters counted once, as everywhere here."""
    student_num_parameters: int
    teacher_size_bytes: int
    """Bytes of the safetensors files on disk."""
    student_size_bytes: int
