"""A finished report taken to others: model cards beside it, an upload to the Hub, numbers into trackers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from distill_eval.errors import UsageError, unknown
from distill_eval.pipeline import cards, hub, licenses, trackers
from distill_eval.pipeline.gathered import Gathered
from distill_eval.publish_config import PublishConfig
from distill_eval.report import card
from distill_eval.report.card_metadata import FOLDER as RESULTS
from distill_eval.report.subject import Subject
from distill_eval.schema.report import Report, Variant
from distill_eval.store import remove, write_atomic

FOLDER = "cards"


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


def publish(config: PublishConfig, found: Gathered, output_dir: Path, say: Callable[[str], None]) -> None:
    """Write the cards that are asked for, upload, and log; each is said when it is done.

    Raises:
        UsageError: no license, no such variant, or its folder is not here; nothing was uploaded then.
        PublishError: the Hub or a tracker refuses; what was written and uploaded before it stays.
        StoreError: the output folder cannot be written.
    """
    remove(_of_an_older_report(output_dir / FOLDER))
    chosen = chosen_variant(config, found.report) if config.push_to_hub is not None else None
    subjects = list(_subjects(config, found, chosen))
    for one in subjects:
        files = card.files(one)
        folder = output_dir / FOLDER / _folder_name(one.variant.name)
        for name, text in files.items():
            write_atomic(folder / name, text)
        say(f"Model card: {folder / card.TEXT}")
    if config.push_to_hub is not None and chosen is not None:
        its = next(one for one in subjects if one.variant is chosen)
        say(_upload(config, config.push_to_hub, its))
    for name in config.trackers:
        num = trackers.log(name, found.report, output_dir.resolve().name)
        say(f"{num} numbers logged to {name}")


def chosen_variant(config: PublishConfig, report: Report) -> Variant:
    """What is to be uploaded: the one that is named, else the recommended, else the only one.

    Raises:
        UsageError: it is not in the report, or several are; or its folder is not here.
    """
    students = {one.name: one for one in report.variants if one.role != "teacher"}
    name = config.variant or report.ship or (next(iter(students)) if len(students) == 1 else None)
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
    return students[name]


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


def _of_an_older_report(folder: Path) -> list[Path]:
    return [*folder.glob(f"*/{card.TEXT}"), *folder.glob(f"*/{RESULTS}/*.yaml")]
