"""Which models of several artifacts are the same one (pure).

Artifacts name a model as it was typed: `student-w8a8`, `./student-w8a8`, an absolute path, a name on the Hub. Where two
of them know the same digest of its files, that decides. Else the same name does, and else the end of its path, if only
one model has it. What is told to be another by its digest or its size is never taken for the same, and neither are two
names in one artifact.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from typing import NamedTuple

from distill_eval.errors import NotComparableError
from distill_eval.schema.report import Role

SURE = 2
"""Parts from the end of a path that two names have in common for one model to be meant beyond doubt."""
SAME_SIZE = 0.01
"""Share of the bytes by which two artifacts may differ on one model: some count its small files too."""


class Mention(NamedTuple):
    """A model as one artifact names it."""

    refs: tuple[str, ...]
    """Its names, the one to be shown first."""
    where: str
    """The artifact."""
    role: Role | None
    """`None` where the artifact does not say."""
    weights_digest: str | None = None
    """As in `ModelFacts`."""
    files_digest: str | None = None
    """As in `ModelSaid` of fidelity."""
    size_bytes: int | None = None


class Model(NamedTuple):
    """One model, by all that artifacts said of it."""

    mentions: tuple[Mention, ...]
    by_name: tuple[Mention, ...] = ()
    """Mentions that were joined by the last part of their path alone."""

    @property
    def ref(self) -> str:
        """As the first artifact names it."""
        return self.mentions[0].refs[0]

    @property
    def refs(self) -> tuple[str, ...]:
        """Every name that it has."""
        return tuple(ref for mention in self.mentions for ref in mention.refs)

    @property
    def role(self) -> Role:
        """Teacher where any artifact says so; else what the first one takes it for."""
        roles = [mention.role for mention in self.mentions if mention.role is not None]
        return "teacher" if "teacher" in roles else next(iter(roles), "student")


def join(mentions: Sequence[Mention]) -> tuple[Model, ...]:
    """The models, in the order in which they are first named.

    Raises:
        NotComparableError: a name fits several models, or stands for other weights in two artifacts.
    """
    models: list[Model] = []
    for mention in mentions:
        rivals = [other for other in mentions if other.where == mention.where and other.refs != mention.refs]
        place, exact = _place(mention, models, rivals)
        if place is None:
            models.append(Model((mention,)))
        else:
            old = models[place]
            by_name = old.by_name if exact else (*old.by_name, mention)
            models[place] = Model((*old.mentions, mention), by_name)
    return tuple(models)


def _place(mention: Mention, models: Sequence[Model], rivals: Sequence[Mention]) -> tuple[int | None, bool]:
    """The number of the model that is mentioned, and whether that is beyond doubt.

    `rivals` are the others of the same artifact: a model whose name is as near to one of them is not joined by it.
    """
    same = [place for place, model in enumerate(models) if _same_content(mention, model)]
    if same:
        return same[0], True
    for ref in mention.refs:
        named = [place for place, model in enumerate(models) if normal(ref) in _names(model)]
        for place in named:
            _refuse_other_weights(mention, ref, models[place])
        if named:
            return _only(mention, named, models), True
    alike = {
        place: num
        for place, model in enumerate(models)
        if _apart(mention, model) is None
        and (num := _nearness(mention, model)) > max((_nearness(rival, model) for rival in rivals), default=0)
    }
    if not alike:
        return None, False
    most = max(alike.values())
    return _only(mention, [place for place, num in alike.items() if num == most], models), most >= SURE


def _nearness(mention: Mention, model: Model) -> int:
    """How many parts from their ends the names have in common."""
    return max(common(ref, name) for ref in mention.refs for name in _names(model))


def normal(ref: str) -> str:
    """The name without `./`, `..` and a slash at its end."""
    return posixpath.normpath(ref)


def _names(model: Model) -> set[str]:
    return {normal(ref) for mention in model.mentions for ref in mention.refs}


def common(one: str, other: str) -> int:
    """How many parts of two paths are the same, from their ends; a revision tells nothing apart that has none."""
    parts, others = (normal(ref).split("/")[::-1] for ref in (one, other))
    if "@" not in parts[0] or "@" not in others[0]:
        parts[0], others[0] = parts[0].partition("@")[0], others[0].partition("@")[0]
    num = 0
    for part, its in zip(parts, others, strict=False):
        if part != its:
            break
        num += 1
    return num


def _only(mention: Mention, places: Sequence[int], models: Sequence[Model]) -> int:
    if len(places) > 1:
        named = " and ".join(f"{models[place].ref} ({models[place].mentions[0].where})" for place in places)
        raise NotComparableError(
            f"{mention.refs[0]} in {mention.where} may be {named}: its name fits both. Give the folders names of their "
            f"own, or leave one run out"
        )
    return places[0]


def _same_content(mention: Mention, model: Model) -> bool:
    return any(
        (mention.weights_digest is not None and mention.weights_digest == other.weights_digest)
        or (mention.files_digest is not None and mention.files_digest == other.files_digest)
        for other in model.mentions
    )


def _refuse_other_weights(mention: Mention, ref: str, model: Model) -> None:
    apart = _apart(mention, model)
    if apart is not None:
        raise NotComparableError(
            f"{ref} stands for two models: {apart}. These runs do not belong together: name runs of the same models, "
            f"or measure the older one again"
        )


def _apart(mention: Mention, model: Model) -> str | None:
    """What tells that the mention is of another model; `None` where nothing does."""
    for other in model.mentions:
        for digest, its in ((mention.weights_digest, other.weights_digest), (mention.files_digest, other.files_digest)):
            if digest is not None and its is not None and digest != its:
                return f"its files have the SHA-256 {digest[:12]} in {mention.where}, {its[:12]} in {other.where}"
        size, its_size = mention.size_bytes, other.size_bytes
        if size is not None and its_size is not None and abs(size - its_size) > SAME_SIZE * its_size:
            return f"it has {size:,} bytes in {mention.where}, {its_size:,} in {other.where}"
    return None
