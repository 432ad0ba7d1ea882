"""What a model card is about, put together from everything that was gathered."""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from distill_eval.pipeline import licenses
from distill_eval.pipeline.gathered import Gathered
from distill_eval.pipeline.joined import common
from distill_eval.report import card
from distill_eval.report.card_metadata import FOLDER as RESULTS
from distill_eval.report.card_metadata import base
from distill_eval.report.subject import Lineage, Subject
from distill_eval.schema.model import ModelRef
from distill_eval.schema.report import Variant

T = TypeVar("T")
FOLDER = "cards"
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
DATA_FILES = (".jsonl", ".json", ".parquet", ".csv", ".txt")


def older(output_dir: Path) -> list[Path]:
    """The cards of an earlier report in the folder, to be removed with it."""
    folder = output_dir / FOLDER
    return [*folder.glob(f"*/{card.TEXT}"), *folder.glob(f"*/{RESULTS}/*.yaml")]


def subject(
    found: Gathered,
    variant: Variant,
    *,
    license_id: str | None,
    repository: str | None,
    find_card: Callable[[ModelRef], Path | None] = licenses.find_card,
) -> Subject:
    """Everything that a card of this variant draws on.

    Args:
        found: The report and its artifacts.
        variant: Whose card.
        license_id: As the user says it.
        repository: Where it is uploaded; `None` for a card that stays here.
        find_card: Where the card of a model is that it comes from; `None` for one without.

    Raises:
        UsageError: nobody says under which license the models may be used that it comes from.
    """
    descent, known = lineage(found, variant.name), hub_names(found)
    base_model, _ = base(descent, known)
    sources = dict.fromkeys([found.report.variants[0].ref, *([base_model] if base_model is not None else [])])
    said = {ref: licenses.read(ModelRef.parse(ref), find_card) for ref in sources}
    return Subject(
        report=found.report,
        variant=variant,
        address=repository or variant.ref,
        on_hub=repository is not None or variant.ref in known,
        license=licenses.choose(license_id, said),
        languages=licenses.languages(tuple(said.values())),
        lineage=descent,
        retentions=tuple(found.retentions.values()),
        benches=tuple(found.benches.values()),
        names=found.names,
        hub_names=known,
    )


def lineage(found: Gathered, name: str) -> Lineage:
    """How a variant came about, step by step backwards: exported, quantized, trained, cut."""
    export = _made(found, found.exports, name)
    source = name if export is None else _name(found, str(export.model))
    quant = None if source is None else _made(found, found.quants, source)
    trained = source if quant is None else _name(found, str(quant.model))
    training = None if trained is None else found.trainings.get(trained)
    init = None
    if training is not None:
        begun = training.student.name
        beside = [where for where in found.students if _last(posixpath.dirname(where)) == _last(begun)]
        nearest = max(beside, key=lambda where: common(posixpath.dirname(where), begun), default=None)
        init = found.students[nearest] if nearest else _made(found, found.students, trained or name)
    elif trained is not None:
        init = _made(found, found.students, trained)
    return Lineage(export=export, quant=quant, training=training, init=init)


def hub_names(found: Gathered) -> frozenset[str]:
    """Those names of models and data sets that are not of this machine: `org/name`, and no file or folder here.

    Nor is what lies in a folder that a command wrote into, e.g. `runs/student` after `--output-dir runs/other`.
    """
    written = {output.partition("/")[0] for source in found.report.sources for output in _outputs(source.command)}
    return frozenset(
        name
        for name in _mentioned(found)
        if HUB_NAME.fullmatch(name) and name.partition("/")[0] not in written and not _is_here(name)
    )


def _outputs(command: str | None) -> Iterator[str]:
    """The output folders that a command names."""
    words = shlex.split(command or "")
    for word, after in zip(words, [*words[1:], ""], strict=True):
        if word.partition("=")[0] == "--output-dir":
            yield posixpath.normpath(word.partition("=")[2] or after)


def _is_here(name: str) -> bool:
    return Path(name).exists() or name.endswith(DATA_FILES)


def _mentioned(found: Gathered) -> Iterator[str]:
    places = [(posixpath.dirname(source.path), posixpath.splitext(source.path)[0]) for source in found.report.sources]
    made = {place for pair in places for place in pair}
    yield from (ModelRef.parse(ref).name for ref in found.names if ref not in made)
    yield from (
        task.dataset.partition(":")[0] for one in found.retentions.values() for task in one.tasks if task.dataset
    )
    for run in found.trainings.values():
        yield run.data.data
        yield run.student.name
        yield from (teacher.name for teacher in run.teachers)
    sources = [(one.model, one.model_commit) for one in found.quants.values()]
    sources += [(one.model, one.model_commit) for one in found.exports.values()]
    sources += [(one.teacher, one.teacher_commit) for one in found.students.values()]
    yield from (model.name for model, commit in sources if commit is not None)


def _made(found: Gathered, records: Mapping[str, T], name: str) -> T | None:
    """The record of the model of that name among those that lie in the folder of what they tell of."""
    for where, one in records.items():
        if name in (found.models.get(where), found.names.get(posixpath.dirname(where))):
            return one
    return None


def _name(found: Gathered, ref: str) -> str | None:
    """The short name of a model by any name that an artifact has for it, else by the last part of its path."""
    if ref in found.names:
        return found.names[ref]
    alike = {name for known, name in found.names.items() if _last(known) == _last(ref)}
    return alike.pop() if len(alike) == 1 else None


def _last(ref: str) -> str:
    return posixpath.basename(posixpath.normpath(ref))
