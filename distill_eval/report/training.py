"""How a training went: the text of `training.md`, and `curves.svg` beside it; of one run or several side by side."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence

from distill_eval.report import classifier, escape, numbers
from distill_eval.report.frame import Reference
from distill_eval.report.lines import Line, LineChart, draw_lines
from distill_eval.report.sections import findings, how_to_repeat, plain_table, settings_table, short_names, with_notes
from distill_eval.report.svg import picture
from distill_eval.report.table import Cell, Column, grid
from distill_eval.schema.distill import DataFacts, DistillRun, Validation

TEXT, PICTURE = "training.md", "curves.svg"
MOST_POINTS = 200
"""Of a line; of more log lines, means of equally many are drawn."""
APART = 20.0
"""Parts of the loss that are this many times apart are drawn on a logarithmic axis."""

Runs = dict[str, DistillRun]
"""By the name of their folder; the first one is what the text is about, the others stand beside it."""


def files(runs: Runs) -> dict[str, str]:
    """What stands beside the first run's `distill.json`, by name."""
    return {PICTURE: draw(runs), TEXT: render(runs)}


# ---- the picture


def draw(runs: Runs) -> str:
    """The first run's training loss in its parts, and the validation of all runs with their teacher's as a level."""
    aim = _aim(runs.values())
    charts = [_validation_chart(runs, aim, f"{AIMS[aim]} on the validation text", _teacher_levels(runs, aim))]
    if any(run.after.uld is not None for run in runs.values()):
        charts.append(_validation_chart(runs, "uld", "ULD distance to the teacher on the validation text", ()))
    if any(run.after.kl is not None for run in runs.values()):
        charts.append(_validation_chart(runs, "kl", "KL(teacher || student) on the validation text", ()))
    name, run = next(iter(runs.items()))
    parts = _loss_chart(name if len(runs) > 1 else None, run)
    charts += [parts] if parts is not None else []
    told = " ".join(sentence(run, name if len(runs) > 1 else None) for name, run in runs.items())
    return picture("Curves of a training", f"{told} The numbers are in {TEXT}.", [draw_lines(one) for one in charts])


def _validation_chart(runs: Runs, what: str, title: str, levels: Sequence[Reference]) -> LineChart:
    lines = [Line(_legend(name, run), points) for name, run in runs.items() if (points := _validations(run, what))]
    each = next(iter(runs.values())).after.unit
    titles = AIMS | {"perplexity": "perplexity, logarithmic", "kl": f"nats per {each}"}
    y_title = titles.get(what, "0 to 2")
    return LineChart(title, y_title, "step", tuple(lines), tuple(levels), log=what == "perplexity")


def _legend(name: str, run: DistillRun) -> str:
    return f"{name} (without the teacher)" if run.baseline else name


def _validations(run: DistillRun, what: str) -> tuple[tuple[float, float], ...]:
    """(step, value), from before training to after it."""
    found: dict[int, float | None] = {0: getattr(run.before, what)}
    found |= {point.step: point.values[f"eval_{what}"] for point in run.curve if f"eval_{what}" in point.values}
    found[run.num_steps] = getattr(run.after, what)
    return tuple((float(step), value) for step, value in sorted(found.items()) if value is not None)


def _aim(runs: Iterable[DistillRun]) -> str:
    """What compares all runs and their teachers: perplexity, bits per byte where tokenizers differ, or accuracy."""
    if all(run.after.accuracy is not None for run in runs):
        return "accuracy"
    return "perplexity" if any(run.after.bits_per_byte is None for run in runs) else "bits_per_byte"


def _teacher_levels(runs: Runs, aim: str) -> list[Reference]:
    """The teachers' own figures, but for the perplexity of one with another tokenizer, which is of other tokens."""
    found = {name: validation for name, validation in _teachers(runs).items() if _compares(validation, aim)}
    return [Reference(name, getattr(validation, aim)) for name, validation in found.items()]


def _compares(teacher: Validation, aim: str) -> bool:
    return aim == "bits_per_byte" or teacher.bits_per_byte is None


def _teachers(runs: Runs) -> dict[str, Validation]:
    """The teachers' own validation; runs with the same teacher and text share it, whatever their batches round to."""
    found = {
        f"{run.teacher_validation.perplexity:.5g}": (name, run.teacher_validation)
        for name, run in reversed(runs.items())
        if run.teacher_validation is not None
    }
    alone = len(found) == 1
    return {"teacher" if alone else f"teacher of {name}": validation for name, validation in reversed(found.values())}


def _loss_chart(name: str | None, run: DistillRun) -> LineChart | None:
    """The training loss and its parts; `None` for a run that logged none."""
    keys = dict.fromkeys(key for point in run.curve for key in point.values if _is_loss(key))
    lines, each = [], 1
    for key in keys:
        points = [(float(point.step), point.values[key]) for point in run.curve if key in point.values]
        each = max(each, -(-len(points) // MOST_POINTS))
        lines.append(Line(key.replace("_", " "), _thinned(points)))
    if not lines:
        return None
    values = [value for line in lines for _, value in line.points]
    log = min(values) > 0 and max(values) > APART * min(values)
    means = f" (means of {each} log lines)" if each > 1 else ""
    return LineChart(
        f"Training loss{f' of {name}' if name is not None else ''}",
        f"per {run.after.unit}; loss is the weighted sum of its parts{', logarithmic' if log else ''}",
        f"step{means}",
        tuple(lines),
        log=log,
    )


def _is_loss(key: str) -> bool:
    return (key == "loss" or key.endswith("_loss")) and not key.startswith("eval_")


def _thinned(points: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """Means of as many consecutive points as it takes to have no more than can be seen."""
    each = -(-len(points) // MOST_POINTS)
    groups = [points[start : start + each] for start in range(0, len(points), each)]
    return tuple((statistics.fmean(x for x, _ in group), statistics.fmean(y for _, y in group)) for group in groups)


# ---- the text


def render(runs: Runs) -> str:
    """The text, ending in a newline; the same records give the same bytes."""
    run = next(iter(runs.values()))
    several = len(runs) > 1
    quotes = [f"> {sentence(run, name if several else None, show=escape.name)}" for name, run in runs.items()]
    sections = [
        _title(run),
        "\n>\n".join(quotes),
        _validation_table(runs),
        f"![Validation and training loss by step]({PICTURE})",
        *([_side_by_side(runs)] if several else []),
        *classifier.sections(run),
        findings(run.findings),
        _training(run),
        _data(run.data),
        how_to_repeat([run.provenance for run in runs.values()]),
    ]
    return "\n\n".join(sections) + "\n"


def _title(run: DistillRun) -> str:
    refs = [str(run.student), *(str(teacher) for teacher in run.teachers)]
    student, *teachers = (escape.name(short_names(refs)[ref]) for ref in refs)
    if run.baseline:
        return f"# {student} trained without its teacher"
    if teachers:
        return f"# {student} taught by {' and '.join(teachers)}"
    cached = run.settings.get("--cached-teacher")
    return f"# {student} " + (f"taught by the answers in {escape.name(cached)}" if cached else "trained on text alone")


def sentence(run: DistillRun, name: str | None, show: Callable[[str], str] = str) -> str:
    """What came of it; `name` where there are several runs."""
    figure = _aim([run])
    begun = f"{show(name)}: {AIMS[figure].lower()}" if name is not None else AIMS[figure]
    moved = " to ".join(numbers.fixed(getattr(side, figure), 2) for side in (run.before, run.after))
    teacher = run.teacher_validation
    aim = f" (teacher: {numbers.fixed(getattr(teacher, figure), 2)})" if teacher is not None else ""
    near, each = "", run.after.unit
    if run.before.uld is not None and run.after.uld is not None:
        near = f", ULD distance to the teacher {numbers.fixed(run.before.uld, 3)} to {numbers.fixed(run.after.uld, 3)}"
    if run.before.kl is not None and run.after.kl is not None:
        near = (
            f", KL to the teacher {numbers.fixed(run.before.kl, 3)} to {numbers.fixed(run.after.kl, 3)} nats per {each}"
        )
    steps = f"{numbers.plural(run.num_steps, 'step')} and {numbers.count(run.num_tokens_seen)} tokens"
    return f"{begun} on the validation text went from {moved}{aim}{near}, in {steps}."


MEASURES: dict[str, tuple[str, Callable[[float], str]]] = {
    "perplexity": ("perplexity", lambda value: numbers.fixed(value, 2)),
    "hard_loss": ("loss (nats per token)", lambda value: numbers.fixed(value, 4)),
    "kl": ("KL to the teacher (nats per token)", lambda value: numbers.fixed(value, 4)),
    "top1_agreement": ("same most likely token as the teacher", numbers.percent),
    "teacher_entropy": ("teacher's entropy at the training temperature (nats)", lambda value: numbers.fixed(value, 3)),
    "num_tokens": ("tokens", lambda value: numbers.count(int(value))),
}
ACROSS: dict[str, tuple[str, Callable[[float], str]]] = {
    "bits_per_byte": ("bits per byte of the text that both tokenizers delimit", lambda value: numbers.fixed(value, 4)),
    "uld": ("ULD distance to the teacher (0 to 2)", lambda value: numbers.fixed(value, 4)),
    "paired_share": ("tokens that are compared with the teacher's", numbers.percent),
}
"""Beside `MEASURES`, where a teacher has another tokenizer; its perplexity is of its own tokens."""
ONE_TOKENIZER = ("kl", "top1_agreement")
AIMS = {"perplexity": "Perplexity", "bits_per_byte": "Bits per byte", "accuracy": "Accuracy"}
NOT_ASKED = "no live teacher was asked about the validation text"
OF_ITSELF = "measured of a student against its teacher"


def _validation_table(runs: Runs) -> str:
    same = len({run.before for run in runs.values()}) == 1
    found = {} if not same else {"before": next(iter(runs.values())).before}
    for name, run in runs.items():
        end = f" {escape.text(_legend(name, run))}" if len(runs) > 1 else ""
        found |= ({} if same else {f"before{end}": run.before}) | {f"after{end}": run.after}
    measures = _measures(runs)
    columns = [_column(header, validation, NOT_ASKED, measures) for header, validation in found.items()]
    columns += [
        _column(escape.text(name), validation, OF_ITSELF, measures) for name, validation in _teachers(runs).items()
    ]
    names = Column("on the validation text", tuple(Cell(text) for text, _ in measures.values()), numeric=False)
    return with_notes(grid([names, *columns]))


def _measures(runs: Runs) -> dict[str, tuple[str, Callable[[float], str]]]:
    """The rows of the table: those that a comparison across tokenizers has, and those that it has not."""
    if all(run.after.uld is None for run in runs.values()):
        return classifier.measures(MEASURES) if _aim(runs.values()) == "accuracy" else MEASURES
    within = any(run.after.kl is not None for run in runs.values())
    return {key: value for key, value in MEASURES.items() if within or key not in ONE_TOKENIZER} | ACROSS


def _column(
    header: str, validation: Validation, reason: str, measures: dict[str, tuple[str, Callable[[float], str]]]
) -> Column:
    values = [(getattr(validation, key), show) for key, (_, show) in measures.items()]
    return Column(
        header,
        tuple(Cell(numbers.UNDEFINED, (reason,)) if value is None else Cell(show(value)) for value, show in values),
    )


def _side_by_side(runs: Runs) -> str:
    """The options in which the runs differ."""
    flags = dict.fromkeys(flag for run in runs.values() for flag in run.settings)
    given = {flag: [run.settings.get(flag, "default") for run in runs.values()] for flag in flags}
    apart = {flag: values for flag, values in given.items() if len(set(values)) > 1}
    if len({run.data.digest for run in runs.values()}) > 1:
        apart["SHA-256 of the training rows"] = [(run.data.digest or "streamed")[:12] for run in runs.values()]
    table = {"option": [escape.text(flag) for flag in apart]}
    for place, (name, run) in enumerate(runs.items()):
        table[escape.text(_legend(name, run))] = [escape.text(values[place]) for values in apart.values()]
    return "## Where the runs differ\n\n" + (plain_table(table) if apart else "Nowhere.")


def _training(run: DistillRun) -> str:
    facts = {
        "student before training": str(run.student),
        "teacher": ", ".join(
            f"{teacher} (weight {weight:.3g})" if len(run.teachers) > 1 else str(teacher)
            for teacher, weight in zip(run.teachers, run.teacher_weights, strict=True)
        )
        or "none",
        "parameters": numbers.count(run.num_parameters),
        "on disk": numbers.size(run.size_bytes),
        "steps": numbers.count(run.num_steps),
        "tokens seen": numbers.count(run.num_tokens_seen),
        "memory at its peak": numbers.optional(run.peak_bytes, lambda value: numbers.size(int(value))),
        "batches left out, not a number": numbers.count(run.num_skipped_batches),
        "stopped early": run.stopped or "no",
    }
    options = {escape.text(flag): value for flag, value in run.settings.items()}
    return (
        f"## Training\n\n{settings_table(facts)}\n\nEvery option that is not its default:\n\n{settings_table(options)}"
    )


def _data(data: DataFacts) -> str:
    facts = {
        "data": data.data,
        "packing": data.packing,
        "tokens per row": numbers.count(data.max_length),
        "documents": _count(data.num_documents),
        "longer than a row, and cut": _count(data.num_split_documents),
        "without a token to predict, and left out": _count(data.num_unscored_documents),
        "rows": _count(data.num_blocks),
        "tokens": _count(data.num_tokens),
        "of them predicted": _count(data.num_scored_tokens),
        "padding": "streamed, not known" if data.padding_share is None else numbers.percent(data.padding_share),
        "SHA-256 of the rows": "streamed, not known" if data.digest is None else data.digest[:12],
        "validation rows": numbers.count(data.num_validation_blocks),
        "validation tokens predicted": numbers.count(data.num_validation_scored_tokens),
    }
    return "## Data\n\n" + settings_table(facts)


def _count(number: int | None) -> str:
    return "streamed, not known" if number is None else numbers.count(number)
