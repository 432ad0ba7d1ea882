"""One model's responses to every task: from the cache, or scored now from where a killed run left off."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from distill_eval.errors import ModelError
from distill_eval.evaluate.kept import Progress, Responses, read_kept
from distill_eval.evaluate.loaded import LazyModel
from distill_eval.record import to_json

if TYPE_CHECKING:
    from distill_eval.evaluate.harness.tasks import Built
    from distill_eval.store import Journal, Store


class Answers(NamedTuple):
    """What it takes to get a model's responses, to all documents or to some."""

    model: LazyModel
    builds: dict[str, Built]
    store: Store
    progress: Progress
    documents: Mapping[str, Collection[int]] | None = None
    """By task; `None`: all. What is scored stays in the task's journal, so that more of them are scored later on."""
    earlier: Mapping[str, Responses] = {}
    """What a call with fewer documents gave."""

    def collect(self, known: dict[str, Any], versions: dict[str, str]) -> dict[str, Responses]:
        """The responses by task, `None` where they are not asked for; tasks that another process works on come last.

        Args:
            known: What a response depends on besides the task and its prompts.
            versions: Of each task.

        Raises:
            ModelError: the model cannot be loaded, or gives something that is not a number.
        """
        found: dict[str, Responses] = {}
        busy: list[str] = []
        for wait in (False, True):
            for name in busy if wait else self.builds:
                parts = known | {"task": name, "prompts": self.builds[name].prompts_digest, "version": versions[name]}
                answers = self._of_task(name, parts, wait=wait)
                if answers is None:
                    busy.append(name)
                else:
                    found[name] = answers
                    there = sum(response is not None for response in answers.responses)
                    self.progress.update(str(self.model.folder.ref), name, there / len(answers.responses))
        return found

    def _of_task(self, name: str, parts: dict[str, Any], *, wait: bool) -> Responses | None:
        """`None` when another process is at it and `wait` is False."""
        if name in self.earlier and not self._new(name):
            return self.earlier[name]
        answers = read_kept(Responses, self.store.get("responses", parts))
        if answers is not None:
            return answers
        work = self.store.journal if wait else self.store.try_journal
        with work("responses", parts) as journal:
            if journal is None:
                return None
            answers = read_kept(Responses, journal.finished)
            if answers is None:
                answers = self._score(name, journal)
                if None not in answers.responses:
                    journal.finish(to_json(answers).encode())
        return answers

    def _new(self, name: str) -> list[int]:
        """Places of the requests that are asked for and that no earlier call had."""
        instances = self.builds[name].instances
        known = self.earlier[name].responses if name in self.earlier else [None] * len(instances)
        documents = None if self.documents is None else self.documents[name]
        return [
            place
            for place, (instance, response) in enumerate(zip(instances, known, strict=True))
            if response is None and (documents is None or instance.doc_id in documents)
        ]

    def _score(self, name: str, journal: Journal) -> Responses:
        """Score what the journal does not have yet, one kind of request after the other."""
        instances, new, earlier = self.builds[name].instances, self._new(name), self.earlier.get(name)
        self.progress.update(str(self.model.folder.ref), name, len(journal.done) / len(instances))
        lm = self.model.get()
        responses: list[Any] = [None] * len(instances) if earlier is None else list(earlier.responses)
        reasons: list[str | None] = [] if earlier is None else [earlier.scorer_reason]
        before = len(instances) - responses.count(None)
        for kind in dict.fromkeys(instances[place].request_type for place in new):
            indices = [place for place in new if instances[place].request_type == kind]
            lm.recorder = self._recorder(name, journal, indices, before)
            before += len(indices)
            for index, response in zip(indices, getattr(lm, kind)([instances[i] for i in indices]), strict=True):
                responses[index] = response
            reasons.append(lm.plain_reason)
        reason = next((reason for reason in reasons if reason is not None), None)
        return Responses(
            facts=self.model.facts() if earlier is None else earlier.facts,
            responses=json.loads(json.dumps(responses)),
            scorer="prefix" if reason is None else "plain",
            scorer_reason=reason if self.model.options.scorer == "prefix" else None,
        )

    def _recorder(self, name: str, journal: Journal, indices: list[int], before: int) -> Any:
        """Keeps new responses in the journal under their place among all of the task's requests.

        Args:
            name: The task.
            journal: Its journal.
            indices: Places of the requests that are scored now.
            before: How many requests were scored earlier.
        """
        from distill_eval.evaluate.harness.requests import Recorder

        instances, ref = self.builds[name].instances, str(self.model.folder.ref)

        def keep(responses: dict[int, Any]) -> None:
            for place, response in responses.items():
                if not _is_finite(response):
                    where = f"document {instances[indices[place]].doc_id} of {name}"
                    raise ModelError(f"{ref} gave {response!r} for {where}: not a number. Try --dtype float32")
            journal.append({indices[place]: response for place, response in responses.items()})

        def tell(seen: int, total: int) -> None:
            share = seen / total if total else 1.0
            self.progress.update(ref, name, (before + share * len(indices)) / len(instances))

        done = {place: journal.done[index] for place, index in enumerate(indices) if index in journal.done}
        return Recorder(done=done, on_responses=keep, on_progress=tell)


def _is_finite(response: Any) -> bool:
    number = response[0] if isinstance(response, tuple | list) else response
    return isinstance(number, str) or math.isfinite(number)
