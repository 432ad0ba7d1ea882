"""Make a student from a teacher and write it as a plain Hugging Face folder."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from torch.nn import Module
from transformers import PreTrainedModel

from distill_eval.calibration import Samples, TextSource, draw_documents, draw_pieces
from distill_eval.checkpoint import hub_commit, weight_bytes
from distill_eval.device import choose_device
from distill_eval.errors import ModelError, require
from distill_eval.provenance import collect
from distill_eval.record import to_json
from distill_eval.schema.model import ModelRef
from distill_eval.schema.student import CalibrationLoss, ChannelGroup, FreshStart, StudentInit
from distill_eval.store.folder import beside, publish, require_free
from distill_eval.student import folder as files
from distill_eval.student.architectures import ARCHITECTURES
from distill_eval.student.config import PrepareConfig
from distill_eval.student.depth import drop_layers, most_important
from distill_eval.student.fresh import copy_matching, make_fresh
from distill_eval.student.importance import Importance, measure_importance, measure_removals
from distill_eval.student.loss import Loss, measure_loss, require_answers
from distill_eval.student.plan import Plan, make_plan
from distill_eval.student.teacher import Teacher, fetch_weights, locate, read_teacher
from distill_eval.student.width import choose_channels, narrow
from distill_eval.tell import Each, telling

ARTIFACT = "student.json"


def run(
    config: PrepareConfig,
    *,
    argv: Sequence[str],
    say: Callable[[str], Any] = print,
    describe: Callable[[StudentInit], Mapping[str, str]] = lambda _: {},
) -> StudentInit:
    """Write the student's folder with its `student.json`, whole or not at all, and return that record.

    Args:
        config: What is asked.
        argv: The command line, for the record.
        say: Takes lines for the reader, while the calibration text is measured.
        describe: More files to write beside the record, by name: what it says, for people.

    Raises:
        UsageError: what is asked does not fit the teacher, the calibration text cannot be had, or the output folder
            is in use.
        ModelError: the teacher cannot be had, is of a kind that cannot be cut, has no safetensors weights, or
            cannot lose layers without changing those that stay.
        StoreError: the output folder cannot be written.
    """
    output = config.output_dir.expanduser()
    require_free(output)
    choose_device(config.device)
    ref = ModelRef.parse(config.teacher)
    small = locate(ref)
    teacher = read_teacher(ref, small)
    plan = make_plan(config, teacher)
    samples = _samples(config, teacher, small)
    folder = fetch_weights(ref)
    files.load_tokenizer(ref, folder)
    with beside(output) as scratch:
        built = scratch / "student"
        student = _build(config, teacher, plan, samples, folder, built, telling(say), argv)
        publish(built, output, {ARTIFACT: to_json(student), **describe(student)})
    return student


class _Made(NamedTuple):
    """A student in memory, and what was decided on the way."""

    model: PreTrainedModel
    layers: tuple[int, ...]
    layer_importance: tuple[float, ...] | None
    channels: tuple[ChannelGroup, ...]
    fresh: FreshStart | None


def _build(
    config: PrepareConfig,
    teacher: Teacher,
    plan: Plan,
    samples: Samples | None,
    folder: Path,
    built: Path,
    each: Each,
    argv: Sequence[str],
) -> StudentInit:
    """Load the teacher, make the student, write its folder, and prove that it loads as the same model."""
    model = files.load(teacher.ref, folder, teacher.kind)
    num_parameters = model.num_parameters()
    seen = None if samples is None else _look(model, config, teacher, plan, samples, each)
    made = _fresh(config, teacher, plan, model) if config.fresh else _cut(config, teacher, plan, model, seen)
    del model
    counted = plan.num_parameters or made.model.num_parameters()
    if made.model.num_parameters() != counted:
        raise ModelError(f"{teacher.class_name} has {made.model.num_parameters():,} parameters, expected {counted:,}")
    loss = None if samples is None or seen is None else _loss(made.model, config, teacher, samples, seen.loss, each)
    expected = files.probe(made.model, teacher.kind)
    files.write(made.model, folder, built)
    chosen = _choices(config, teacher, plan, made)
    del made  # a second copy is loaded now: never both in memory
    files.check_reload(teacher.ref, built, teacher.kind, expected)
    return StudentInit(
        **chosen,
        teacher=teacher.ref,
        teacher_commit=hub_commit(folder),
        teacher_num_parameters=num_parameters,
        student_num_parameters=counted,
        teacher_size_bytes=weight_bytes(folder),
        student_size_bytes=weight_bytes(built),
        calibration=None if samples is None else samples.facts,
        loss=loss,
        provenance=collect(argv, choose_device(config.device)),
    )


def _choices(config: PrepareConfig, teacher: Teacher, plan: Plan, made: _Made) -> dict[str, Any]:
    """The fields of the record that say what was decided and why."""
    everything = () if config.fresh else range(teacher.config.num_hidden_layers)
    dropped = tuple(layer for layer in everything if layer not in made.layers)
    return {
        "architecture": type(made.model).__name__,
        "dtype": str(made.model.dtype).removeprefix("torch."),
        "teacher_shape": plan.before,
        "student_shape": plan.after,
        "kept_layers": made.layers,
        "dropped_layers": dropped,
        "layers_chosen_by": ("importance" if plan.layers is None else "list") if dropped else None,
        "layer_measure": None if made.layer_importance is None else (config.importance or "block-influence"),
        "layer_importance": made.layer_importance,
        "channels": made.channels,
        "fresh": made.fresh,
        "target_num_parameters": plan.target,
    }


@contextmanager
def _on(device: str, model: PreTrainedModel) -> Iterator[None]:
    """Have the model on the device for a while."""
    module: Module = model  # transformers' own `to` has no types
    module.to(device)
    try:
        yield
    finally:
        module.to("cpu")


def _look(
    model: PreTrainedModel, config: PrepareConfig, teacher: Teacher, plan: Plan, samples: Samples, each: Each
) -> Importance:
    """Everything that the calibration text says about the teacher."""
    architecture = teacher.architecture if plan.is_narrower and not config.fresh else None
    with _on(choose_device(config.device), model):
        seen = measure_importance(model, samples.ids, teacher.kind, architecture, plan.before, each)
        if config.importance != "loss":
            return seen
        return seen._replace(influence=measure_removals(model, samples.ids, teacher.kind, seen.loss, each))


def _cut(config: PrepareConfig, teacher: Teacher, plan: Plan, model: PreTrainedModel, seen: Importance | None) -> _Made:
    """The teacher without what is to go."""
    layers = plan.layers
    if layers is None and seen is not None and plan.after is not None:
        layers = most_important(seen.influence, plan.after.num_layers, keep_ends=config.keep_ends)
    assert layers is not None  # nothing is chosen by importance without calibration text
    drop_layers(model, layers)
    channels: tuple[ChannelGroup, ...] = ()
    if plan.is_narrower and plan.before is not None and plan.after is not None and seen is not None:
        kept, channels = choose_channels(seen.channels, plan.before, plan.after, layers)
        model = narrow(model, teacher.architecture, plan.before, plan.after, kept, teacher.kind)
    return _Made(model, layers, None if seen is None else seen.influence, channels, None)


def _fresh(config: PrepareConfig, teacher: Teacher, plan: Plan, model: PreTrainedModel) -> _Made:
    """A new model."""
    assert plan.after is not None
    init = config.init or "random"
    student = make_fresh(model, teacher.architecture, plan.after, teacher.kind, seed=config.seed)
    copied = copy_matching(model, student, teacher.architecture) if init == "teacher" else 0
    return _Made(student, (), None, (), FreshStart(init=init, seed=config.seed, num_parameters_from_teacher=copied))


def _loss(
    model: PreTrainedModel, config: PrepareConfig, teacher: Teacher, samples: Samples, before: Loss, each: Each
) -> CalibrationLoss:
    with _on(choose_device(config.device), model):
        after = measure_loss(
            model, each("loss of the student, calibration samples", samples.ids), teacher.kind, before.answers_L
        )
    return CalibrationLoss(
        kind="cross_entropy" if teacher.kind == "causal" else "kl_to_teacher",
        num_scored=before.num_scored,
        teacher=before.mean,
        student=after.mean,
    )


def _samples(config: PrepareConfig, teacher: Teacher, folder: Path) -> Samples | None:
    """The calibration text; bad options are refused before any weights are fetched."""
    if config.calibration is None:
        return None
    require_answers(teacher.config, teacher.kind)
    known = ARCHITECTURES.get(teacher.class_name)
    longest = getattr(teacher.config, "max_position_embeddings", math.inf) - (known.unused_positions if known else 0)
    require(
        config.calibration_length <= longest,
        f"--calibration-length {config.calibration_length}: the teacher takes {longest} tokens",
    )
    draw = draw_pieces if teacher.kind == "causal" else draw_documents
    return draw(_source(config, config.calibration), files.load_tokenizer(teacher.ref, folder))


def _source(config: PrepareConfig, source: str) -> TextSource:
    return TextSource(
        source=source,
        num_samples=config.calibration_samples,
        length=config.calibration_length,
        subset=config.calibration_subset,
        split=config.calibration_split,
        column=config.text_column,
        seed=config.seed,
    )
