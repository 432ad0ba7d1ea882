"""The page and the tables of `fidelity` and `peek`."""

import io
from dataclasses import replace
from typing import Any

from rich.console import Console
from unit.report.read import assert_nothing_foreign_is_markup

from distill_eval.report import fidelity, peek
from distill_eval.schema.calibration import Calibration
from distill_eval.schema.fidelity import (
    Candidate,
    Continuation,
    Continuations,
    Estimate,
    Fidelity,
    KeptReference,
    ModelSaid,
    Peek,
    PeekedToken,
    Share,
    Softened,
    Spread,
    TokenMeasures,
)
from distill_eval.schema.retention import Provenance

HOSTILE = "runs/<b>x</b>|*y*`z`[l](http://e.x)\x1b[31m"


def estimate(value: float) -> Estimate:
    return Estimate(value=value, stderr=value / 10, stderr_iid=value / 20)


def spread(value: float) -> Spread:
    return Spread(mean=estimate(value), median=value / 2, p90=2 * value, p99=4 * value, maximum=8 * value)


TOKENS = TokenMeasures(
    kl=spread(0.05),
    reverse_kl=spread(0.06),
    jsd=spread(0.012),
    top1_agreement=Share(value=0.9, stderr=0.01, stderr_iid=0.005, ci_low=0.88, ci_high=0.92),
    top5_overlap=estimate(0.85),
    rms_delta_p=estimate(0.04),
    mean_delta_p=estimate(-0.002),
    perplexity=estimate(21.0),
    log_perplexity_ratio=estimate(0.04879),
    perplexity_ratio=estimate(1.05),
)


def said(ref: str) -> ModelSaid:
    return ModelSaid(ref=ref, engine="hf", dtype="auto", size_bytes=113_200_000, digest="d", vocab_size=49_152)


def candidate(ref: str, **changes: Any) -> Candidate:
    whole = Candidate(
        model=said(ref), tokens=TOKENS, tokens_reason=None, bits_per_byte=estimate(1.2), continuations=None
    )
    return replace(whole, **changes)


def made(*candidates: Candidate) -> Fidelity:
    return Fidelity(
        reference=said("org/teacher"),
        reference_perplexity=estimate(20.0),
        reference_bits_per_byte=estimate(1.1),
        text=Calibration(
            source="Salesforce/wikitext",
            subset="wikitext-2-raw-v1",
            split="test",
            text_column="text",
            seed=None,
            num_samples=4,
            max_length=512,
            num_tokens=2048,
            digest="d",
        ),
        scored="second-half",
        num_scored=1020,
        num_bytes=4170,
        kept=KeptReference(
            top_k=64,
            num_draws=256,
            size_bytes=1_020_000,
            bytes_per_token=1000.0,
            full_bytes_per_token=98_304,
            reused=True,
        ),
        candidates=candidates,
        provenance=Provenance(
            command="distill-eval fidelity", versions={"torch": "2"}, hardware="cpu", git_commit=None
        ),
    )


OTHER = candidate(
    "org/other",
    tokens=None,
    tokens_reason="its tokenizer cuts the text into other tokens",
    continuations=Continuations(
        num_tokens=5,
        texts=(
            Continuation(chunk=0, reference=" a ``` b", candidate=" a ``` c", first_difference=7),
            Continuation(chunk=1, reference="x", candidate="x", first_difference=None),
        ),
        agreement=0.5,
        median_first_difference=7.0,
    ),
)


def printed(run: Fidelity) -> str:
    out = io.StringIO()
    fidelity.print_fidelity(run, Console(file=out, width=160))
    return out.getvalue()


def test_the_page_says_every_figure_with_its_error() -> None:
    page = fidelity.render(made(candidate("org/student-int4")))
    row = next(line for line in page.splitlines() if line.startswith("| `student-int4`"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells == [
        "`student-int4`",
        "113.2 MB",
        "0.05000 +/- 0.00500",
        "0.2000",
        "90.0 % [88.0, 92.0]",
        "85.0 %",
        "4.00 +/- 0.40 %",
        "1.0500 +/- 0.1050",
        "1.2000 +/- 0.1200",
    ]
    assert "4 chunks of 512 tokens, the second half of each scored, 1,020 positions and 4,170 bytes" in page
    assert "1.0 MB, 1,000 bytes per position, 1/98 of the full logits" in page


def test_the_lines_of_llama_cpp() -> None:
    lines = fidelity.llama_cpp_lines(made(candidate("a/b")), TOKENS).splitlines()
    assert lines[0] == "Mean PPL(Q)                   :  21.000000 +/-   1.050000"
    assert "Mean    KLD:   0.050000 +/-   0.002500" in lines
    assert "99.0%   KLD:   0.200000" in lines
    assert "Mean    dp:     -0.200 +/-     -0.010 %" in lines
    assert "Same top p:     90.000 +/-      0.500 %" in lines


def test_another_tokenizer_has_its_reason_and_its_texts() -> None:
    run = made(candidate("org/student"), OTHER)
    page = fidelity.render(run)
    row = next(line for line in page.splitlines() if line.startswith("| `other`"))
    assert [cell.strip() for cell in row.strip("|").split("|")][2:8] == ["-"] * 6
    assert "- `other` has no token measures: its tokenizer cuts the text into other tokens." in page
    assert "50.0 % do not differ; the others have a median of 7 characters in common" in page
    assert "````\nreference:  a ``` b\ncandidate:  a ``` c\n````" in page
    assert "50.0 % do not differ" in printed(run)


def test_hostile_names_stay_text() -> None:
    run = made(candidate(HOSTILE), replace(OTHER, model=said("b/" + HOSTILE), tokens_reason=HOSTILE))
    page = fidelity.render(run)
    assert_nothing_foreign_is_markup(page)
    assert "\x1b" not in page + printed(run)


def test_tokens_are_shown_with_what_cannot_be_seen() -> None:
    assert peek.visible(" the") == "| the|"
    assert peek.visible("\n\t\x1b[31m") == r"|\n\t\x1b[31m|"
    assert peek.visible("\u200b\u00a0") == r"|\u200b\xa0|"
    assert peek.visible("a\\n") == r"|a\\n|"
    assert peek.visible("[red]") == "|[red]|"


def test_a_peek_is_a_table_per_model() -> None:
    found = Peek(
        model="org/m",
        num_prompt_tokens=2,
        tokens=(PeekedToken(id=1, text=" [bold]Paris"), PeekedToken(id=2, text="\n")),
        softened=(
            Softened(temperature=1.0, probs=(0.75, 0.125), entropy=0.9),
            Softened(temperature=2.5, probs=(0.4, 0.2), entropy=1.75),
        ),
    )
    out = io.StringIO()
    peek.print_peeks((found, replace(found, model="org/n")), "is\n", Console(file=out, width=100))
    told = out.getvalue()
    assert told.startswith("What comes behind |is\\n|\n")
    cells = [[cell.strip() for cell in line.strip("\u2502").split("\u2502")] for line in told.splitlines()]
    assert ["| [bold]Paris|", "75.00 %", "40.00 %"] in cells
    assert ["|\\n|", "12.50 %", "20.00 %"] in cells
    assert ["all others", "12.50 %", "40.00 %"] in cells
    assert ["entropy, nats", "0.900", "1.750"] in cells
    assert "T = 2.5" in told
    assert told.count("entropy, nats") == 2
