"""Runs the unquantized model on a student's engine, so that a loss is not billed to quantization unseen."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from distill_eval.engine import EngineChoice, guess
from distill_eval.errors import ModelError, ServerError, boundary
from distill_eval.schema.model import ModelFacts, ModelRef

if TYPE_CHECKING:
    from distill_eval.compare import Evaluated
    from distill_eval.compare_config import CompareConfig
    from distill_eval.evaluate.kept import Progress
    from distill_eval.schema.retention import EngineParity
    from distill_eval.store import Store

RECORDS = ("quant.json", "export.json")
"""What our own stages write into a variant's folder; its field `model` is what the variant was made of."""


class Unquantized(NamedTuple):
    """The same weights for two engines."""

    plain: ModelRef
    """For transformers."""
    moved: ModelRef
    """For the student's engine."""


def measure_parity(
    config: CompareConfig, students: Sequence[Evaluated], store: Store, progress: Progress
) -> tuple[EngineParity, ...]:
    """What the engine and what the quantization cost each student that transformers does not run.

    A student whose unquantized model is not at hand for its engine gets an entry that says so.
    """
    from distill_eval.compare.parity import split_loss, unknown_parity

    found: list[EngineParity] = []
    models = [student.run.model for student in students]
    for student in students:
        if not config.parity or student.run.model.engine == "hf":
            continue
        pair = unquantized(student.run.model, models, [ModelRef.parse(text) for text in config.parity_model])
        if isinstance(pair, str):
            found.append(unknown_parity(student, pair))
            continue
        try:
            plain, moved = _evaluate(config, pair, student.run.model.engine, store, progress)
        except (ModelError, ServerError) as error:
            found.append(unknown_parity(student, f"the unquantized model could not be run: {error}"))
            continue
        found += split_loss(plain, moved, student)
    return tuple(found)


def unquantized(student: ModelFacts, others: Sequence[ModelFacts], named: Sequence[ModelRef]) -> Unquantized | str:
    """The student's weights before quantization for transformers and for its engine, or why they are not at hand.

    Args:
        student: The variant.
        others: The variants of the same comparison: an unquantized export among them serves the others.
        named: Models that the user named for this.
    """
    exports = [ref for ref in named if guess(Path(ref.name).expanduser()) == "onnx"]
    plain = made_of(student.ref) or next((ref for ref in named if ref not in exports), None)
    if student.engine == "vllm":
        itself = ModelRef.parse(student.ref)
        plain = itself if student.quantization is None else plain
        reason = "its folder does not say what it was quantized from: name that with --parity-model"
        return Unquantized(plain, plain) if plain is not None else reason
    if plain is None:
        return "its folder does not say what it was exported from: name that with --parity-model"
    if student.quantization is None:
        return Unquantized(plain, ModelRef.parse(student.ref))
    siblings = [ModelRef.parse(o.ref) for o in others if (o.engine, o.quantization) == ("onnx", None)]
    moved = next((ref for ref in (*exports, *siblings) if made_of(str(ref)) in (plain, None)), None)
    if moved is None:
        return (
            f"there is no fp32 export of {plain} to run on the same engine: make one with distill-eval export --model "
            f"{plain} --format onnx --precision fp32, and name it with --parity-model"
        )
    return Unquantized(plain, moved)


def made_of(ref: str) -> ModelRef | None:
    """The model that a variant's folder says it was made of; `None` when it does not say."""
    for name in RECORDS:
        path = Path(ref).expanduser() / name
        if path.is_file():
            with boundary(ModelError, f"{path} cannot be read"):
                model = json.loads(path.read_text(encoding="utf-8"))["model"]
                return ModelRef(name=model["name"], revision=model.get("revision"))
    return None


def _evaluate(
    config: CompareConfig, pair: Unquantized, engine: str, store: Store, progress: Progress
) -> tuple[Evaluated, Evaluated]:
    """Both runs on the first documents of each task."""
    from distill_eval.compare import Evaluated
    from distill_eval.evaluate.run import Session

    asked = config.evaluation.limit
    limit = config.parity_docs if asked is None else asked if asked < 1 else min(asked, config.parity_docs)
    options = replace(config.evaluation, tasks=tuple(dict.fromkeys(config.evaluation.tasks)), limit=limit)
    progress.say(f"parity: {pair.moved} on {engine} against {pair.plain} on transformers, {limit:g} documents a task")
    chosen: EngineChoice = "onnx" if engine == "onnx" else "vllm"
    scored = Session(options, store, progress).evaluate([pair.plain, pair.moved], ["hf", chosen])
    plain, moved = (Evaluated(run=one.run, samples=one.samples) for one in scored)
    return plain, moved
