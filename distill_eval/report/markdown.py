"""The text of `report.md`: GitHub flavored markdown, a function of the record alone."""

from __future__ import annotations

from collections.abc import Sequence

from distill_eval.report import bought, confidence, escape, gate, numbers, parity, verdict
from distill_eval.report.rows import View, columns, labels, ordered
from distill_eval.report.sections import findings, folded, part, plain_table, settings_table, versions, with_notes
from distill_eval.report.table import grid
from distill_eval.schema.gate import RuleResult
from distill_eval.schema.retention import Entry, Retention, StudentVerdict, TaskFacts

ALWAYS = (
    "task",
    "variant",
    "metric",
    "n",
    "chance",
    "teacher",
    "student",
    "difference",
    "retention",
    "above chance",
    "p (Holm)",
    "flips",
    "could detect",
)
"""Columns of the main table that stay when they are empty (`variant` only with several students)."""


def render(retention: Retention, rules: Sequence[RuleResult] = ()) -> str:
    """The whole report, ending in a newline; the same record gives the same bytes.

    `rules` are those of a gate, judged.
    """
    view = View(show=escape.text, labels=labels(retention))
    sections = [
        _title(retention, view),
        _verdicts(retention, view),
        *_gate(rules),
        *tables(retention, view),
        *parity.section(retention, view.labels),
        *confidence.section(retention, view.labels),
        _models(retention, view),
        findings(retention.findings),
        _how_to_repeat(retention),
        _how_to_read(retention),
    ]
    return "\n\n".join(sections) + "\n"


def short(retention: Retention, rules: Sequence[RuleResult] = ()) -> str:
    """The verdict, the gate and the main table alone, for a page that has room for no more."""
    view = View(show=escape.text, labels=labels(retention))
    primary = [entry for entry in retention.entries if entry.primary]
    sections = [
        _title(retention, view),
        _verdicts(retention, view),
        *_gate(rules),
        _main_table(retention, primary, view),
    ]
    return "\n\n".join(sections) + "\n"


def grounds(retention: Retention, decision: StudentVerdict) -> str:
    """What a verdict rests on, and what distillation bought where there is a baseline."""
    pairs = bought.held([entry for entry in retention.entries if entry.student_ref == decision.student_ref])
    told = [
        verdict.grounds(retention, decision, escape.name),
        *([bought.sentence(pairs, escape.name)] if pairs else []),
    ]
    return " ".join(told)


def _gate(rules: Sequence[RuleResult]) -> list[str]:
    return [gate.section(rules)] if rules else []


def _title(retention: Retention, view: View) -> str:
    students = list(dict.fromkeys(escape.name(view.labels[student.ref]) for student in retention.students))
    named = " and ".join(students) if len(students) <= 2 else numbers.plural(len(students), "student")
    return f"# What {named} kept of {escape.name(view.labels[retention.teacher.ref])}"


def _verdicts(retention: Retention, view: View) -> str:
    quotes = []
    for decision in retention.verdicts:
        student = escape.name(view.labels.get(decision.student_ref, decision.student_ref))
        quotes.append(f"> **{verdict.headline(decision, student)}** {grounds(retention, decision)}")
    level = numbers.round_percent(retention.criterion.level)
    rule = (
        f"Criterion, on every task: {verdict.criterion(retention)}. PASS: the whole {level} interval meets it. "
        "FAIL: none of the interval does. INCONCLUSIVE: the interval holds both."
    )
    return "\n>\n".join(quotes) + f"\n\n{rule}"


def tables(retention: Retention, view: View, *, heading: str = "##") -> list[str]:
    """The sections of entries: those with a verdict, what distillation bought, other metrics, members of groups."""
    primary = [entry for entry in retention.entries if entry.primary]
    groups: dict[str, list[Entry]] = {}
    for entry in retention.entries:
        if not entry.primary and entry.group is not None:
            groups.setdefault(entry.group, []).append(entry)
    others = [entry for entry in retention.entries if not entry.primary and entry.group is None]
    sections = [f"{heading} Retention\n\n{_main_table(retention, primary, view)}"] if primary else []
    if bought.held(primary):
        sections.append(f"{heading} What distillation bought\n\n{_bought_table(retention, primary, view)}")
    if others:
        sections.append(f"{heading} Other metrics\n\n{_detail_table(retention, others, view)}")
    for group, members in groups.items():
        sections.append(f"{heading} Members of {escape.text(group)}\n\n{_detail_table(retention, members, view)}")
    return sections


def _main_table(retention: Retention, entries: Sequence[Entry], view: View) -> str:
    table = columns(ordered(retention, entries), view, level=retention.criterion.level)
    several = len(retention.students) > 1
    keys = [key for key in ALWAYS if several or key != "variant"]
    if not table["lm-eval prints"].empty:
        keys.append("lm-eval prints")
    return with_notes(grid([table[key] for key in [*keys, "verdict"]]))


def _bought_table(retention: Retention, entries: Sequence[Entry], view: View) -> str:
    pairs = bought.held(ordered(retention, entries))
    table = bought.columns(pairs, view, level=retention.criterion.level)
    dropped = {
        key
        for key, models in (("variant", retention.students), ("held against", retention.baselines))
        if len(models) == 1
    }
    return with_notes(grid([column for key, column in table.items() if key not in dropped]))


def _detail_table(retention: Retention, entries: Sequence[Entry], view: View) -> str:
    table = columns(ordered(retention, entries), view, level=retention.criterion.level)
    dropped = {key for key, column in table.items() if column.empty}
    dropped.add("p (Holm)" if "p (Holm)" in dropped else "p (unadjusted)")
    if len(retention.students) == 1:
        dropped.add("variant")
    shown = grid([column for key, column in table.items() if key not in dropped])
    return folded(with_notes(shown), len(entries))


def _models(retention: Retention, view: View) -> str:
    refs = [student.ref for student in retention.students]
    extra = [baseline for baseline in retention.baselines if baseline.ref not in refs]
    models = [retention.teacher, *retention.students, *extra]
    teacher, whole = retention.teacher, retention.teacher.num_parameters or 0
    facts = {
        "model": [escape.text(view.labels[model.ref]) for model in models],
        "role": ["teacher"] + ["student"] * len(retention.students) + ["baseline"] * len(extra),
        "parameters (of teacher)": [
            numbers.UNDEFINED if model.num_parameters is None else part(numbers.count, model.num_parameters, whole)
            for model in models
        ],
        "on disk (of teacher)": [part(numbers.size, model.size_bytes, teacher.size_bytes) for model in models],
        "run in": [escape.text(model.dtype) for model in models],
        "weights": [escape.text(model.quantization or "not quantized") for model in models],
        "engine": [escape.text(model.engine) for model in models],
        "architecture": [escape.text(model.architecture) for model in models],
        "context (tokens)": [numbers.count(model.max_length) for model in models],
        "weights SHA-256": [escape.text(model.weights_digest[:12]) for model in models],
        "given as": [escape.text(model.ref) for model in models],
    }
    if facts["given as"] == facts["model"]:
        del facts["given as"]
    for key, usual in (("weights", "not quantized"), ("engine", "hf")):
        if set(facts[key]) == {usual}:
            del facts[key]
    return f"## Models\n\n{plain_table(facts, numeric=_NUMERIC_FACTS)}"


_NUMERIC_FACTS = frozenset({"parameters (of teacher)", "on disk (of teacher)", "context (tokens)"})


def _how_to_repeat(retention: Retention) -> str:
    source = retention.provenance
    tasks = plain_table(task_facts(retention), numeric=frozenset({"shots"}))
    tables = [conditions(retention), folded(tasks, len(retention.tasks)), versions(source)]
    return "\n\n".join(["## How to repeat this", escape.code_block(source.command, language="sh"), *tables])


def conditions(retention: Retention) -> str:
    """The table of settings and seeds under which everything was scored."""
    source, manifest = retention.provenance, retention.manifest
    return settings_table(
        {
            "documents": _documents(retention),
            "few-shot examples": "each task's default"
            if manifest.num_fewshot is None
            else numbers.count(manifest.num_fewshot),
            "chat template": "applied" if manifest.apply_chat_template else "not applied",
            "seed": str(manifest.seed),
            "dtype": manifest.dtype,
            "device": manifest.device,
            "hardware": source.hardware,
            "engine": manifest.engine_version,
            "tasks and metrics": f"lm-eval {manifest.lm_eval_version}",
            "scorer": manifest.scorer,
            "tokens per batch": "automatic" if manifest.batch_tokens is None else numbers.count(manifest.batch_tokens),
            "distill-eval commit": source.git_commit or "not run from a checkout",
        }
    )


def task_facts(retention: Retention) -> dict[str, list[str]]:
    """The tasks with their versions and data, as columns of a table."""

    def data(task: TaskFacts) -> str:
        if task.dataset is None:
            return "not named"
        return escape.text(task.dataset + (f"@{task.dataset_revision[:12]}" if task.dataset_revision else ""))

    return {
        "task": [escape.text(task.task) for task in retention.tasks],
        "version": [escape.text(task.version) for task in retention.tasks],
        "shots": [numbers.count(task.num_fewshot) for task in retention.tasks],
        "data set": [data(task) for task in retention.tasks],
    }


def _documents(retention: Retention) -> str:
    limit = retention.manifest.limit
    if limit is None:
        said = "all of every task"
    elif limit < 1:
        said = f"the first {numbers.round_percent(limit)} of every task"
    else:
        said = f"the first {limit:,.0f} of every task"
    adaptive = any(entry.adaptive for entry in retention.entries)
    return f"of {said}, in a random order, until every verdict held" if adaptive else said


def _how_to_read(retention: Retention) -> str:
    level = numbers.round_percent(retention.criterion.level)
    powers = sorted({entry.power.power for entry in retention.entries})
    power = " or ".join(numbers.round_percent(power) for power in powers) or "the stated"
    lines = [
        "**n**: documents that both models answered; `of` names how many the task has when it was limited.",
        f"**difference**: student minus teacher, with its {level} interval; pp is percentage points.",
        "**retention**: student / teacher; 100 % is kept in full.",
        "**above chance**: (student - chance) / (teacher - chance), where chance is the score of guessing.",
        (
            "**p (Holm)**: the probability of a difference at least this large between equally good models, adjusted "
            "for the number of tasks; unadjusted is without that."
        ),
        (
            "**flips**: harmful is teacher right and student wrong, beneficial the reverse, other is both wrong with "
            "different answers; counts, then shares of n."
        ),
        f"**could detect**: the smallest true drop that this comparison finds with {power} power.",
        (
            "**lm-eval prints**: lm-eval's own scores, teacher / student, where they are another quantity than the one "
            "compared; the column is left out where all are the same."
        ),
        (
            f"**verdict**: PASS, FAIL or INCONCLUSIVE by the criterion and the {level} interval; a student passes only "
            "if every task passes."
        ),
    ]
    if any(entry.adaptive for entry in retention.entries):
        lines.append(
            f"**after looks**: documents were taken block by block until the verdicts held, so the intervals here are "
            f"wider than usual: together they hold the truth at all looks at {level}."
        )
    if retention.baselines:
        lines += bought.how_to_read(retention.criterion.level)
    return "\n".join(["## How to read this", "", *(f"- {line}" for line in lines)])
