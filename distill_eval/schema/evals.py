"""One model's scores on one set of tasks, document by document."""

from __future__ import annotations

from typing import Literal

from distill_eval.record import record
from distill_eval.schema.model import ModelFacts

MetricKind = Literal["binary", "real", "loglikelihood", "corpus"]
"""How a metric's documents become its score, and so which paired statistics apply.

- binary: each document is 0 or 1 and the score is their mean (acc, acc_norm, exact_match);
- real: each document is a number and the score is their mean (a per-document F1, BLEU, brier score);
- loglikelihood: each document is a log-likelihood in nats over `num_bytes` bytes of text, and the score is a
  perplexity or bits per byte (perplexity, word_perplexity, byte_perplexity, bits_per_byte);
- corpus: the score is a function of all documents together (mcc, corpus BLEU); its documents are not numbers.
"""


@record
class MetricRun:
    """The score of one task under one metric and one filter."""

    metric: str
    """lm-eval's name, e.g. `acc_norm`."""
    filter: str
    """lm-eval's filter, e.g. `none` or `strict-match`."""
    kind: MetricKind
    aggregation: str
    """lm-eval's name of the aggregation, e.g. `mean` or `weighted_perplexity`."""
    higher_is_better: bool
    value: float | None
    """The task's score as lm-eval computes it."""
    value_reason: str | None = None
    """Why `value` is `None`."""
    primary: bool = False
    """Whether the verdict on this task rests on this metric (exactly one metric of a task)."""


@record
class TaskRun:
    """One task: what was asked, and how it was scored."""

    task: str
    version: str
    output_type: str
    num_fewshot: int
    num_docs: int
    """Documents scored."""
    num_docs_total: int
    """Documents that the task has."""
    prompts_digest: str
    """SHA-256 over every rendered request, in order."""
    metrics: tuple[MetricRun, ...]
    dataset: str | None = None
    """Hub name of the data set, with its configuration, e.g. `cais/mmlu:anatomy`."""
    dataset_revision: str | None = None
    scorer: str = "prefix"
    """`prefix` or `plain`: the path that computed the log-likelihoods."""
    scorer_reason: str | None = None
    """Why the plain path ran although the prefix path was asked for."""


@record
class GroupSpec:
    """A group of tasks (such as mmlu) and how lm-eval aggregates it."""

    group: str
    tasks: tuple[str, ...]
    """Its leaf tasks."""
    metrics: tuple[str, ...]
    """The metrics that it aggregates (empty: it only collects)."""
    weight_by_size: bool = True
    """Whether the group's score is the mean over documents (True) or over tasks (False)."""


@record
class Manifest:
    """What must be equal for two runs to be compared, and what may differ and is then stated."""

    limit: float | None
    """A count, or a fraction below 1; `None` is every document."""
    num_fewshot: int | None
    """As asked on the command line; `None` is each task's default."""
    seed: int
    apply_chat_template: bool
    chat_template_digest: str | None
    """SHA-256 of the template's text when one is applied."""
    engine: str
    """What computed the scores, e.g. `transformers`."""
    engine_version: str
    lm_eval_version: str
    dtype: str
    device: str
    batch_tokens: int | None
    scorer: str
    """`prefix` or `plain`, as asked."""


@record
class EvalRun:
    """One model's evaluation."""

    model: ModelFacts
    manifest: Manifest
    tasks: tuple[TaskRun, ...]
    groups: tuple[GroupSpec, ...] = ()


@record
class MetricSample:
    """One document under one metric."""

    metric: str
    filter: str
    value: float | None
    """binary: 0 or 1; real: the number; loglikelihood: nats; corpus: `None`."""
    answer: str | None = None
    """What the model chose (option number, or the extracted text), where that is known: tells which wrong."""
    num_bytes: int | None = None
    """loglikelihood only: UTF-8 bytes of the scored text, so that tokenizers can be compared."""
    num_words: int | None = None
    """loglikelihood only: the weight that lm-eval gives to this document where its metric is per word."""
    item: str | None = None
    """corpus only: the document's contribution as JSON, e.g. `[gold, predicted]`."""


@record
class Sample:
    """One document of one task, as one model answered it."""

    task: str
    doc_id: int
    doc_hash: str
    """lm-eval's hash of the document: pairing checks it."""
    num_options: int | None
    """Multiple choice only: the number of options; chance is one over it."""
    metrics: tuple[MetricSample, ...]
    target: str
    responses: tuple[str, ...]
    """Per request, as JSON: `[log-likelihood, is_greedy]`, a log-likelihood, or the generated text."""
    prompt: str | None = None
    """The last 2,000 characters of what the models were given; `None` for a text that is scored as a whole, and in
    samples that were kept before prompts were."""
    options: tuple[str, ...] = ()
    """Multiple choice only: what the prompt was continued with, each cut to 500 characters."""
