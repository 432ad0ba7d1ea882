"""The model card of one variant: `README.md` of its repository on the Hub, and the files of results beside it."""

from __future__ import annotations

from distill_eval.report import card_numbers, card_usage, escape, numbers
from distill_eval.report.card_metadata import eval_results, metadata
from distill_eval.report.sections import settings_table, versions
from distill_eval.report.subject import Subject
from distill_eval.schema.retention import Finding, Provenance

TEXT = "README.md"
VERDICTS = {
    "PASS": "It passed the criterion that it was held to.",
    "FAIL": "It **failed** the criterion that it was held to.",
    "INCONCLUSIVE": "Whether it meets the criterion that it was held to is **not settled**: more has to be measured.",
}
NOT_MEASURED = (
    "It was compared with its teacher on the tasks above and on nothing else. What they do not ask was not measured, "
    "and what is wrong with the teacher may be wrong with it too."
)


def files(subject: Subject) -> dict[str, str]:
    """What goes into the repository beside the model's own files, by name."""
    return {TEXT: render(subject), **eval_results(subject)}


def render(subject: Subject) -> str:
    """The card: YAML, then text; the same subject gives the same bytes."""
    sections = [
        f"# {escape.text(subject.title)}",
        _what(subject),
        *card_numbers.kept(subject),
        *card_numbers.speed(subject),
        *_made(subject),
        _limits(subject),
        f"## How to use it\n\n{card_usage.section(subject)}",
        _repeat(subject),
    ]
    yaml = metadata(subject).to_yaml(line_break="\n")
    return f"---\n{yaml}\n---\n\n" + "\n\n".join(sections) + "\n"


def _what(subject: Subject) -> str:
    variant, training = subject.variant, subject.lineage.training
    facts = [
        f"{numbers.count(variant.num_parameters)} parameters" if variant.num_parameters is not None else "",
        f"{numbers.size(variant.size_bytes)} of weights" if variant.size_bytes is not None else "",
        escape.text(variant.quantization) if variant.quantization is not None else "",
    ]
    size = ", ".join(filter(None, facts)) or "a size that was not measured"
    how = "compared with" if training is None or training.baseline else "distilled from and compared with"
    verdict = VERDICTS.get(variant.verdict or "", "No comparison has judged it.")
    return f"A model of {size}, {how} {_linked(subject, subject.teacher.ref)}. {verdict}"


def _linked(subject: Subject, ref: str) -> str:
    """A model by name, on the Hub with a link to it."""
    name = ref.partition("@")[0]
    return f"[{escape.text(ref)}](https://huggingface.co/{name})" if name in subject.hub_names else escape.name(ref)


def _made(subject: Subject) -> list[str]:
    steps = [*_cut(subject), *_trained(subject), *_quantized(subject), *_exported(subject)]
    lines = [f"{place}. {step}" for place, step in enumerate(steps, start=1)]
    return ["## How it was made\n\n" + "\n".join(lines)] if steps else []


def _cut(subject: Subject) -> list[str]:
    init = subject.lineage.init
    if init is None:
        return []
    size = f"{numbers.count(init.student_num_parameters)} of {numbers.count(init.teacher_num_parameters)} parameters"
    if init.fresh is not None:
        start = "at random" if init.fresh.init == "random" else "from tensors of the teacher that fit, else at random"
        return [f"A new model of the kind of {_linked(subject, str(init.teacher))}: {size}, its weights {start}."]
    layers = f"{len(init.kept_layers)} of {len(init.kept_layers) + len(init.dropped_layers)} layers"
    width = " and fewer channels" if init.channels else ""
    return [f"Cut from {_linked(subject, str(init.teacher))}: {layers}{width}, {size}."]


def _trained(subject: Subject) -> list[str]:
    run = subject.lineage.training
    if run is None:
        return []
    teachers = ", ".join(_linked(subject, str(teacher)) for teacher in run.teachers)
    whom = "without a teacher" if run.baseline else f"with {teachers} as the teacher"
    aim = (
        f"perplexity {numbers.fixed(run.before.perplexity, 2)} before, {numbers.fixed(run.after.perplexity, 2)} after"
        if run.after.accuracy is None or run.before.accuracy is None
        else f"accuracy {numbers.percent(run.before.accuracy)} before, {numbers.percent(run.after.accuracy)} after"
    )
    sentence = (
        f"Trained {whom} for {numbers.plural(run.num_steps, 'step')} ({numbers.count(run.num_tokens_seen)} tokens) on "
        f"{escape.name(run.data.data)}; on held-out text: {aim}."
    )
    return [f"{sentence} Every setting that is not a default:\n\n{_indented(settings_table(run.settings))}"]


def _indented(table: str) -> str:
    """As a part of a list's item."""
    return "\n".join(f"   {line}" for line in table.splitlines()) + "\n"


def _quantized(subject: Subject) -> list[str]:
    quant = subject.lineage.quant
    if quant is None:
        return []
    how = "" if quant.algorithm is None else f", {quant.algorithm}"
    bits = numbers.fixed(quant.bits_per_weight, 2)
    sentence = (
        f"Quantized to {quant.scheme}{how} with {escape.text(quant.library)}: {bits} bits per weight; mean KL to the "
        f"original {numbers.fixed(quant.check.mean_kl, 4)} nats per token of held-out text, and "
        f"{numbers.percent(quant.check.top1_agreement)} of the most likely tokens the same."
    )
    return [sentence]


def _exported(subject: Subject) -> list[str]:
    export = subject.lineage.export
    if export is None:
        return []
    parity = export.parity.whole
    sentence = (
        f"Written as an ONNX graph in {export.precision} with {escape.text(export.exporter)}; logits differ from the "
        f"original's by at most {parity.max_abs_diff:.3g} on {numbers.plural(parity.num_texts, 'text')}."
    )
    return [sentence]


def _limits(subject: Subject) -> str:
    others = {one.name for one in subject.report.variants} - {subject.variant.name, subject.teacher.name}

    def concerns(finding: Finding) -> bool:
        words = {finding.subject, *finding.text.split()}
        return subject.variant.name in words or not words & others

    about = [one for one in subject.report.findings if one.weight != "low" and concerns(one)]
    lines = [f"- **{escape.text(one.subject)}**: {escape.text(one.text)}" for one in about]
    return "\n\n".join(["## Limits", NOT_MEASURED, *(["\n".join(lines)] if lines else [])])


def _repeat(subject: Subject) -> str:
    report, lineage = subject.report, subject.lineage
    made = [
        one.provenance for one in (lineage.init, lineage.training, lineage.quant, lineage.export) if one is not None
    ]
    compared = [retention.provenance for retention, _ in subject.entries()]
    sources: list[Provenance] = [*made, *compared, *(bench.provenance for bench, _ in subject.benched())]
    commands = "\n".join(dict.fromkeys(source.command for source in [*sources, report.provenance]))
    parts = ["## How to repeat this", escape.code_block(commands, language="sh")]
    if report.recipe is not None:
        parts += ["The recipe:", escape.code_block(report.recipe.rstrip("\n"), language="toml")]
    parts.append(versions(next(iter(compared or sources), report.provenance)))
    return "\n\n".join(parts)
