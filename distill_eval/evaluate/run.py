"""Evaluate models on tasks: what the cache holds is read, the rest is scored, and every document is kept."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from distill_eval.device import choose_device
from distill_eval.engine import EngineChoice
from distill_eval.errors import NotComparableError
from distill_eval.evaluate import models, room
from distill_eval.evaluate.answers import Answers
from distill_eval.evaluate.identity import identity, manifest
from distill_eval.evaluate.kept import PlannedTask, Progress, Responses, Scored, read_kept
from distill_eval.evaluate.loaded import LazyModel, chat_renderer, chat_template
from distill_eval.evaluate.options import EvaluateOptions
from distill_eval.record import to_json
from distill_eval.schema.evals import EvalRun, MetricRun, Sample, TaskRun
from distill_eval.schema.model import ModelRef

if TYPE_CHECKING:
    from distill_eval.evaluate.harness.tasks import Built, Loaded
    from distill_eval.store import Store

Take = Callable[[Mapping[str, Collection[int]]], list[Scored]]


class _Asked(NamedTuple):
    """One model of an evaluation, and what its result in the cache depends on."""

    folder: models.ModelFolder
    template: str | None
    known: dict[str, Any]
    tasks: dict[str, Any]


class Session:
    """Evaluates several models on the same tasks; tasks and prompts are prepared once, and only when needed."""

    def __init__(
        self,
        options: EvaluateOptions,
        store: Store,
        progress: Progress,
        on_plan: Callable[[dict[str, PlannedTask]], None] = lambda plan: None,
    ) -> None:
        """Prepare; nothing is loaded yet.

        Args:
            options: How to score.
            store: The evaluation cache.
            progress: Hears how far the scoring is.
            on_plan: Called once with what will be scored, before the first model is loaded.
        """
        self.options = options
        self.on_plan = on_plan
        self.store = store
        self.progress = progress
        self.device = choose_device(options.device)
        self._manager: Any = None
        self._names: tuple[str, ...] = ()
        self._loaded: Loaded | None = None
        self._built: dict[tuple[str, str] | None, dict[str, Built]] = {}
        self._known_sources: dict[str, str] | None = None

    def evaluate(self, refs: Sequence[ModelRef], engines: Sequence[EngineChoice] = ()) -> list[Scored]:
        """One result per model, in order; the same model named twice is scored once.

        Args:
            refs: The models.
            engines: What runs each; empty: each folder's own.

        Raises:
            ModelError: a model cannot be found, loaded or trusted, or gives a score that is not a number.
            TaskError: a task is unknown, or its data cannot be had.
        """
        asked = self._all_asked(refs, engines)
        kept = [self._stored(one) for one in asked]
        num_new = len({one.folder[2:] for one, known in zip(asked, kept, strict=True) if known is None})
        results: list[Scored] = []
        for one, known in zip(asked, kept, strict=True):
            self.store.put("model", {"weights": one.folder.weights_digest}, str(one.folder.ref).encode())
            results.append(_renamed(known or self._evaluate_one(one, num_new), one.folder))
        return results

    @contextmanager
    def opened(self, refs: Sequence[ModelRef], engines: Sequence[EngineChoice] = ()) -> Iterator[Take]:
        """Prepare to evaluate some documents, then more of them: `take(documents by task)` gives one result per model.

        A document that was taken is not scored again, by a later run neither. Models stay loaded from call to call
        where there is room for all, else they take turns.

        Args:
            refs: The models.
            engines: What runs each; empty: each folder's own.

        Raises:
            DistillEvalError: as `evaluate`.
        """
        asked = self._all_asked(refs, engines)
        builds = self._requests(asked[0].folder, asked[0].template)
        self.progress.start({name: built.num_chars for name, built in builds.items()}, len(asked))
        self._announce(builds)
        lazy = [LazyModel(one.folder, self.options, self.device) for one in asked]
        together = room.for_all([one.folder for one in asked], self.options, room.free_bytes(self.device))
        earlier: list[dict[str, Responses]] = [{} for _ in asked]

        def take(documents: Mapping[str, Collection[int]]) -> list[Scored]:
            found = []
            for place, (one, model) in enumerate(zip(asked, lazy, strict=True)):
                # Asked for again: a chat template may have rendered the tasks for another model meanwhile.
                builds = self._requests(one.folder, one.template)
                answers = Answers(model, builds, self.store, self.progress, documents, earlier[place])
                earlier[place] = answers.collect(one.known, self._versions())
                if not together:
                    model.release()
                found.append(_renamed(self._scored(one, builds, earlier[place], documents), one.folder))
            return found

        try:
            yield take
        finally:
            for model in lazy:
                model.release()

    # ---- one model

    def _all_asked(self, refs: Sequence[ModelRef], engines: Sequence[EngineChoice]) -> list[_Asked]:
        """Find every model and task, and refuse models that would be asked differently."""
        trusted = self.options.trust_remote_code
        chosen: Sequence[EngineChoice] = engines or ["auto"] * len(refs)
        folders = [
            models.locate(ref, self.store.file_digest, trust_remote_code=trusted, engine=engine)
            for ref, engine in zip(refs, chosen, strict=True)
        ]
        self._known_sources = self._sources()
        asked = [self._asked(folder) for folder in folders]
        _require_one_template(asked)
        return asked

    def _asked(self, folder: models.ModelFolder) -> _Asked:
        template = chat_template(folder, self.options) if self.options.apply_chat_template else None
        known = identity(folder, template, self.options, self.device)
        return _Asked(folder, template, known, {"tasks": list(self._names), "sources": self._known_sources})

    def _stored(self, one: _Asked) -> Scored | None:
        if self._known_sources is None:
            return None
        return read_kept(Scored, self.store.get("evaluation", one.known | one.tasks))

    def _evaluate_one(self, one: _Asked, num_models: int) -> Scored:
        scored = self._stored(one) or self._score_tasks(one, num_models)  # the same model may come twice
        if self._known_sources is not None:
            self.store.put("evaluation", one.known | one.tasks, to_json(scored).encode())
        return scored

    def _score_tasks(self, one: _Asked, num_models: int) -> Scored:
        builds = self._requests(one.folder, one.template)
        self.progress.start({name: built.num_chars for name, built in builds.items()}, num_models)
        self._announce(builds)
        model = LazyModel(one.folder, self.options, self.device)
        try:
            found = Answers(model, builds, self.store, self.progress).collect(one.known, self._versions())
        finally:
            model.release()
        return self._scored(one, builds, found, None)

    def _versions(self) -> dict[str, str]:
        return {name: str(task.VERSION) for name, task in self._tasks().tasks.items()}

    def _scored(
        self,
        one: _Asked,
        builds: Mapping[str, Built],
        found: Mapping[str, Responses],
        documents: Mapping[str, Collection[int]] | None,
    ) -> Scored:
        """The result of the responses to all documents, or to some."""
        from distill_eval.evaluate.harness import results

        loaded = self._tasks()
        runs: list[TaskRun] = []
        samples: dict[str, tuple[Sample, ...]] = {}
        for name, built in builds.items():
            results.assign(built.instances, found[name].responses)
            some = None if documents is None else documents[name]
            metrics, scored = results.score(loaded.tasks[name], built.num_docs, some)
            samples[name] = tuple(scored)
            runs.append(self._task_run(loaded.tasks[name], built, metrics, found[name], len(scored)))
        run = EvalRun(
            model=next(iter(found.values())).facts,
            manifest=manifest(one.known, self.options),
            tasks=tuple(runs),
            groups=results.group_specs(loaded.groups, self._names),
        )
        return Scored(run=run, samples=samples)

    def _task_run(
        self, task: Any, built: Built, metrics: tuple[MetricRun, ...], answers: Responses, num_docs: int
    ) -> TaskRun:
        from distill_eval.evaluate.harness.tasks import dataset_name

        dataset = dataset_name(task)
        return TaskRun(
            task=task.task_name,
            version=str(task.VERSION),
            output_type=str(task.OUTPUT_TYPE),
            num_fewshot=int(task.get_config("num_fewshot") or 0),
            num_docs=num_docs,
            num_docs_total=built.num_docs_total,
            prompts_digest=built.prompts_digest,
            metrics=metrics,
            dataset=dataset,
            dataset_revision=(self._known_sources or {}).get((dataset or "").partition(":")[0]),
            scorer=answers.scorer,
            scorer_reason=answers.scorer_reason,
        )

    def _announce(self, builds: dict[str, Built]) -> None:
        """Tell once what will be scored."""
        from distill_eval.evaluate.harness import planned, results

        loaded = self._tasks()
        specs = results.group_specs(loaded.groups, self._names)
        self.on_plan(planned.planned(loaded.tasks, specs, {name: built.num_docs for name, built in builds.items()}))
        self.on_plan = lambda plan: None

    # ---- tasks

    def _sources(self) -> dict[str, str] | None:
        """What the tasks are made of; an unknown name is refused here, before any model is loaded."""
        from distill_eval.evaluate.harness import index, tasks
        from distill_eval.evaluate.sources import task_sources

        self._manager = index.open_manager(self.options.include_path, self.store.get, self.store.put)
        self._names = tasks.matching(self._manager, self.options.tasks)
        return task_sources(tasks.yaml_configs(self._manager, self._names), self.store.file_digest)

    def _tasks(self) -> Loaded:
        from distill_eval.evaluate.harness import tasks

        if self._loaded is None:
            o = self.options
            wanted = tasks.TaskOptions(o.num_fewshot, o.limit, o.seed, o.trust_remote_code, o.confirm_run_unsafe_code)
            self._loaded = tasks.load_tasks(self._manager, self._names, wanted)
            self._wanted = wanted
        return self._loaded

    def _requests(self, folder: models.ModelFolder, template: str | None) -> dict[str, Built]:
        """Every task's rendered requests; models share them unless a chat template makes them differ."""
        from distill_eval.evaluate.harness import tasks

        # A template may spell the tokenizer's own special tokens, so the same template gives another text elsewhere.
        key = None if template is None else (template, folder.tokenizer_digest)
        if key not in self._built:
            renderer = chat_renderer(folder, self.options) if template is not None else None
            self._built = {
                key: {
                    name: tasks.build(
                        task, self._wanted, chat_template=renderer, tokenizer_name=folder.tokenizer_digest
                    )
                    for name, task in self._tasks().tasks.items()
                }
            }
        return self._built[key]


def _require_one_template(asked: Sequence[_Asked]) -> None:
    """Refuse, before anything is scored, models that would be asked differently."""
    first, *others = asked
    for other in others:
        if other.template != first.template:
            raise NotComparableError(
                f"{first.folder.ref} and {other.folder.ref} have different chat templates, so their prompts would "
                "differ. Copy one's chat template to the other, or run without --apply-chat-template"
            )


def _renamed(scored: Scored, folder: models.ModelFolder) -> Scored:
    """A result from the cache under the name that the user gave this time."""
    facts = replace(scored.run.model, ref=str(folder.ref))
    return Scored(run=replace(scored.run, model=facts), samples=scored.samples)
