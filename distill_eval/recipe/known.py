"""What a recipe says once, what the run knows, and which options take the place of each other."""

from __future__ import annotations

STAGES = ("plan", "prepare", "cache_teacher", "distill", "quantize", "export", "compare", "fidelity", "bench", "report")
VARIANTS = ("quantize", "export")
"""Stages of which a recipe has several, each under a name of its own."""
_ON_TOP = "say it once, at the top of the recipe"
_ITSELF = "leave it out: the run knows it"
_AFTERWARDS = "leave it out: when the run is done, type `distill-eval report RUN --card`"
_BY_NAME = "leave it out: `name` says it"
_STARTED = "a recipe measures models that it starts itself; `distill-eval bench` takes servers that run already"
KNOWN: dict[str, dict[str, str]] = {
    "plan": {"teacher": _ON_TOP, "output_dir": _ITSELF, "write_recipe": "leave it out: this is a recipe"},
    "prepare": {"teacher": _ON_TOP, "output_dir": _ITSELF},
    "cache_teacher": {
        "teacher": _ON_TOP,
        "student": _ITSELF,
        "data": "say it once, in the table [data]",
        "temperature": "say it once, in the table [distill.loss]",
        "seed": "say it once, in the table [distill.training]",
        "output_dir": _ITSELF,
    },
    "distill": {
        "student": _ON_TOP,
        "teacher": _ON_TOP,
        "teacher_weights": "a recipe has one teacher; `distill-eval distill` takes several",
        "cached_teacher": "the table [cache_teacher] makes one; `distill-eval distill` takes one that is there",
        "data": "say it once, in the table [data]",
        "baseline": _ON_TOP,
        "chain": _ON_TOP,
        "output_dir": _ITSELF,
        "resume": "leave it out: a run goes on where it was",
    },
    "quantize": {"model": _ITSELF, "output_dir": _BY_NAME},
    "export": {"model": _ITSELF, "output_dir": _BY_NAME},
    "compare": {
        "teacher": _ON_TOP,
        "student": _ITSELF,
        "baseline": _ON_TOP,
        "ci": "say it in the table [report.ci], which is of the whole run",
        "output_dir": _ITSELF,
    },
    "fidelity": {"reference": _ON_TOP, "candidate": _ITSELF, "output_dir": _ITSELF},
    "bench": {
        "endpoint": _STARTED,
        "api_key_variable": _STARTED,
        "tokenizer": _STARTED,
        "from_timings": "leave it out: a run measures; `distill-eval bench --from` computes again",
        "output_dir": _ITSELF,
    },
    "report": {"runs": _ITSELF, "output_dir": _ITSELF, "publish": _AFTERWARDS},
}
"""Options of the stages that a recipe says once or the pipeline knows, and what to do instead."""
SIZES = ("keep_layers", "drop_layers", "num_layers", "ffn_size", "hidden_size", "num_heads", "target_params", "ratio")
"""Options of `prepare` that a chain's sizes take the place of."""

CALIBRATION = {
    "calibration": "data",
    "calibration_subset": "data_config",
    "calibration_split": "data_split",
    "calibration_length": "max_length",
    "text_column": "text_column",
}
"""Options of `prepare` and `quantize` that are those of [data] where they name no calibration text."""
PARITY_TEXT = {
    "text": "data",
    "text_subset": "data_config",
    "text_split": "data_split",
    "text_column": "text_column",
}
"""Options of `export`, likewise."""
HELD_OUT = {"text": "validation_data", "text_split": "validation_split", "text_column": "text_column"}
"""Options of `fidelity`, likewise, where [data] names a text to validate on."""
