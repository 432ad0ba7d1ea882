"""Under which license a student may be published: what the models say that it comes from, or what the user says."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from distill_eval.errors import ModelError, UsageError, boundary
from distill_eval.report.subject import License
from distill_eval.schema.model import ModelRef

CARD = "README.md"
HUB_ID = re.compile(r"[a-z0-9][a-z0-9.-]*")
ADVICE = "Type --license with its name on the Hub, e.g. --license apache-2.0"


class Said(NamedTuple):
    """What the card of a model says that holds for its students too."""

    license: License | None
    languages: tuple[str, ...]


def check(license_id: str) -> None:
    """Refuse what cannot be a license's name on the Hub.

    Raises:
        UsageError: it cannot.
    """
    if not HUB_ID.fullmatch(license_id):
        raise UsageError(f"--license {license_id!r}: expected its name on the Hub, in small letters, e.g. apache-2.0")


def read(ref: ModelRef, find_card: Callable[[ModelRef], Path | None]) -> Said:
    """The license and the languages in a model's card; none where it has no card."""
    from huggingface_hub import metadata_load

    path = find_card(ref)
    with boundary(ModelError, f"the metadata of {path} cannot be read"):
        found: Mapping[str, Any] = (metadata_load(path) if path is not None else None) or {}
    named = found.get("license")
    name, link = found.get("license_name"), found.get("license_link")
    terms = License(named, _text(name), _text(link)) if isinstance(named, str) and named else None
    languages = found.get("language") or []
    listed = [languages] if isinstance(languages, str) else languages
    return Said(terms, tuple(one for one in listed if isinstance(one, str)))


def choose(asked: str | None, said: Mapping[str, Said]) -> License:
    """The license of a student: the user's word, else that of all models that it comes from.

    Args:
        asked: As the user names it.
        said: What the models' cards say, by model.

    Raises:
        UsageError: nobody says it, or they differ.
    """
    found = {ref: one.license for ref, one in said.items() if one.license is not None}
    silent = [ref for ref in said if ref not in found]
    if asked is not None:
        return next((terms for terms in found.values() if terms.id == asked), License(asked))
    if silent:
        models = " and ".join(silent)
        raise UsageError(f"--card: no model card says under which license {models} may be used. {ADVICE}")
    if len(set(found.values())) > 1:
        licenses = ", ".join(f"{ref}: {terms.name or terms.id}" for ref, terms in found.items())
        raise UsageError(f"--card: the models that it comes from have different licenses ({licenses}). {ADVICE}")
    return next(iter(found.values()))


def find_card(ref: ModelRef) -> Path | None:
    """The card in a model's folder, or of its repository on the Hub; `None` where there is none, or no way to it."""
    from huggingface_hub import errors, hf_hub_download

    folder = Path(ref.name).expanduser()
    if folder.is_dir():
        return folder / CARD if (folder / CARD).is_file() else None
    try:
        return Path(hf_hub_download(ref.name, CARD, revision=ref.revision))
    except (errors.HfHubHTTPError, errors.HFValidationError, errors.LocalEntryNotFoundError, OSError):
        return None


def languages(said: Sequence[Said]) -> tuple[str, ...]:
    """Of all models, each once."""
    return tuple(dict.fromkeys(code for one in said for code in one.languages))


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
