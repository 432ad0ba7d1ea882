"""How each variant came to be: cut, trained, quantized, exported."""

from __future__ import annotations

from collections.abc import Mapping

from distill_eval.report import escape, numbers
from distill_eval.report.sections import folded, plain_table, short_names
from distill_eval.schema.distill import DistillRun
from distill_eval.schema.export import ExportRun
from distill_eval.schema.quant import QuantRun
from distill_eval.schema.student import StudentInit

Making = StudentInit | DistillRun | QuantRun | ExportRun


def section(made: Mapping[str, Making], models: Mapping[str, str], names: Mapping[str, str]) -> list[str]:
    """A row for each step; nothing where none is known.

    Args:
        made: Steps, by where their artifact was found; trainings by the short name of their model.
        models: Short name of the model that a step made, by the same; one that was trained further has none.
        names: From every name that an artifact has for a model to its short name.
    """

    def short(ref: str) -> str:
        return names.get(ref) or short_names([ref])[ref]

    rows = []
    for where, one in made.items():
        before, how, what = _told(one)
        rows.append((models.get(where) or short(where.removesuffix("/student.json")), short(before), how, what))
    table = {
        heading: [escape.text(row[place]) for row in rows]
        for place, heading in enumerate(("model", "made from", "how", "what that did"))
    }
    return ["## How the variants were made\n\n" + folded(plain_table(table), len(rows))] if rows else []


def _told(one: Making) -> tuple[str, str, str]:
    """What it was made from, how, and what that did."""
    if isinstance(one, DistillRun):
        return str(one.student), _training(one), _learnt(one)
    if isinstance(one, QuantRun):
        check = one.check
        layers = f"{len(one.quantized_layers):,} layers, {numbers.fixed(one.bits_per_weight, 2)} bits per weight"
        how = " ".join([one.scheme, *([one.algorithm] if one.algorithm else [])])
        return str(one.model), f"{how}: {layers}", _apart(check.mean_kl, check.top1_agreement, "held-out tokens")
    if isinstance(one, ExportRun):
        whole = one.parity.whole
        how = f"{one.format} {one.precision} by {one.exporter}"
        if whole.mean_kl is None or whole.top1_agreement is None:
            return str(one.model), how, f"logits differ by at most {whole.max_abs_diff:.3g}"
        return str(one.model), how, _apart(whole.mean_kl, whole.top1_agreement, "positions")
    ratio = one.student_num_parameters / one.teacher_num_parameters
    kept = (
        f"{len(one.kept_layers)} layers kept, {len(one.dropped_layers)} dropped" if one.kept_layers else "a new model"
    )
    lost = "" if one.loss is None else f"; loss {one.loss.teacher:.3f} to {one.loss.student:.3f}"
    return str(one.teacher), kept, f"{numbers.percent(ratio)} of the parameters{lost}"


def _training(run: DistillRun) -> str:
    without = " without its teacher" if run.baseline else ""
    return f"trained{without}: {run.num_steps:,} steps, {run.num_tokens_seen:,} tokens of {run.data.data}"


def _learnt(run: DistillRun) -> str:
    if run.before.accuracy is not None and run.after.accuracy is not None:
        return f"accuracy {numbers.percent(run.before.accuracy)} to {numbers.percent(run.after.accuracy)}"
    teacher = (
        "" if run.teacher_validation is None else f" (teacher {numbers.fixed(run.teacher_validation.perplexity, 1)})"
    )
    before, after = (numbers.fixed(one.perplexity, 1) for one in (run.before, run.after))
    return f"perplexity {before} to {after}{teacher}"


def _apart(mean_kl: float, top1_agreement: float, of: str) -> str:
    return f"KL {numbers.fixed(mean_kl, 4)} nats, same top token at {numbers.percent(top1_agreement)} of the {of}"
