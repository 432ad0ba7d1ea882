"""How close candidates are to a reference: the text of `fidelity.md`, and the table in the terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from distill_eval.report import escape, numbers
from distill_eval.report.sections import how_to_repeat, plain_table, short_names
from distill_eval.schema.fidelity import Candidate, Continuations, Estimate, Fidelity, Spread, TokenMeasures

if TYPE_CHECKING:
    from rich.console import Console

TEXT = "fidelity.md"
SHOWN_TEXTS = 3
LONGEST_NAME = 24
"""Columns that a model's name is given in the terminal before it is folded."""
Rows = dict[str, Callable[[TokenMeasures], str]]


def with_error(found: Estimate, decimals: int, *, percent: bool = False) -> str:
    """A number and its standard error over chunks."""
    scale, sign = (100, " %") if percent else (1, "")
    error = "" if found.stderr is None else f" +/- {numbers.fixed(scale * found.stderr, decimals)}"
    return f"{numbers.fixed(scale * found.value, decimals)}{error}{sign}"


def _share(found: TokenMeasures) -> str:
    top1 = found.top1_agreement
    return f"{numbers.percent(top1.value)} {numbers.RATIO.interval(top1.ci_low, top1.ci_high)}"


SUMMARY: Rows = {
    "mean KL, nats": lambda found: with_error(found.kl.mean, 5),
    "p99 KL": lambda found: numbers.fixed(found.kl.p99, 4),
    "top-1 agreement": _share,
    "top-5 overlap": lambda found: numbers.percent(found.top5_overlap.value),
    "RMS delta p": lambda found: with_error(found.rms_delta_p, 2, percent=True),
    "PPL / reference": lambda found: with_error(found.perplexity_ratio, 4),
}
SPREADS: dict[str, Callable[[TokenMeasures], Spread]] = {
    "KL(reference to candidate)": lambda found: found.kl,
    "KL(candidate to reference)": lambda found: found.reverse_kl,
    "JSD": lambda found: found.jsd,
}


def names(run: Fidelity) -> dict[str, str]:
    """A short name for each model."""
    return short_names([run.reference.ref, *(one.model.ref for one in run.candidates)])


# ---- the page


def render(run: Fidelity) -> str:
    """The text, ending in a newline; the same record gives the same bytes."""
    short = names(run)
    reference = escape.name(short[run.reference.ref])
    alike = [one for one in run.candidates if one.tokens is not None]
    sections = [
        f"# Fidelity to {reference}",
        measured_on(run),
        summary(run, short),
        *([_spreads(alike, short)] if alike else []),
        *(_llama_cpp(run, one, short) for one in alike),
        *(_texts(one, short) for one in run.candidates if one.continuations is not None),
        _kept(run),
        how_to_repeat([run.provenance]),
    ]
    return "\n\n".join(sections) + "\n"


def measured_on(run: Fidelity) -> str:
    """The text, and what the reference makes of it."""
    text = run.text
    where = escape.text(" ".join(part for part in (text.source, text.subset, text.split) if part))
    positions = "the second half of each" if run.scored == "second-half" else "all positions of each"
    return (
        f"On {where}: {numbers.plural(text.num_samples, 'chunk')} of {text.max_length:,} tokens, {positions} scored, "
        f"{run.num_scored:,} positions and {run.num_bytes:,} bytes. The reference has a perplexity of "
        f"{with_error(run.reference_perplexity, 3)} and {with_error(run.reference_bits_per_byte, 4)} bits per byte. "
        "Errors are standard errors over chunks, intervals are at 95 %."
    )


def summary(run: Fidelity, short: dict[str, str]) -> str:
    """A row for each candidate; `short` has the names of the models."""
    rows = [_summary_row(one, short, escape.name) for one in run.candidates]
    table = {heading: [row[place] for row in rows] for place, heading in enumerate(_headings())}
    notes = [
        f"- {escape.name(short[one.model.ref])} has no token measures: {escape.text(one.tokens_reason)}."
        for one in run.candidates
        if one.tokens_reason is not None
    ]
    shown = plain_table(table, numeric=frozenset(_headings()[1:]))
    return "\n\n".join([shown, *(["\n".join(notes)] if notes else [])])


def _headings() -> list[str]:
    return ["candidate", "size", *SUMMARY, "bits per byte"]


def _summary_row(one: Candidate, short: dict[str, str], show: Callable[[str], str]) -> list[str]:
    measures = [numbers.UNDEFINED if one.tokens is None else write(one.tokens) for write in SUMMARY.values()]
    return [
        show(short[one.model.ref]),
        numbers.size(one.model.size_bytes),
        *measures,
        with_error(one.bits_per_byte, 4),
    ]


def _spreads(alike: Sequence[Candidate], short: dict[str, str]) -> str:
    rows = [
        [escape.name(short[one.model.ref]), name, with_error(found.mean, 5)]
        + [numbers.fixed(value, 5) for value in (found.median, found.p90, found.p99, found.maximum)]
        for one in alike
        if one.tokens is not None
        for name, found in ((name, take(one.tokens)) for name, take in SPREADS.items())
    ]
    headings = ["candidate", "nats per position", "mean", "median", "p90", "p99", "maximum"]
    table = {heading: [row[place] for row in rows] for place, heading in enumerate(headings)}
    return "## Divergences\n\n" + plain_table(table, numeric=frozenset(headings[2:]))


def _llama_cpp(run: Fidelity, one: Candidate, short: dict[str, str]) -> str:
    assert one.tokens is not None
    head = f"## {escape.name(short[one.model.ref])} in the lines of llama.cpp"
    said = (
        "As `llama-perplexity --kl-divergence` prints them; errors as if positions were independent, as it has them. "
        "Its figures are of its own chunks of another engine and text: lay them beside these with care."
    )
    return f"{head}\n\n{said}\n\n{escape.code_block(llama_cpp_lines(run, one.tokens))}"


def llama_cpp_lines(run: Fidelity, found: TokenMeasures) -> str:
    """The lines that llama.cpp's perplexity tool prints for these figures."""
    top1 = found.top1_agreement
    as_share = Estimate(value=top1.value, stderr=top1.stderr, stderr_iid=top1.stderr_iid)
    return "\n".join(
        [
            f"Mean PPL(Q)                   : {_iid(found.perplexity, 6)}",
            f"Mean PPL(base)                : {_iid(run.reference_perplexity, 6)}",
            f"Mean ln(PPL(Q)/PPL(base))     : {_iid(found.log_perplexity_ratio, 6)}",
            f"Mean PPL(Q)/PPL(base)         : {_iid(found.perplexity_ratio, 6)}",
            f"Mean    KLD: {_iid(found.kl.mean, 6)}",
            f"Maximum KLD: {found.kl.maximum:10.6f}",
            f"99.0%   KLD: {found.kl.p99:10.6f}",
            f"90.0%   KLD: {found.kl.p90:10.6f}",
            f"Median  KLD: {found.kl.median:10.6f}",
            f"Mean    dp: {_iid(found.mean_delta_p, 3, 100)} %",
            f"RMS dp    : {_iid(found.rms_delta_p, 3, 100)} %",
            f"Same top p: {_iid(as_share, 3, 100)} %",
        ]
    )


def _iid(found: Estimate, decimals: int, scale: float = 1.0) -> str:
    error = "" if found.stderr_iid is None else f" +/- {scale * found.stderr_iid:10.{decimals}f}"
    return f"{scale * found.value + 0.0:10.{decimals}f}{error}"


def _texts(one: Candidate, short: dict[str, str]) -> str:
    assert one.continuations is not None
    found = one.continuations
    shown = [
        f"Behind chunk {text.chunk + 1} ({_where(text.first_difference)}):\n\n"
        + escape.code_block(f"reference: {text.reference}\ncandidate: {text.candidate}")
        for text in found.texts[:SHOWN_TEXTS]
    ]
    return "\n\n".join([f"## Texts of {escape.name(short[one.model.ref])}", _agreement(found), *shown])


def _agreement(found: Continuations) -> str:
    median = numbers.optional(found.median_first_difference, lambda value: f"{value:g}")
    return (
        f"Greedy texts of {found.num_tokens} tokens behind {numbers.plural(len(found.texts), 'piece')} of the text: "
        f"{numbers.percent(found.agreement)} do not differ; the others have a median of {median} characters in common."
    )


def _where(place: int | None) -> str:
    return "no difference" if place is None else f"{numbers.plural(place, 'character')} in common"


def _kept(run: Fidelity) -> str:
    kept = run.kept
    return (
        f"## What is kept of the reference\n\nThe {kept.top_k} most likely tokens and {kept.num_draws} draws from the "
        f"others at each position: {numbers.size(kept.size_bytes)}, {kept.bytes_per_token:,.0f} bytes per position, "
        f"1/{kept.full_bytes_per_token / kept.bytes_per_token:.0f} of the full logits. Divergences are estimated from "
        "it; KL(candidate to reference) reads low where the candidate is far."
    )


# ---- the terminal


def print_fidelity(run: Fidelity, console: Console) -> None:
    """The summary as a table, one row per candidate."""
    from rich.table import Table
    from rich.text import Text

    short = names(run)
    title = f"Fidelity to {short[run.reference.ref]}, {run.num_scored:,} positions"
    table = Table(title=Text(title), title_justify="left")
    longest = min(LONGEST_NAME, max(len(short[one.model.ref]) for one in run.candidates))
    for place, heading in enumerate(_headings()):
        table.add_column(
            heading, justify="right" if place else "left", overflow="fold", min_width=0 if place else longest
        )
    for one in run.candidates:
        table.add_row(*map(Text, _summary_row(one, short, escape.clean)))
    console.print(table)
    for one in run.candidates:
        if one.tokens_reason is not None:
            line = f"{short[one.model.ref]}: {one.tokens_reason}"
            if one.continuations is not None:
                line += f". {_agreement(one.continuations)}"
            console.print(escape.clean(line), highlight=False, markup=False, soft_wrap=True)
