"""Evaluate models on tasks: what the cache holds is read, the rest is scored, and every document is kept."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from distill_eval.errors import ModelError
from distill_eval.evaluate import models
from distill_eval.evaluate.identity import identity, manifest
from distill_eval.evaluate.kept import PlannedTask, Progress, Responses, Scored
from distill_eval.evaluate.loaded import LazyModel, chat_renderer, chat_template
from distill_eval.evaluate.options import EvaluateOptions
from distill_eval.record import from_json, to_json
from distill_eval.schema.evals import EvalRun, MetricRun, Sample, TaskRun
from distill_eval.schema.model import ModelFacts, ModelRef

if TYPE_CHECKING:
    from distill_eval.evaluate.harness.tasks import Built, Loaded
    from distill_eval.store import Store


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
        self.device = models.choose_device(options.device)
        self._manager: Any = None
        self._loaded: Loaded | None = None
        self._built: dict[str | None, dict[str, Built]] = {}
        self._known_sources: dict[str, str] | None = None

    def evaluate(self, refs: Sequence[ModelRef]) -> list[Scored]:
        """One result per model, in order; the same model named twice is scored once.

        Raises:
            ModelError: a model cannot be found, loaded or trusted, or gives a score that is not a number.
            TaskError: a task is unknown, or its data cannot be had.
        """
        folders = [models.locate(ref, self.store.file_digest) for ref in refs]
        names = self._task_names()
        sources = self._known_sources = self._sources(names)
        results: list[Scored] = []
        for folder in folders:
            self.store.put("model", {"weights": folder.weights_digest}, str(folder.ref).encode())
            results.append(self._evaluate_one(folder, sources, len(folders)))
        return results

    # ---- one model

    def _evaluate_one(self, folder: models.ModelFolder, sources: dict[str, str] | None, num_models: int) -> Scored:
        template = chat_template(folder) if self.options.apply_chat_template else None
        known = identity(folder, template, self.options, self.device)
        parts: dict[str, Any] = known | {"tasks": list(self.options.tasks), "sources": sources}
        stored = self.store.get("evaluation", parts) if sources is not None else None
        if stored is not None:
            scored = from_json(Scored, stored, source="the evaluation cache")
            facts = _renamed(scored.run.model, folder)
            return Scored(run=replace(scored.run, model=facts), samples=scored.samples)
        scored = self._score_tasks(folder, template, known, num_models)
        if sources is not None:
            self.store.put("evaluation", parts, to_json(scored).encode())
        return scored

    def _score_tasks(
        self, folder: models.ModelFolder, template: str | None, known: dict[str, Any], num_models: int
    ) -> Scored:
        from distill_eval.evaluate.harness import results

        loaded = self._tasks()
        builds = self._requests(folder, template)
        self.progress.start({name: built.num_chars for name, built in builds.items()}, num_models)
        self._announce(builds)
        model = LazyModel(folder, self.options, self.device)
        found = self._all_answers(model, builds, known)
        model.release()
        runs: list[TaskRun] = []
        samples: dict[str, tuple[Sample, ...]] = {}
        for name, built in builds.items():
            results.assign(built.instances, found[name].responses)
            metrics, scored = results.score(loaded.tasks[name], built.num_docs)
            samples[name] = tuple(scored)
            runs.append(self._task_run(loaded.tasks[name], built, metrics, found[name]))
        facts = next(iter(found.values())).facts
        run = EvalRun(
            model=_renamed(facts, folder),
            manifest=manifest(known, self.options),
            tasks=tuple(runs),
            groups=results.group_specs(loaded.groups, self.options.tasks),
        )
        return Scored(run=run, samples=samples)

    def _task_run(self, task: Any, built: Built, metrics: tuple[MetricRun, ...], answers: Responses) -> TaskRun:
        from distill_eval.evaluate.harness.tasks import dataset_name

        dataset = dataset_name(task)
        return TaskRun(
            task=task.task_name,
            version=str(task.VERSION),
            output_type=str(task.OUTPUT_TYPE),
            num_fewshot=int(task.get_config("num_fewshot") or 0),
            num_docs=built.num_docs,
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
        from distill_eval.evaluate.harness import results

        loaded = self._tasks()
        plan = {name: PlannedTask(b.num_docs, results.expected_kind(loaded.tasks[name])) for name, b in builds.items()}
        for group in results.group_specs(loaded.groups, self.options.tasks):
            members = [plan[name] for name in group.tasks]
            plan[group.group] = PlannedTask(sum(task.num_docs for task in members), members[0].kind)
        self.on_plan(plan)
        self.on_plan = lambda plan: None

    def _all_answers(self, model: LazyModel, builds: dict[str, Built], known: dict[str, Any]) -> dict[str, Responses]:
        """The model's responses to every task; tasks that another process works on come last, and are waited for."""
        found: dict[str, Responses] = {}
        busy: list[str] = []
        for wait in (False, True):
            for name in busy if wait else builds:
                parts = known | {"task": name, "prompts": builds[name].prompts_digest}
                parts["version"] = str(self._tasks().tasks[name].VERSION)
                answers = self._answers(model, name, builds[name], parts, wait=wait)
                if answers is None:
                    busy.append(name)
                else:
                    found[name] = answers
                    self.progress.update(str(model.folder.ref), name, 1.0)
        return found

    def _answers(
        self, model: LazyModel, name: str, built: Built, parts: dict[str, Any], *, wait: bool
    ) -> Responses | None:
        """The responses to one task: from the cache, or scored now from where a killed run left off.

        `None` when another process is at it and `wait` is False.
        """
        stored = self.store.get("responses", parts)
        if stored is None:
            work = self.store.journal if wait else self.store.try_journal
            with work("responses", parts) as journal:
                if journal is None:
                    return None
                stored = journal.finished
                if stored is None:
                    stored = to_json(self._score(model, name, built, journal)).encode()
                    journal.finish(stored)
        return from_json(Responses, stored, source="the evaluation cache")

    def _score(self, model: LazyModel, name: str, built: Built, journal: Any) -> Responses:
        from distill_eval.evaluate.harness.lm import Recorder

        lm = model.get()
        ref = str(model.folder.ref)

        def keep(responses: dict[int, Any]) -> None:
            for index, response in responses.items():
                if not _is_finite(response):
                    doc = built.instances[index].doc_id
                    where = f"document {doc} of {name}"
                    raise ModelError(f"{ref} gave {response!r} for {where}: not a number. Try --dtype float32")
            journal.append(responses)

        def tell(seen: int, total: int) -> None:
            self.progress.update(ref, name, seen / total if total else 1.0)

        lm.recorder = Recorder(done=dict(journal.done), on_responses=keep, on_progress=tell)
        kinds = {instance.request_type for instance in built.instances}
        if len(kinds) > 1:
            raise ModelError(
                f"task {name!r} mixes requests of kinds {', '.join(sorted(kinds))}, which is not supported"
            )
        responses = getattr(lm, kinds.pop())(built.instances)
        plain = lm.plain_reason is not None
        return Responses(
            facts=model.facts(),
            responses=json.loads(json.dumps(responses)),
            scorer="plain" if plain else "prefix",
            scorer_reason=lm.plain_reason if self.options.scorer == "prefix" else None,
        )

    # ---- tasks

    def _task_names(self) -> list[str]:
        """The leaf tasks; an unknown name is refused here, before any model is loaded."""
        from distill_eval.evaluate.harness import index, tasks

        self._manager = index.open_manager(self.options.include_path, self.store.get, self.store.put)
        return tasks.expand(self._manager, self.options.tasks)

    def _sources(self, names: Sequence[str]) -> dict[str, str] | None:
        from distill_eval.evaluate.harness.tasks import yaml_configs
        from distill_eval.evaluate.sources import task_sources

        return task_sources(yaml_configs(self._manager, [*self.options.tasks, *names]), self.store.file_digest)

    def _tasks(self) -> Loaded:
        from distill_eval.evaluate.harness import tasks

        if self._loaded is None:
            o = self.options
            wanted = tasks.TaskOptions(o.num_fewshot, o.limit, o.seed, o.trust_remote_code, o.confirm_run_unsafe_code)
            self._loaded = tasks.load_tasks(self._manager, o.tasks, wanted)
            self._wanted = wanted
        return self._loaded

    def _requests(self, folder: models.ModelFolder, template: str | None) -> dict[str, Built]:
        """Every task's rendered requests; models share them unless a chat template makes them differ."""
        from distill_eval.evaluate.harness import tasks

        if template not in self._built:
            renderer = chat_renderer(folder) if template is not None else None
            self._built = {
                template: {
                    name: tasks.build(
                        task, self._wanted, chat_template=renderer, tokenizer_name=folder.tokenizer_digest
                    )
                    for name, task in self._tasks().tasks.items()
                }
            }
        return self._built[template]


def _is_finite(response: Any) -> bool:
    number = response[0] if isinstance(response, tuple | list) else response
    return isinstance(number, str) or math.isfinite(number)


def _renamed(facts: ModelFacts, folder: models.ModelFolder) -> ModelFacts:
    """Facts from the cache under the name that the user gave this time."""
    return replace(facts, ref=str(folder.ref))
