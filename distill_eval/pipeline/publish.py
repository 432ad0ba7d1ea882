"""A finished report taken to others: model cards beside it, an upload to the Hub, numbers into trackers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from distill_eval.errors import UsageError, unknown
from distill_eval.pipeline import cards, hub, licenses, trackers
from distill_eval.pipeline.gathered import Gathered
from distill_eval.publish_config import PublishConfig
from distill_eval.report import card
from distill_eval.report.subject import Subject
from distill_eval.schema.model import ModelRef
from distill_eval.schema.report import Variant
from distill_eval.store import write_atomic


def check(config: PublishConfig) -> None:
    """Refuse what would fail after the work: a tracker or a token that is not there, a name that cannot be.

    Raises:
        UsageError: one of these.
    """
    trackers.require(config.trackers)
    if config.license is not None:
        licenses.check(config.license)
    if config.push_to_hub is not None:
        hub.require_repository(config.push_to_hub)


def publish(
    config: PublishConfig, found: Gathered, output_dir: Path, say: Callable[[str], None], *, upload: bool = True
) -> None:
    """Write the cards that are asked for, upload, and log; each is said when it is done.

    Args:
        config: What is asked for.
        found: The report.
        output_dir: Its folder.
        say: Hears what was done.
        upload: False where the gate does not let a variant out, which is said.

    Raises:
        UsageError: no license, no such variant, or its folder is not here or not the one that was measured; nothing was
            uploaded then.
        PublishError: the Hub or a tracker refuses; what was written and uploaded before it stays.
        StoreError: the output folder cannot be written.
    """
    repository = config.push_to_hub if upload else None
    chosen = None if repository is None else chosen_variant(config, found)
    subjects = list(_subjects(config, found, chosen))
    for one in subjects:
        files = card.files(one)
        folder = output_dir / cards.FOLDER / _folder_name(one.variant.name)
        for name, text in files.items():
            write_atomic(folder / name, text)
        say(f"Model card: {folder / card.TEXT}")
    if repository is not None:
        its = next(one for one in subjects if one.variant is chosen)
        say(_upload(config, repository, its))
    elif config.push_to_hub is not None:
        say(f"not uploaded to {config.push_to_hub}: the gate's verdict is not PASS")
    for name in config.trackers:
        num = trackers.log(name, found.report, output_dir.resolve().name)
        say(f"{num} numbers logged to {name}")


def chosen_variant(config: PublishConfig, found: Gathered) -> Variant:
    """What is to be uploaded: the one that is named, else the recommended, which passes.

    Raises:
        UsageError: it is not in the report, or none is recommended; or its folder is not here or was not measured.
    """
    students = {one.name: one for one in found.report.variants if one.role != "teacher"}
    name = config.variant or found.report.ship
    if name is None:
        raise UsageError(
            f"--push-to-hub: the report recommends none of {', '.join(students)}. Say which one with --variant NAME"
        )
    if name not in students:
        unknown("variant", name, students)
    if not Path(students[name].ref).expanduser().is_dir():
        raise UsageError(
            f"--push-to-hub: {students[name].ref} is not a folder here. Expected the model's folder: run the command "
            "where it is"
        )
    _require_measured(students[name], found)
    return students[name]


def _require_measured(variant: Variant, found: Gathered) -> None:
    """Refuse a folder with other weights than those that a comparison scored.

    Raises:
        UsageError: it was written again since, or it is another folder of this name.
        ModelError: it is no model.
    """
    models = [one for run in found.retentions.values() for one in (run.teacher, *run.students, *run.baselines)]
    measured = {one.weights_digest for one in models if found.names[one.ref] == variant.name}
    ref = ModelRef.parse(variant.ref)
    # Whether its Python files were trusted then, and so are a part of what was measured, is not on record.
    if measured and not any(_digest(ref, trust_remote_code=trusted) in measured for trusted in (True, False)):
        raise UsageError(
            f"--push-to-hub: {variant.ref} is not what was measured: its configuration or weights are others than "
            f"those that were compared ({', '.join(digest[:12] for digest in sorted(measured))}). Compare it "
            "again, or run the command where that model is"
        )


def _digest(ref: ModelRef, *, trust_remote_code: bool) -> str:
    from distill_eval.checkpoint import file_digest
    from distill_eval.evaluate.models import locate

    return locate(ref, file_digest, trust_remote_code=trust_remote_code).weights_digest


def _subjects(config: PublishConfig, found: Gathered, chosen: Variant | None) -> Iterator[Subject]:
    for variant in found.report.variants:
        if variant is chosen or (config.card and variant.role == "student"):
            repository = config.push_to_hub if variant is chosen else None
            yield cards.subject(found, variant, license_id=config.license, repository=repository)


def _upload(config: PublishConfig, repository: str, subject: Subject) -> str:
    from huggingface_hub import HfApi

    folder = Path(subject.variant.ref).expanduser()
    address = hub.push(HfApi(), repository, folder, card.files(subject), public=config.public)
    return f"uploaded to {address}"


def _folder_name(name: str) -> str:
    return name.replace("/", "-").lstrip(".") or "variant"
