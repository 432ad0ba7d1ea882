"""Evaluate models on tasks: what the cache holds is read, the rest is scored, and every document is kept."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from distill_eval.errors import ModelError
from distill_eval.evaluate import models
from distill_eval.evaluate.loaded import LazyModel, chat_renderer, chat_template
from distill_eval.evaluate.options import EvaluateOptions
from distill_eval.provenance import engine_version, package_version
from distill_eval.record import from_json, record, to_json
from distill_eval.schema.evals import EvalRun, Manifest, MetricKind, Sample, TaskRun
from distill_eval.schema.model import ModelFacts, ModelRef

if TYPE_CHECKING:
    from distill_eval.evaluate.harness.tasks import Built, Loaded
    from distill_eval.store import Store


class Progress(Protocol):
    """Hears how far an evaluation is."""

    def start(self, work: dict[str, int], num_models: int) -> None:
        """The work of each task, in any one unit, for each of `num_models` models."""

    def update(self, model: str, task: str, fraction: float) -> None:
        """One model has done this fraction of one task."""

    def say(self, text: str) -> None:
        """A line for the reader."""


@record
class Scored:
    """A finished evaluation of one model as it is kept in the cache."""

    run: EvalRun
    samples: dict[str, tuple[Sample, ...]]
    """By task, in the order of the documents."""


@record
class Responses:
    """One model's answers to one task as they are kept in the cache."""

    facts: ModelFacts
    responses: list[Any]
    """Per request: [log-likelihood, is greedy], a log-likelihood, or a text."""
    scorer: str
    scorer_reason: str | None


class PlannedTask(NamedTuple):
    """A task or group that is about to be scored."""

    num_docs: int
    kind: MetricKind
    """Of the metric that will carry its verdict, as far as it is known before."""


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

    def evaluate(self, refs: Sequence[ModelRef]) -> list[Scored]:
        """One result per model, in order; the same model named twice is scored once.

        Raises:
            ModelError: a model cannot be found, loaded or trusted, or gives a score that is not a number.
            TaskError: a task is unknown, or its data cannot be had.
        """
        folders = [models.locate(ref, self.store.file_digest) for ref in refs]
        names = self._task_names()
        sources = self._sources(names)
        results: list[Scored] = []
        for folder in folders:
            self.store.put("model", {"weights": folder.weights_digest}, str(folder.ref).encode())
            results.append(self._evaluate_one(folder, sources, len(folders)))
        return results

    # ---- one model

    def _evaluate_one(self, folder: models.ModelFolder, sources: dict[str, str] | None, num_models: int) -> Scored:
        template = chat_template(folder) if self.options.apply_chat_template else None
        identity = self._identity(folder, template)
        parts: dict[str, Any] = identity | {"tasks": list(self.options.tasks), "sources": sources}
        stored = self.store.get("evaluation", parts) if sources is not None else None
        if stored is not None:
            scored = from_json(Scored, stored, source="the evaluation cache")
            facts = _renamed(scored.run.model, folder)
            return Scored(run=replace(scored.run, model=facts), samples=scored.samples)
        scored = self._score_tasks(folder, template, identity, num_models)
        if sources is not None:
            self.store.put("evaluation", parts, to_json(scored).encode())
        return scored

    def _score_tasks(
        self, folder: models.ModelFolder, template: str | None, identity: dict[str, Any], num_models: int
    ) -> Scored:
        from distill_eval.evaluate.harness import results, tasks

        loaded = self._tasks()
        builds = self._requests(folder, template)
        self.progress.start({name: built.num_chars for name, built in builds.items()}, num_models)
        self._announce(builds)
        model = LazyModel(folder, self.options, self.device)
        runs: list[TaskRun] = []
        samples: dict[str, tuple[Sample, ...]] = {}
        facts: ModelFacts | None = None
        for name, built in builds.items():
            task = loaded.tasks[name]
            answers = self._answers(model, name, built, identity | {"version": str(task.VERSION)})
            facts = answers.facts
            results.assign(built.instances, answers.responses)
            metrics, scored = results.score(task, built.num_docs)
            samples[name] = tuple(scored)
            dataset = tasks.dataset_name(task)
            runs.append(
                TaskRun(
                    task=name,
                    version=str(task.VERSION),
                    output_type=str(task.OUTPUT_TYPE),
                    num_fewshot=int(task.get_config("num_fewshot") or 0),
                    num_docs=built.num_docs,
                    num_docs_total=built.num_docs_total,
                    prompts_digest=built.prompts_digest,
                    metrics=metrics,
                    dataset=dataset,
                    scorer=answers.scorer,
                    scorer_reason=answers.scorer_reason,
                )
            )
            self.progress.update(str(folder.ref), name, 1.0)
        assert facts is not None  # there is at least one task
        run = EvalRun(
            model=_renamed(facts, folder),
            manifest=self._manifest(identity),
            tasks=tuple(runs),
            groups=results.group_specs(loaded.groups, self.options.tasks),
        )
        return Scored(run=run, samples=samples)

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

    def _answers(self, model: LazyModel, name: str, built: Built, identity: dict[str, Any]) -> Responses:
        """The model's responses to one task: from the cache, or scored now from where a killed run left off."""
        parts = identity | {"task": name, "prompts": built.prompts_digest}
        stored = self.store.get("responses", parts)
        if stored is None:
            with self.store.journal("responses", parts) as journal:
                stored = journal.finished
                if stored is None:
                    answers = self._score(model, name, built, journal)
                    stored = to_json(answers).encode()
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

    # ---- what a score depends on

    def _identity(self, folder: models.ModelFolder, template: str | None) -> dict[str, Any]:
        o = self.options
        return {
            "weights": folder.weights_digest,
            "tokenizer": folder.tokenizer_digest,
            "dtype": models.resolve_dtype(folder, o.dtype),
            "device": self.device.partition(":")[0],
            "engine": "transformers",
            "engine_version": engine_version(),
            "lm_eval": package_version("lm_eval"),
            "scorer": o.scorer,
            "batch_tokens": o.batch_tokens,
            "num_fewshot": o.num_fewshot,
            "limit": o.limit,
            "seed": o.seed,
            "chat_template": template,
        }

    def _manifest(self, identity: dict[str, Any]) -> Manifest:
        o = self.options
        return Manifest(
            limit=o.limit,
            num_fewshot=o.num_fewshot,
            seed=o.seed,
            apply_chat_template=o.apply_chat_template,
            chat_template_digest=identity["chat_template"],
            engine=identity["engine"],
            engine_version=identity["engine_version"],
            lm_eval_version=identity["lm_eval"],
            dtype=identity["dtype"],
            device=identity["device"],
            batch_tokens=o.batch_tokens,
            scorer=o.scorer,
        )


def _is_finite(response: Any) -> bool:
    number = response[0] if isinstance(response, tuple | list) else response
    return isinstance(number, str) or math.isfinite(number)


def _renamed(facts: ModelFacts, folder: models.ModelFolder) -> ModelFacts:
    """Facts from the cache under the name that the user gave this time."""
    return replace(facts, ref=str(folder.ref))
