"""The text of a plan: what to expect, and what it takes; every figure with where it comes from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from distill_eval.report import escape, numbers
from distill_eval.report.plan_values import cell, count, shown, size, spread, value_of
from distill_eval.report.sections import findings, folded, how_to_repeat, with_notes
from distill_eval.report.table import Cell, Column, grid
from distill_eval.schema.plan import (
    DTYPES,
    Anchor,
    Figure,
    MissingTask,
    ModelSizes,
    Plan,
    ServingPlan,
    StudentPlan,
    TaskPlan,
)

TEXT, CHART = "plan.md", "plan.svg"
TRAINING = {
    "tokens": "tokens",
    "weights_bytes": "weights",
    "gradients_bytes": "gradients",
    "optimizer_bytes": "optimizer",
    "activations_bytes": "activations",
    "logits_bytes": "loss",
    "teacher_bytes": "teacher",
    "peak_bytes": "memory of a device at its peak",
    "fits": "share of a device's memory",
    "least_bytes": "memory of a device at least",
    "sharded_bytes": "memory of a device at least, if sharded",
    "utilisation": "share of the peak that is reached",
    "flops": "operations",
    "seconds": "time",
    "cost_usd": "price",
    "teacher_cache_bytes": "disk: cached teacher",
    "checkpoint_bytes": "disk: checkpoints",
}
"""What a figure of the training is called, by the end of its name."""


def render(plan: Plan) -> str:
    """The whole text, ending in a newline; the same plan gives the same bytes."""
    teacher = escape.name(plan.teacher.name)
    sections = [
        f"# Plan of a student of {teacher}",
        f"> {escape.text(expectation(plan))}",
        _sizes(plan),
        _students(plan),
        _training(plan),
        _retained(plan),
        *_evaluation(plan.evaluation, plan.missing_tasks),
        *_serving(plan.serving),
        findings(plan.findings),
        how_to_repeat([plan.provenance]),
        HOW_TO_READ,
    ]
    return "\n\n".join(sections) + "\n"


# ---- the sentence that comes first


def expectation(plan: Plan) -> str:
    """What to expect, in two sentences; plain text."""
    student, kept = plan.students[0], plan.retained
    told = f"{count(student.sizes.parts.total)} parameters ({student.compression:.3g} times smaller)"
    estimates = [
        f"{shown(figure)}{f' {spread(figure)}' if spread(figure) else ''} {whose}"
        for figure, whose in (
            (kept.fit, "by what published students kept"),
            (kept.own, "by your own runs"),
            (kept.rule, "by a planner's rule without data behind it"),
        )
        if figure.value is not None
    ]
    return f"Estimate: a student of {told} is expected to keep {'; '.join(estimates)}. {_takes(plan)}"


def _takes(plan: Plan) -> str:
    """Time, price and memory of the training, as far as they are known."""
    figures = {figure.name.removeprefix("training."): figure for figure in plan.training}
    seconds, price, peak, tokens = (figures.get(name) for name in ("seconds", "cost_usd", "peak_bytes", "tokens"))
    over = "" if tokens is None or tokens.value is None else f" on {shown(tokens)} tokens"
    known = seconds is not None and seconds.value is not None
    time = f"takes {_both(seconds)}" if known else "takes a time that is not known yet"
    paid = f", {_both(price)}," if price is not None and price.value is not None else ""
    text = f"Its training{over} {time}{paid} on {plan.hardware.name}"
    room = plan.hardware.memory_bytes
    if peak is not None and peak.value is None and peak.low is not None:
        return f"{text}, in at least {value_of(peak.low, 'bytes')} of {size(room)} on a device."
    if peak is None or peak.value is None:
        return f"{text}."
    fits = "fits" if peak.value <= room else "does not fit"
    return f"{text}, and {fits}: {shown(peak)} of {size(room)} on a device."


def _both(figure: Figure | None) -> str:
    return "" if figure is None else " ".join(filter(None, (shown(figure), spread(figure))))


# ---- sizes and students


def _sizes(plan: Plan) -> str:
    models = [plan.teacher, *(one.sizes for one in made(plan))]
    exact = [f"exact: counted from the config, {escape.clean(one.config_source)}" for one in models]

    def row(name: str, show: Callable[[ModelSizes], str]) -> tuple[str, list[str]]:
        return name, [show(one) for one in models]

    rows = [
        row("parameters", lambda one: numbers.count(one.parts.total)),
        row("embeddings", lambda one: numbers.count(one.parts.embeddings)),
        row("attention", lambda one: numbers.count(one.parts.attention)),
        row("feed-forward", lambda one: numbers.count(one.parts.feed_forward)),
        row("norms", lambda one: numbers.count(one.parts.norms)),
        row("head", lambda one: numbers.count(one.parts.head)),
        row("other", lambda one: numbers.count(one.parts.other)),
        *(row(dtype, lambda one, dtype=dtype: _weight(one, dtype)) for dtype in DTYPES),  # type: ignore[misc]
        row("KV cache per token", _per_token),
        row(
            "longest text (tokens)", lambda one: numbers.UNDEFINED if one.max_length is None else f"{one.max_length:,}"
        ),
    ]
    columns = [Column("exact", tuple(Cell(name) for name, _ in rows), numeric=False)]
    for place, one in enumerate(models):
        cells = tuple(
            Cell(shows[place], (exact[place],) if number == 0 else ()) for number, (_, shows) in enumerate(rows)
        )
        columns.append(Column(escape.text(one.name), cells))
    return f"## Sizes\n\n{with_notes(grid(columns))}"


def made(plan: Plan) -> tuple[StudentPlan, ...]:
    """Everybody who is made: an assistant, and the students."""
    return (*([] if plan.assistant is None else [plan.assistant]), *plan.students)


def _weight(sizes: ModelSizes, dtype: str) -> str:
    found = sizes.weight_bytes.get(dtype)
    return numbers.UNDEFINED if found is None else size(found)


def _per_token(sizes: ModelSizes) -> str:
    cache = sizes.kv_cache
    if cache is None:
        return numbers.UNDEFINED
    near = "" if cache.window is None else f" ({cache.num_window_layers} layers keep {cache.window:,} tokens)"
    return f"{size(cache.num_bytes(1))}{near}"


def _students(plan: Plan) -> str:
    rows: dict[str, list[Cell]] = {"student": [], "times smaller": [], "layers": [], "hidden": [], "inner": []}
    rows |= {"heads (KV)": [], "why": []}
    for one in made(plan):
        shape = one.sizes.shape
        rows["student"].append(Cell(escape.text(one.sizes.name)))
        rows["times smaller"].append(Cell(f"{one.compression:.3g}"))
        rows["layers"].append(Cell(numbers.UNDEFINED if shape is None else str(shape.num_layers)))
        rows["hidden"].append(Cell(numbers.UNDEFINED if shape is None else numbers.count(shape.hidden_size)))
        rows["inner"].append(Cell(numbers.UNDEFINED if shape is None else numbers.count(shape.ffn_size)))
        heads = numbers.UNDEFINED if shape is None else f"{shape.num_heads} ({shape.num_kv_heads})"
        rows["heads (KV)"].append(Cell(heads))
        rows["why"].append(Cell(escape.text(one.why)))
    columns = [Column(name, tuple(cells), numeric=name not in ("student", "why")) for name, cells in rows.items()]
    commands = "\n".join(one.prepare for one in made(plan))
    what = "the assistant is trained first, and then teaches the student" if plan.assistant else None
    said = f"Exact; {what or 'the first is the one that everything below is about'}. What makes each:"
    return f"## Students\n\n{with_notes(grid(columns))}\n\n{said}\n\n{escape.code_block(commands, language='sh')}"


# ---- training and retention


def _training(plan: Plan) -> str:
    names = [TRAINING.get(one.name.removeprefix("training."), one.name) for one in plan.training]
    columns = [
        Column("training", tuple(Cell(name) for name in names), numeric=False),
        Column("figure", tuple(cell(figure) for figure in plan.training)),
    ]
    on = plan.hardware
    devices = numbers.plural(on.num_devices, "device")
    told = (
        f"On {escape.text(on.name)}: {devices}, each with {size(on.memory_bytes)}, {on.flops / 1e12:.3g} TFLOP/s and "
        f"{size(on.bandwidth)}/s from memory ({escape.text(on.source)})."
    )
    return f"## Training\n\n{told}\n\n{with_notes(grid(columns))}"


def _retained(plan: Plan) -> str:
    kept = plan.retained
    asked = {
        "published students": kept.fit,
        "your own runs": kept.own,
        "a planner's rule": kept.rule,
        "training tokens by the rule": kept.tokens,
    }
    columns = [
        Column("by", tuple(Cell(name) for name in asked), numeric=False),
        Column("expected", tuple(cell(figure) for figure in asked.values())),
    ]
    said = "Estimates that stand side by side, and are never mixed; in brackets the 80 % interval of one more."
    fit = f"The fit: {escape.text(kept.fit_text)}."
    picture = f"![Retention against how many times smaller]({CHART})"
    return "\n\n".join(["## Expected to keep", said, with_notes(grid(columns)), fit, picture, _anchors(kept.anchors)])


def _anchors(anchors: Sequence[Anchor]) -> str:
    shown = sorted(anchors, key=lambda one: one.compression)
    notes = [(one.source, *([f"not in the fit: {one.left_out}"] if one.left_out else [])) for one in shown]
    columns = [
        Column("teacher", tuple(Cell(escape.text(one.teacher)) for one in shown), numeric=False),
        Column("student", tuple(Cell(escape.text(one.student)) for one in shown), numeric=False),
        Column("times smaller", tuple(Cell(f"{one.compression:.3g}") for one in shown)),
        Column("method", tuple(Cell(one.method) for one in shown), numeric=False),
        Column("tokens", tuple(Cell(numbers.optional(one.tokens, count)) for one in shown)),
        Column("on", tuple(Cell(escape.text(one.benchmark)) for one in shown), numeric=False),
        Column(
            "kept", tuple(Cell(numbers.percent(one.retention), note) for one, note in zip(shown, notes, strict=True))
        ),
    ]
    return folded(with_notes(grid(columns)), len(shown), what="published result")


# ---- evaluation and serving


def _evaluation(tasks: Sequence[TaskPlan], missing: Sequence[MissingTask]) -> Iterator[str]:
    if not tasks and not missing:
        return
    gone = [Cell(numbers.UNDEFINED, (one.reason,), missing=True) for one in missing]
    names = [*(one.task for one in tasks), *(one.task for one in missing)]
    columns = [
        Column("task", tuple(Cell(escape.text(name)) for name in names), numeric=False),
        Column("documents", (*(Cell(_documents(one)) for one in tasks), *gone)),
        Column("tokens", (*(cell(one.num_tokens) for one in tasks), *gone)),
        Column("time of both", (*(cell(one.seconds) for one in tasks), *gone)),
        Column("smallest drop found", (*map(_drop, tasks), *gone)),
        Column("--limit for --detect", (*(Cell(_limit(one)) for one in tasks), *gone)),
    ]
    columns = columns if any(one.limit_to_detect for one in tasks) else columns[:-1]
    yield f"## Evaluation\n\n{with_notes(grid(columns))}"


def _documents(one: TaskPlan) -> str:
    of = "" if one.num_docs == one.num_docs_total else f" of {one.num_docs_total:,}"
    return f"{one.num_docs:,}{of}"


def _drop(one: TaskPlan) -> Cell:
    notes = (one.reason,) if one.reason else ()
    if one.detectable_drop is None:
        return Cell(numbers.UNDEFINED, notes)
    assumed = "estimate: a true drop that the paired test finds with 80 % power if the models disagree on 20 % of them"
    return Cell(f"{numbers.fixed(100 * one.detectable_drop, 1)} pp", (assumed, *notes))


def _limit(one: TaskPlan) -> str:
    return numbers.UNDEFINED if one.limit_to_detect is None else numbers.count(one.limit_to_detect)


def _serving(serving: Sequence[ServingPlan]) -> Iterator[str]:
    if not serving:
        return
    columns = [
        Column("model", tuple(Cell(escape.text(one.model)) for one in serving), numeric=False),
        Column("in", tuple(Cell(one.dtype) for one in serving), numeric=False),
        Column("requests at once", tuple(Cell(numbers.count(one.num_requests)) for one in serving)),
        Column("TTFT", tuple(cell(one.ttft_ms) for one in serving)),
        Column("TPOT", tuple(cell(one.tpot_ms) for one in serving)),
        Column("throughput", tuple(cell(one.throughput) for one in serving)),
        Column("requests that fit", tuple(Cell(_fitting(one)) for one in serving)),
        Column("per million tokens", tuple(cell(one.cost_per_million) for one in serving)),
    ]
    first = serving[0]
    said = f"Roofline estimates, at prompts of {first.input_len:,} and answers of {first.output_len:,} tokens."
    yield f"## Serving\n\n{said}\n\n{with_notes(grid([column for column in columns if not column.empty]))}"


def _fitting(one: ServingPlan) -> str:
    return numbers.UNDEFINED if one.max_requests is None else numbers.count(one.max_requests)


HOW_TO_READ = """## How to read this

- **exact** follows from a config by arithmetic; **measured** was timed or weighed on the machine that it is about;
  everything else is an **estimate**, with its spread in brackets where there is one.
- A dash has no value; its footnote says why, and what to type.
- After the run of a recipe with `[plan]`, its report shows these figures beside the measured ones.

Definitions and sources: docs/metrics.md, docs/anchors.md, docs/design/plan.md."""
