"""What an export lost: the text of `export.md`, and of the README.md with which the folder is run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from distill_eval.report import escape, numbers
from distill_eval.report.sections import how_to_repeat, plain_table, settings_table, short_names
from distill_eval.schema.export import Agreement, Continuation, ExportRun

Number = TypeVar("Number", int, float)
TEXT, README = "export.md", "README.md"
WAYS = {"whole": "all tokens at once", "padded": "in a padded batch", "cached": "token by token, from the KV cache"}
PLACES = {"cpu": "on a CPU", "cuda": "on CUDA"}
ALGORITHMS = {
    "rtn": "rounded to nearest",
    "k-quant": "rounded by k-quant",
    "k-quant-last": "rounded by k-quant, the head in 8 bit",
    "k-quant-mixed": "rounded by k-quant, the head and the most sensitive layers in 8 bit",
    "dynamic": "rounded to nearest, activations as they come",
    "w8a8": "rounded to nearest, a scale per output channel; activations as they come, a scale per token",
}
FIGURES = {"top1_agreement": "same top 1", "num_ties": "ties", "mean_kl": "mean KL (nats)"}
_NEEDS_VNNI = (
    "VNNI, on an x86 CPU (avx512_vnni or avx_vnni among its flags): without it sums of int8 products saturate, and the "
    "figures above do not hold"
)
LEVELS = {0: "float32 (level 0)", 1: "float32 (level 1)", 4: "int8 (level 4)"}

_CAUSAL = """import onnxruntime_genai as og

model = og.Model(".")
tokenizer = og.Tokenizer(model)
params = og.GeneratorParams(model)
params.set_search_options(max_length=64, do_sample=False)
generator = og.Generator(model, params)
generator.append_tokens(tokenizer.encode("The capital of France is"))
while not generator.is_done():
    generator.generate_next_token()
print(tokenizer.decode(generator.get_sequence(0)))"""
_CLASSIFIER = """import onnxruntime
from transformers import AutoConfig, AutoTokenizer

session = onnxruntime.InferenceSession("model.onnx")
batch = AutoTokenizer.from_pretrained(".")(["A text.", "And another, longer one."], padding=True, return_tensors="np")
inputs = {value.name: batch[value.name] for value in session.get_inputs()}
labels = session.run(["logits"], inputs)[0].argmax(-1)
print([AutoConfig.from_pretrained(".").id2label[int(label)] for label in labels])"""
_LOGITS = """import onnxruntime
from transformers import AutoTokenizer

session = onnxruntime.InferenceSession("model.onnx")
batch = AutoTokenizer.from_pretrained(".")(["A text.", "And another, longer one."], padding=True, return_tensors="np")
inputs = {value.name: batch[value.name] for value in session.get_inputs()}
print(session.run(["logits"], inputs)[0])"""


def files(run: ExportRun) -> dict[str, str]:
    """What stands beside `export.json`, by name."""
    return {TEXT: render(run), README: readme(run)}


def readme(run: ExportRun) -> str:
    """How to run the folder without this package."""
    causal = run.kind == "causal"
    needed = "onnxruntime-genai" if causal else "onnxruntime transformers"
    classifier = _LOGITS if run.parity.whole.top1_agreement is None else _CLASSIFIER
    sections = [
        f"# {escape.name(_model(run))} in ONNX, {run.precision}",
        f"In this folder, after `pip install {needed}`:",
        escape.code_block(_CAUSAL if causal else classifier, language="python"),
        f"How far it is from the original, and how it was made: [{TEXT}]({TEXT}).",
    ]
    return "\n\n".join(sections) + "\n"


def render(run: ExportRun) -> str:
    """The text, ending in a newline; the same record gives the same bytes."""
    sections = [
        f"# {escape.name(_model(run))} in ONNX, {run.precision}",
        f"> {_sentence(run)}",
        _sizes(run),
        _parity(run),
        *_greedy(run),
        _how(run),
        how_to_repeat([run.provenance]),
    ]
    return "\n\n".join(sections) + "\n"


def _model(run: ExportRun) -> str:
    ref = str(run.model)
    return short_names([ref])[ref]


def _sentence(run: ExportRun) -> str:
    after, before = run.graph.size_bytes, run.original_size_bytes
    size = f"{numbers.size(after)}, {_share(after, before)} of the original"
    found = run.parity.whole
    positions = "tokens" if run.kind == "causal" else "texts"
    compared = f"{numbers.count(found.num_positions)} {positions}"
    if found.top1_agreement is None or found.mean_kl is None:
        return f"{size}. Its outputs differ by up to {_small(found.max_relative_diff)} of the largest, on {compared}."
    agreed = f"{numbers.percent(found.top1_agreement)} of {compared}"
    return f"{size}. The most likely answer is the original's at {agreed}; mean KL {_small(found.mean_kl)} nats."


def _sizes(run: ExportRun) -> str:
    graph = run.graph
    embedding = "its embedding and head" if run.kind == "causal" else "its embedding"
    rows = [
        ("on disk", run.original_size_bytes, graph.size_bytes),
        (f"of it, {embedding}", run.original_embedding_bytes, graph.embedding_bytes),
    ]
    table = {
        "": [name for name, _, _ in rows],
        "original": [numbers.size(before) for _, before, _ in rows],
        "exported": [numbers.size(after) for _, _, after in rows],
        "exported / original": [_share(after, before) for _, before, after in rows],
    }
    return plain_table(table, numeric=frozenset(table) - {""})


def _parity(run: ExportRun) -> str:
    parity = run.parity
    ways: dict[str, Agreement | None] = {"whole": parity.whole, "padded": parity.padded, "cached": parity.cached}
    found = {WAYS[name]: agreement for name, agreement in ways.items() if agreement is not None}
    table = {
        "logits": list(found),
        "positions": [numbers.count(one.num_positions) for one in found.values()],
        "tokens per text": [f"{one.shortest} to {one.longest}" for one in found.values()],
        "largest difference": [_small(one.max_abs_diff) for one in found.values()],
        "mean": [_small(one.mean_abs_diff) for one in found.values()],
        "largest / largest logit": [_small(one.max_relative_diff) for one in found.values()],
        FIGURES["top1_agreement"]: [_or_undefined(one.top1_agreement, numbers.percent) for one in found.values()],
        FIGURES["num_ties"]: [_or_undefined(one.num_ties, numbers.count) for one in found.values()],
        FIGURES["mean_kl"]: [_or_undefined(one.mean_kl, _small) for one in found.values()],
    }
    names = WAYS | FIGURES
    notes = [f"- {names.get(name, name)}: {escape.text(why)}" for name, why in parity.reasons.items()]
    told = (
        f"Logits of the folder, run by ONNX Runtime, against the original's in float32, on "
        f"{numbers.plural(parity.whole.num_texts, 'text')}. KL is KL(original || exported)."
    )
    parts = ["## Parity", told, plain_table(table, numeric=frozenset(table) - {"logits"})]
    return "\n\n".join([*parts, *(["Not measured:\n\n" + "\n".join(notes)] if notes else [])])


def _greedy(run: ExportRun) -> list[str]:
    shown = [_continuation(number, one) for number, one in enumerate(run.parity.greedy, start=1)]
    return ["\n\n".join(["## The most likely continuation", *shown])] if shown else []


def _continuation(number: int, one: Continuation) -> str:
    behind = f"Behind {numbers.plural(one.num_prompt_tokens, 'token')} of text {number}"
    if one.first_difference is None:
        said = f"{behind} both write the same {numbers.plural(one.num_tokens, 'token')}:"
        return f"{said}\n\n{escape.code_block(one.original)}"
    said = f"{behind} token {one.first_difference + 1} of {one.num_tokens} is the first that differs. The original:"
    return "\n\n".join([said, escape.code_block(one.original), "The exported model:", escape.code_block(one.exported)])


def _how(run: ExportRun) -> str:
    text = run.parity.text
    weights = [f"{count} in {bits} bit" for bits, count in run.graph.num_weights_by_bits.items()]
    facts = {
        "model": str(run.model),
        "its commit": run.model_commit or "a folder",
        "architecture": f"{run.architecture}, {numbers.count(run.num_parameters)} parameters, {run.dtype}",
        "written by": f"{run.exporter}, in {numbers.fixed(run.seconds, 1)} s",
        "to run": PLACES[run.execution_provider],
        "matrices": ", ".join(weights),
    }
    if run.algorithm is not None:
        facts["weights"] = ALGORITHMS[run.algorithm]
    if run.block_size is not None:
        facts["weights that share a scale"] = str(run.block_size)
    if run.accuracy_level is not None:
        facts["products computed in"] = LEVELS[run.accuracy_level]
    if run.algorithm == "w8a8":
        facts["needs"] = _NEEDS_VNNI
    facts |= {
        "text": f"{text.source}{f', {text.subset}' if text.subset else ''}, split {text.split}",
        "its column": text.text_column,
        "seed of the choice": str(text.seed),
        "SHA-256 of the tokens": text.digest[:12],
    }
    return "## How it was made\n\n" + settings_table(facts)


def _share(part: int, whole: int) -> str:
    return numbers.percent(part / whole) if whole else numbers.UNDEFINED


def _or_undefined(value: Number | None, shown: Callable[[Number], str]) -> str:
    return numbers.UNDEFINED if value is None else shown(value)


def _small(value: float) -> str:
    return f"{value:.3g}"
