"""How a model was quantized and what that did to it: the text of `quant.md`."""

from __future__ import annotations

from distill_eval.report import escape, numbers
from distill_eval.report.sections import folded, how_to_repeat, plain_table, settings_table, short_names
from distill_eval.schema.quant import KeptBest, QuantRun

TEXT = "quant.md"
UNITS_SHOWN = 20


def files(quant: QuantRun) -> dict[str, str]:
    """What stands beside `quant.json`, by name."""
    return {TEXT: render(quant)}


def render(quant: QuantRun) -> str:
    """The page, which depends on nothing but the record."""
    sections = [
        f"# {escape.text(_name(quant))} as {quant.scheme}",
        _sentence(quant),
        *([_warnings(quant)] if quant.warnings else []),
        _sizes(quant),
        _check(quant),
        *([_kept_best(quant.kept_best, quant)] if quant.kept_best is not None else []),
        _layers(quant),
        _how(quant),
        how_to_repeat([quant.provenance]),
    ]
    return "\n\n".join(sections) + "\n"


def _name(quant: QuantRun) -> str:
    return short_names([str(quant.model)])[str(quant.model)]


def _sentence(quant: QuantRun) -> str:
    check = quant.check
    return (
        f"{numbers.size(quant.size_bytes)} instead of {numbers.size(quant.size_bytes_original)} "
        f"({numbers.percent(quant.size_bytes / quant.size_bytes_original)}). On held-out text its next-token "
        f"distributions are {numbers.fixed(check.mean_kl, 4)} nats per token from the original's, and "
        f"{numbers.percent(check.top1_agreement)} of its most likely tokens are the same."
    )


def _warnings(quant: QuantRun) -> str:
    return "\n\n".join(f"**Warning:** {escape.text(warning)}." for warning in quant.warnings)


def _sizes(quant: QuantRun) -> str:
    left = quant.num_parameters - quant.num_parameters_quantized
    rows = {
        "weights on disk": numbers.size(quant.size_bytes),
        "of which embeddings": numbers.size(quant.embedding_bytes),
        "before": numbers.size(quant.size_bytes_original),
        "bits per weight": numbers.fixed(quant.bits_per_weight, 2),
        "parameters": numbers.count(quant.num_parameters),
        "quantized": numbers.count(quant.num_parameters_quantized),
        "in high precision": numbers.count(left),
        "seconds to quantize and write": numbers.fixed(quant.seconds, 1),
        "memory for it": numbers.size(quant.peak_bytes),
    }
    return "## Size\n\n" + plain_table({"": list(rows), "value": list(rows.values())}, numeric=frozenset({"value"}))


def _check(quant: QuantRun) -> str:
    check = quant.check
    stderr = "" if check.stderr_kl is None else f" (standard error {numbers.fixed(check.stderr_kl, 4)})"
    rows = {
        "mean KL(original, quantized), nats per token": f"{numbers.fixed(check.mean_kl, 4)}{stderr}",
        "bound": f"{check.max_kl:g}",
        "top-1 agreement": numbers.percent(check.top1_agreement),
        "perplexity of the original": numbers.fixed(check.perplexity_original, 2),
        "perplexity": numbers.fixed(check.perplexity, 2),
        "held-out tokens": f"{numbers.count(check.num_tokens)} in {numbers.plural(check.num_held_out, 'sample')}",
    }
    table = plain_table({"": list(rows), "value": list(rows.values())}, numeric=frozenset({"value"}))
    text = "The folder was loaded again from disk. The first held-out sample, continued by the quantized model:"
    return f"## Check\n\n{table}\n\n{text}\n\n{escape.code_block(check.generated)}"


def _kept_best(kept: KeptBest, quant: QuantRun) -> str:
    rows = {
        "": ["all units quantized", f"the {kept.num_kept} most harmful left in high precision"],
        "weights on disk": [numbers.size(kept.size_bytes_without), numbers.size(quant.size_bytes)],
        "mean KL": [numbers.fixed(kept.mean_kl_without, 4), numbers.fixed(quant.check.mean_kl, 4)],
    }
    shown = kept.harms[:UNITS_SHOWN]
    table = {
        "unit": [escape.text(" + ".join(harm.unit)) for harm in shown],
        "mean KL when it alone is quantized": [numbers.fixed(harm.mean_kl, 5) for harm in shown],
        "left": ["yes" if place < kept.num_kept else "" for place in range(len(shown))],
    }
    numeric = frozenset(table) | frozenset(rows) - {"", "unit", "left"}
    harms = folded(plain_table(table, numeric=numeric - {"unit", "left"}), len(shown))
    note = "Layers that an engine runs as one are one unit. Harm is measured on calibration text"
    rest = len(kept.harms) - len(shown)
    more = f"; {numbers.plural(rest, 'unit')} of less harm are in quant.json" if rest else ""
    return f"## Units left in high precision\n\n{plain_table(rows, numeric=numeric)}\n\n{note}{more}.\n\n{harms}"


def _layers(quant: QuantRun) -> str:
    errors = quant.layer_errors
    table = {
        "layer": [escape.text(error.layer) for error in errors],
        "parameters": [numbers.count(error.num_parameters) for error in errors],
        "relative error of its output": [
            numbers.optional(error.relative_error, lambda value: numbers.fixed(value, 4)) for error in errors
        ],
    }
    shown = folded(plain_table(table, numeric=frozenset(table) - {"layer"}), len(errors))
    left = ", ".join(escape.text(name) for name in quant.ignored_layers) or "none"
    note = "Norm of the output's change over that of the output, with the inputs that the original gives the layer"
    return f"## Layers, the largest error first\n\n{note}. Left in high precision: {left}.\n\n{shown}"


def _how(quant: QuantRun) -> str:
    text = quant.check.text
    facts = {
        "model": str(quant.model),
        "its commit": quant.model_commit or "a folder",
        "SHA-256 of config and weights": quant.model_digest[:12],
        "architecture": quant.architecture,
        "scheme": quant.scheme,
        "algorithm": quant.algorithm or "the library's own",
        "library": quant.library,
        "scales": "one per output channel" if quant.group_size is None else f"one per {quant.group_size} weights",
        "symmetric": "yes" if quant.symmetric else "no",
        "input and output embeddings": "one tensor" if quant.tied_embeddings else "two tensors",
        "text": f"{text.source}{f', {text.subset}' if text.subset else ''}, split {text.split}",
        "its column": text.text_column,
        "samples": f"{numbers.count(text.num_samples)} of {numbers.count(text.max_length)} tokens, the last "
        f"{numbers.count(quant.check.num_held_out)} held out",
        "seed": str(quant.seed),
        "SHA-256 of the tokens": text.digest[:12],
    }
    if quant.scheme in ("int8", "nf4"):
        facts["scales"] = "bitsandbytes' own" + (", quantized too" if quant.double_quant else "")
    if quant.iterations is not None:
        facts["iterations per block"] = str(quant.iterations)
    return "## How it was made\n\n" + settings_table(facts)
