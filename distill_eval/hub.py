"""Models from the Hugging Face Hub, and what to say when one cannot be had."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from distill_eval.errors import ModelError
from distill_eval.schema.model import ModelRef


def snapshot(ref: ModelRef, patterns: Sequence[str], *, role: str) -> Path:
    """The local folder with the repository's files that match, downloaded unless the Hub cache has them.

    Args:
        ref: A Hub name, perhaps with a revision.
        patterns: File names, with wildcards.
        role: What the model is to the user, for the message: `teacher` or `model`.

    Raises:
        ModelError: there is no such repository or revision, it is gated, or the Hub cannot be reached.
    """
    from huggingface_hub import errors, snapshot_download

    try:
        return Path(snapshot_download(ref.name, revision=ref.revision, allow_patterns=list(patterns)))
    except (errors.HfHubHTTPError, errors.HFValidationError, OSError) as error:
        raise ModelError(f"{role} {str(ref)!r} {_reason(error)}") from error


def _reason(error: Exception) -> str:
    from huggingface_hub import constants, errors

    if isinstance(error, errors.RevisionNotFoundError):
        return f"has no such revision on {constants.ENDPOINT}"
    if isinstance(error, errors.GatedRepoError):
        return "is gated: accept its terms on the Hub, then type `hf auth login`"
    if isinstance(error, (errors.RepositoryNotFoundError, errors.HFValidationError)):
        return (
            f"is neither a folder nor a model on {constants.ENDPOINT}: check the spelling (ORGANIZATION/NAME); "
            "for a private model type `hf auth login`"
        )
    if isinstance(error, errors.LocalEntryNotFoundError):
        return f"is not in the Hub cache, and {constants.ENDPOINT} cannot be reached: connect once, or name a folder"
    first = str(error).partition("\n")[0]
    return f"cannot be downloaded from {constants.ENDPOINT}: {first}"
