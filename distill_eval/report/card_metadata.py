"""What a model card says to machines: the YAML above its text, and the files of `.eval_results/`.

Both are built of huggingface_hub's own types, so that its readers take them. The Hub's documentation has the meaning of
each field: Model Cards (metadata, model-index), Evaluation Results (`.eval_results/*.yaml`).
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from distill_eval.report import numbers
from distill_eval.report.subject import Lineage, Subject
from distill_eval.schema.model import ModelRef
from distill_eval.schema.retention import Entry, Retention, TaskFacts

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, EvalResultEntry, ModelCardData

FOLDER = ".eval_results"
TOOL = "distill-eval"
PIPELINES = {"ForCausalLM": "text-generation", "ForSequenceClassification": "text-classification"}
"""The Hub's name of what a model does, by the end of its class name."""
_NOT_IN_A_FILE_NAME = re.compile(r"[^A-Za-z0-9._-]+")


class _Measured(NamedTuple):
    """A score of the variant, with what is known of its task."""

    retention: Retention
    entry: Entry
    score: float
    task: TaskFacts | None
    """`None` for a group of tasks."""


def metadata(subject: Subject) -> ModelCardData:
    """The YAML above the text; what no artifact says is left out."""
    from huggingface_hub import ModelCardData

    base_model, relation = base(subject.lineage, subject.hub_names)
    results = _model_index(subject)
    return ModelCardData(
        base_model=base_model,
        base_model_relation=relation,
        datasets=_datasets(subject) or None,
        language=list(subject.languages) or None,
        library_name="transformers" if subject.lineage.export is None else "onnxruntime",
        license=subject.license.id,
        license_name=subject.license.name,
        license_link=subject.license.link,
        pipeline_tag=pipeline_tag(subject),
        tags=_tags(subject),
        model_name=subject.title if results else None,
        eval_results=results or None,
    )


def pipeline_tag(subject: Subject) -> str | None:
    """What the model is for, as the Hub names it; `None` for an architecture with another end."""
    architecture = subject.architecture() or ""
    return next((tag for end, tag in PIPELINES.items() if architecture.endswith(end)), None)


def base(lineage: Lineage, hub_names: Container[str]) -> tuple[str | None, str | None]:
    """The nearest model on the Hub that the weights come from, and how: the Hub's `base_model_relation`.

    `finetune` if a training lies between, else `quantized` if a quantization does, else `None`: leaving layers out and
    writing another format have no name on the Hub. Weights that begin at random come from no model.
    """
    relations = set()
    for source, relation in _steps(lineage):
        relations.add(relation)
        if source.name in hub_names:
            return source.name, next((one for one in ("finetune", "quantized") if one in relations), None)
    return None, None


def _steps(lineage: Lineage) -> Iterator[tuple[ModelRef, str | None]]:
    """What each step began with, and the step's name on the Hub, from the last to the first."""
    init = lineage.init
    if lineage.export is not None:
        yield lineage.export.model, "quantized" if lineage.export.precision in ("int8", "int4") else None
    if lineage.quant is not None:
        yield lineage.quant.model, "quantized"
    if lineage.training is not None:
        yield lineage.training.student, "finetune"
    if init is not None and (init.fresh is None or init.fresh.num_parameters_from_teacher > 0):
        yield init.teacher, None


def _datasets(subject: Subject) -> list[str]:
    training = subject.lineage.training
    return [training.data.data] if training is not None and training.data.data in subject.hub_names else []


def _tags(subject: Subject) -> list[str]:
    lineage, tags = subject.lineage, [TOOL]
    if lineage.training is not None and not lineage.training.baseline:
        tags.append("distillation")
    if lineage.init is not None and lineage.init.fresh is None:
        tags.append("pruned")
    if lineage.quant is not None:
        library = "bitsandbytes" if lineage.quant.scheme in ("int8", "nf4") else "compressed-tensors"
        tags += [library, lineage.quant.scheme.lower()]
    if lineage.export is not None:
        tags += [lineage.export.format, lineage.export.precision]
    return tags


def _model_index(subject: Subject) -> list[EvalResult]:
    """Two results per task: the score, and what that is of the teacher's, both in lm-eval's units."""
    from huggingface_hub import EvalResult

    found = []
    for one in _measured(subject):
        dataset, config = _dataset(subject, one)
        common: dict[str, Any] = {
            "task_type": pipeline_tag(subject) or "other",
            "dataset_type": dataset or one.entry.task,
            "dataset_name": one.entry.task if dataset is None else dataset,
            "dataset_config": config,
            "dataset_revision": one.task.dataset_revision if one.task is not None else None,
            "metric_args": {"num_documents": one.entry.num_pairs, "of": one.entry.num_docs_total},
        }
        how, kept = _how(one), one.entry.retention.value
        found.append(EvalResult(metric_type=one.entry.metric, metric_value=one.score, metric_name=how, **common))
        if kept is not None:
            name = f"{how}: of the score of {subject.teacher.name}"
            found.append(EvalResult(metric_type="retention", metric_value=kept, metric_name=name, **common))
    return found


def eval_results(subject: Subject) -> dict[str, str]:
    """The Hub's files of results by name, one per task: what it refuses of one says nothing of the others.

    A task has none whose data set is not one on the Hub, or which several tasks make up.
    """
    import yaml
    from huggingface_hub import eval_result_entries_to_yaml

    files: dict[str, list[EvalResultEntry]] = {}
    for one in _measured(subject):
        found = _eval_result(subject, one)
        if found is not None:
            files.setdefault(f"{FOLDER}/{_NOT_IN_A_FILE_NAME.sub('-', one.entry.task)}.yaml", []).append(found)
    return {name: yaml.safe_dump(eval_result_entries_to_yaml(found), sort_keys=False) for name, found in files.items()}


def _eval_result(subject: Subject, one: _Measured) -> EvalResultEntry | None:
    from huggingface_hub import EvalResultEntry

    dataset, config = _dataset(subject, one)
    if dataset is None or one.task is None:
        return None
    in_percent = one.entry.unit == "share"
    documents = f"{numbers.count(one.entry.num_pairs)} of {numbers.count(one.entry.num_docs_total)} documents"
    unit = "in percent" if in_percent else f"in {one.entry.unit}"
    return EvalResultEntry(
        dataset_id=dataset,
        task_id=config or "default",
        value=round(100 * one.score, 4) if in_percent else one.score,
        dataset_revision=one.task.dataset_revision,
        notes=f"{_how(one)}, {unit}, {documents}, lm-eval {one.retention.manifest.lm_eval_version}, {TOOL}",
    )


def _measured(subject: Subject) -> Iterator[_Measured]:
    for retention, entry in subject.entries():
        task = next((task for task in retention.tasks if task.task == entry.task), None)
        if entry.student.value is not None:
            yield _Measured(retention, entry, entry.student.value, task)


def _dataset(subject: Subject, one: _Measured) -> tuple[str | None, str | None]:
    """Hub name and configuration of the task's data set."""
    if one.task is None or one.task.dataset is None:
        return None, None
    name, _, config = one.task.dataset.partition(":")
    return (name, config or None) if name in subject.hub_names else (None, None)


def _how(one: _Measured) -> str:
    shots = "" if one.task is None else f", {one.task.num_fewshot}-shot"
    filtered = "" if one.entry.filter == "none" else f" ({one.entry.filter})"
    return f"{one.entry.task}{shots}, {one.entry.metric}{filtered}"
