"""A model folder and its card as one commit on the Hugging Face Hub."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from distill_eval.errors import PublishError, UsageError, boundary

if TYPE_CHECKING:
    from huggingface_hub import HfApi

REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
LEFT_OUT = ("checkpoint-", ".")
"""How the names of files and folders begin that are not the model: checkpoints of a training, locks, caches."""


def require_repository(name: str) -> None:
    """Refuse what cannot be a repository, and a push without a token, before any work.

    Raises:
        UsageError: one of the two.
    """
    from huggingface_hub import get_token

    if not REPOSITORY.fullmatch(name):
        raise UsageError(f"--push-to-hub {name!r}: expected a repository, NAMESPACE/NAME, e.g. me/student")
    if get_token() is None:
        raise UsageError(
            f"--push-to-hub {name}: there is no token for the Hub. Type `hf auth login` with one that may write, or "
            "set HF_TOKEN"
        )


def push(api: HfApi, repository: str, folder: Path, texts: Mapping[str, str], *, public: bool) -> str:
    """Upload the folder and the card's files in one commit, into a repository that is made where there is none.

    Args:
        api: The Hub, with the token.
        repository: `namespace/name`.
        folder: The model's files; a README.md among them gives way to the card.
        texts: The card's files by their name in the repository.
        public: Whether everybody may see a new repository, and whether an old one may be public already.

    Returns:
        The address of the commit.

    Raises:
        UsageError: the repository is public, which was not asked for.
        PublishError: the Hub refuses it or cannot be reached. No part of the commit is visible then.
    """
    from huggingface_hub import CommitOperationAdd

    with boundary(PublishError, f"--push-to-hub {repository}: the Hub did not take it"):
        api.create_repo(repository, private=not public, exist_ok=True)
        if not public and not api.repo_info(repository).private:
            raise UsageError(
                f"--push-to-hub {repository}: everybody can see this repository, and --public was not given. Add "
                "--public, or name another repository"
            )
        files = [CommitOperationAdd(name, path) for name, path in _files(folder) if name not in texts]
        card = [CommitOperationAdd(name, text.encode()) for name, text in texts.items()]
        done = api.create_commit(repository, [*files, *card], commit_message="Upload the model and its card")
    return str(done.commit_url)


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """The files of the model by their name in the repository."""
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and not any(part.startswith(LEFT_OUT) for part in parts):
            yield "/".join(parts), path
