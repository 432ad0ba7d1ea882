"""Small evaluations written by hand: what a harness would have produced."""

import math
from dataclasses import dataclass, field, replace

from fakes.manifest import MANIFEST

from distill_eval.compare import Evaluated, compare
from distill_eval.schema.evals import EvalRun, GroupSpec, MetricRun, MetricSample, Sample, TaskRun
from distill_eval.schema.model import ModelFacts
from distill_eval.schema.retention import Criterion, Provenance

PROVENANCE = Provenance(command="distill-eval compare", versions={"torch": "2.13.0"}, hardware="cpu", git_commit=None)


@dataclass
class Column:
    """One metric of a task: a value (or an item) per document."""

    values: list = ()
    metric: str = "acc"
    kind: str = "binary"
    primary: bool = True
    filter: str = "none"
    aggregation: str = "mean"
    higher_is_better: bool = True
    answers: list | None = None
    num_bytes: list | None = None
    num_words: list | None = None
    items: list | None = None
    score: float | None = None
    reason: str | None = None

    def run(self):
        given = self.items or self.reason or self.score is not None
        score = self.score if given else sum(self.values) / len(self.values)
        return MetricRun(
            metric=self.metric,
            filter=self.filter,
            kind=self.kind,
            aggregation=self.aggregation,
            higher_is_better=self.higher_is_better,
            value=score,
            value_reason=self.reason,
            primary=self.primary,
        )

    def sample(self, index):
        def at(values):
            return values[index] if values else None

        return MetricSample(
            metric=self.metric,
            filter=self.filter,
            value=at(self.values),
            answer=at(self.answers),
            num_bytes=at(self.num_bytes),
            num_words=at(self.num_words),
            item=at(self.items),
        )

    def __len__(self):
        return len(self.values) or len(self.items)


@dataclass
class Task:
    """One task of one model."""

    columns: list = field(default_factory=list)
    options: int | None = None
    total: int | None = None
    changes: dict = field(default_factory=dict)
    order: list | None = None

    def run(self, name):
        num_docs = len(self.columns[0])
        run = TaskRun(
            task=name,
            version="1.0",
            output_type="multiple_choice",
            num_fewshot=0,
            num_docs=num_docs,
            num_docs_total=self.total or num_docs,
            prompts_digest="p" * 64,
            metrics=tuple(column.run() for column in self.columns),
        )
        return replace(run, **self.changes)

    def samples(self, name):
        documents = [
            Sample(
                task=name,
                doc_id=index,
                doc_hash=f"hash-{name}-{index}",
                num_options=self.options,
                metrics=tuple(column.sample(index) for column in self.columns),
                target="0",
                responses=(),
            )
            for index in range(len(self.columns[0]))
        ]
        return [documents[index] for index in self.order] if self.order else documents


def evaluated(ref, tasks, *, groups=(), model=None, **manifest):
    """An evaluation of the model `ref`."""
    facts = ModelFacts(
        ref=ref,
        architecture="LlamaForCausalLM",
        num_parameters=1000,
        size_bytes=4000,
        dtype="float32",
        vocab_size=100,
        weights_digest=f"weights-{ref}",
        tokenizer_digest="tokenizer",
        max_length=2048,
    )
    run = EvalRun(
        model=replace(facts, **(model or {})),
        manifest=replace(MANIFEST, **manifest),
        tasks=tuple(task.run(name) for name, task in tasks.items()),
        groups=tuple(groups),
    )
    return Evaluated(run, {name: task.samples(name) for name, task in tasks.items()})


def group(name, tasks, metrics=("acc",), *, weight_by_size=True):
    """A group of tasks."""
    return GroupSpec(group=name, tasks=tuple(tasks), metrics=tuple(metrics), weight_by_size=weight_by_size)


def criterion(min_retention=0.95, margin=None, level=0.95):
    """A criterion; a margin replaces the retention."""
    return Criterion(min_retention=None if margin is not None else min_retention, margin=margin, level=level)


def run(teacher, *students, baselines=(), seed=0, **options):
    """`compare` with the arguments that a test seldom cares for."""
    asked = criterion(**options)
    return compare(teacher, list(students), asked, baselines=baselines, seed=seed, provenance=PROVENANCE)


def binary(right, **options):
    """A task with one 0/1 metric."""
    task = {key: options.pop(key) for key in ("options", "total", "changes", "order") if key in options}
    return Task([Column([float(value) for value in right], **options)], **task)


AGGREGATIONS = {"bits_per_byte": "bits_per_byte", "perplexity": "perplexity"}


def text(bits, num_bytes, metrics=("word_perplexity", "byte_perplexity", "bits_per_byte"), primary=True):
    """A task measured by log-likelihood: bits per byte of each document, and its bytes; about five are a word."""
    nats = [-b * n * math.log(2) for b, n in zip(bits, num_bytes, strict=True)]
    num_words = [n // 5 + 1 for n in num_bytes]
    scores = {
        "bits_per_byte": lambda: -sum(nats) / sum(num_bytes) / math.log(2),
        "byte_perplexity": lambda: math.exp(-sum(nats) / sum(num_bytes)),
        "word_perplexity": lambda: math.exp(-sum(nats) / sum(num_words)),
        "perplexity": lambda: math.exp(-sum(nats) / len(nats)),
    }
    return Task(
        [
            Column(
                nats,
                metric=metric,
                kind="loglikelihood",
                primary=primary and index == 0,
                aggregation=AGGREGATIONS.get(metric, "weighted_perplexity"),
                higher_is_better=False,
                num_bytes=num_bytes,
                num_words=num_words if metric == "word_perplexity" else None,
                score=scores[metric](),
            )
            for index, metric in enumerate(metrics)
        ]
    )


def cells(both=0, student_only=0, teacher_only=0, neither=0):
    """0/1 scores of (teacher, student) with these counts."""
    teacher = [1] * both + [0] * student_only + [1] * teacher_only + [0] * neither
    student = [1] * both + [1] * student_only + [0] * teacher_only + [0] * neither
    return teacher, student
