"""Runs the unquantized model on a student's engine, so that a loss is not billed to quantization unseen."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from distill_eval.engine import Engine, EngineChoice, guess
from distill_eval.errors import DistillEvalError, ModelError, boundary, require
from distill_eval.schema.model import ModelRef

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


class Variant(NamedTuple):
    """A student before anything is scored."""

    ref: ModelRef
    engine: Engine
    quantization: str | None
    """How its weights are packed; `None` when they are not."""


def plan_parity(config: CompareConfig, store: Store) -> dict[ModelRef, Unquantized | str]:
    """For each student that transformers does not run, its unquantized weights, or why they are not at hand.

    Raises:
        UsageError: `--parity-model` does not say which student a model is for, or names a quantized one.
        ModelError: a student cannot be found.
    """
    from distill_eval.engine.packing import quantization
    from distill_eval.evaluate.models import locate

    if not config.parity:
        return {}
    named = named_models(config)
    variants = []
    for ref, engine in config.engines.items():
        if ref in config.students:
            trusted = config.evaluation.trust_remote_code
            folder = locate(ref, store.file_digest, trust_remote_code=trusted, engine=engine)
            with boundary(ModelError, f"{ref}: its configuration cannot be read"):
                variants.append(Variant(ref, folder.engine, quantization(folder.path)))
    pairs: dict[ModelRef, Unquantized | str] = {}
    for student in variants:
        if student.engine != "hf":
            try:
                pairs[student.ref] = unquantized(student, variants, named[student.ref])
            except DistillEvalError as error:  # such as a record that another tool wrote
                pairs[student.ref] = str(error)
    return pairs


def named_models(config: CompareConfig) -> dict[ModelRef, tuple[ModelRef, ...]]:
    """What `--parity-model` names for each student: of plain models and of exports one for all, or one for each.

    Raises:
        UsageError: there are others, or one is quantized.
    """
    from distill_eval.engine.packing import UNKNOWN_PRECISION, quantization

    plain, exports = list[ModelRef](), list[ModelRef]()
    for ref in map(ModelRef.parse, config.parity_model):
        folder = Path(ref.name).expanduser()
        with boundary(ModelError, f"{ref}: its configuration cannot be read"):
            packed = quantization(folder)
        require(
            packed in (None, UNKNOWN_PRECISION),
            f"--parity-model {ref} is quantized ({packed}): expected the unquantized model, or for ONNX an export of "
            "--precision fp32",
        )
        (exports if guess(folder) == "onnx" else plain).append(ref)
    found: dict[ModelRef, tuple[ModelRef, ...]] = {ModelRef.parse(text): () for text in config.student}
    num = len(config.student)
    for kind, refs in (("models", plain), ("ONNX exports", exports)):
        require(
            len(refs) in (0, 1, num),
            f"--parity-model names {len(refs)} {kind} and --student {num} models: expected one for all students, or "
            "one for each in the same order; name one twice where two students share it",
        )
        for text, ref in zip(config.student, refs * num if len(refs) == 1 else refs, strict=False):
            found[ModelRef.parse(text)] += (ref,)
    return found


def measure_parity(
    config: CompareConfig,
    pairs: Mapping[ModelRef, Unquantized | str],
    students: Sequence[Evaluated],
    store: Store,
    progress: Progress,
) -> tuple[EngineParity, ...]:
    """What the engine and what the quantization cost each student that transformers does not run.

    A student whose unquantized model is not at hand for its engine, or cannot be run, gets an entry that says so: by
    now everything that the user asked for is scored.

    Args:
        config: What is compared.
        pairs: Of `plan_parity`.
        students: Scored, in the order of `config.students`.
        store: The evaluation cache.
        progress: Hears how far the evaluation is.
    """
    from distill_eval.compare.parity import split_loss, unknown_parity

    found: list[EngineParity] = []
    for ref, student in zip(config.students, students, strict=True):
        pair = pairs.get(ref)
        if isinstance(pair, str):
            found.append(unknown_parity(student, pair))
        elif pair is not None:
            try:
                found += split_loss(*_evaluate(config, pair, student, store, progress), student)
            except DistillEvalError as error:
                found.append(unknown_parity(student, f"the unquantized model could not be run: {error}"))
    return tuple(found)


def unquantized(student: Variant, others: Sequence[Variant], named: Sequence[ModelRef]) -> Unquantized | str:
    """The student's weights before quantization for transformers and for its engine, or why they are not at hand.

    Args:
        student: The variant.
        others: The variants of the same comparison: an unquantized export among them serves the others.
        named: Models that the user named for this student.

    Raises:
        ModelError: what a folder says it was made of cannot be read.
    """
    exports = [ref for ref in named if guess(Path(ref.name).expanduser()) == "onnx"]
    plain = made_of(student.ref) or next((ref for ref in named if ref not in exports), None)
    if student.engine == "vllm":
        plain = student.ref if student.quantization is None else plain
        reason = "its folder does not say what it was quantized from: name that with --parity-model"
        return Unquantized(plain, plain) if plain is not None else reason
    if plain is None:
        return "its folder does not say what it was exported from: name that with --parity-model"
    if student.quantization is None:
        return Unquantized(plain, student.ref)
    siblings = [other.ref for other in others if (other.engine, other.quantization) == ("onnx", None)]
    chosen = [ref for ref in exports if made_of(ref) in (plain, None)]
    moved = next(iter([*chosen, *(ref for ref in siblings if made_of(ref) == plain)]), None)
    if moved is None:
        return (
            f"there is no fp32 export of {plain} to run on the same engine: make one with distill-eval export --model "
            f"{plain} --format onnx --precision fp32, and name it with --parity-model"
        )
    return Unquantized(plain, moved)


def made_of(ref: ModelRef) -> ModelRef | None:
    """The model that a variant's folder says it was made of; `None` when it does not say.

    Raises:
        ModelError: what it says is not as our stages write it.
    """
    for name in RECORDS:
        path = Path(ref.name).expanduser() / name
        if path.is_file():
            with boundary(ModelError, f"{path} does not say what it was made of"):
                model = json.loads(path.read_text(encoding="utf-8"))["model"]
                return ModelRef(name=model["name"], revision=model.get("revision"))
    return None


def _evaluate(
    config: CompareConfig, pair: Unquantized, student: Evaluated, store: Store, progress: Progress
) -> tuple[Evaluated, Evaluated]:
    """Both runs on the first documents of each task, as far as the student has scored them."""
    from distill_eval.compare import Evaluated
    from distill_eval.evaluate.run import Session

    limit = float(min(config.parity_docs, max(task.num_docs for task in student.run.tasks)))
    options = replace(config.evaluation, tasks=tuple(dict.fromkeys(config.evaluation.tasks)), limit=limit)
    engine: EngineChoice = "onnx" if student.run.model.engine == "onnx" else "vllm"
    progress.say(f"parity: {pair.moved} on {engine} against {pair.plain} on transformers, {limit:g} documents a task")
    scored = Session(options, store, progress).evaluate([pair.plain, pair.moved], ["hf", engine])
    plain, moved = (Evaluated(run=one.run, samples=one.samples) for one in scored)
    return plain, moved
