"""The command line: from its words to a config, and to the function of `distill_eval.verbs` that serves it.

Nothing heavy is imported here or by what this imports; `distill-eval --help` answers at once.
"""

from __future__ import annotations

import functools
import importlib
import logging
import operator
import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

from tyro.conf import FlagCreatePairsOff, arg, subcommand

from distill_eval import arguments
from distill_eval.device import is_main_process
from distill_eval.errors import DistillEvalError, UsageError, require
from distill_eval.record import record
from distill_eval.verbs.cache import CacheConfig

GOES_ON = "; what was finished is kept, the same command goes on from there"
RESUMES = {
    "CompareConfig": GOES_ON,
    "CacheTeacherConfig": GOES_ON,
    "AnswerConfig": GOES_ON,
    "FidelityConfig": GOES_ON,
    "RunConfig": GOES_ON,
    "DistillConfig": "; the same command with --resume goes on from the last checkpoint",
    "SweepConfig": "; the same command with --resume goes on from the running trial's last checkpoint",
}
INTERRUPTED = 130

VERBS = {
    "plan": (
        "distill_eval.plan.config:PlanConfig",
        "What a student of a given size will keep, cost and need, before anything is run.",
    ),
    "compare": (
        "distill_eval.compare_config:CompareConfig",
        "What a student kept of its teacher, task by task, and whether the loss is real.",
    ),
    "prepare": (
        "distill_eval.student.config:PrepareConfig",
        "Make a student from a teacher: fewer layers, narrower ones, or a new model of the same kind.",
    ),
    "distill": ("distill_eval.distill.config:DistillConfig", "Train a student on what its teacher knows."),
    "sweep": (
        "distill_eval.sweep.config:SweepConfig",
        "Train one student with several settings (temperature, alpha, learning rate, loss) and rank them.",
    ),
    "curves": (
        "distill_eval.pipeline:CurvesConfig",
        "Write the report of a training again, with other runs such as its baseline beside it.",
    ),
    "cache-teacher": (
        "distill_eval.distill.cache_config:CacheTeacherConfig",
        "Keep what a teacher says about a data set, so that students train without it.",
    ),
    "answer": (
        "distill_eval.distill.answer.config:AnswerConfig",
        "Have a teacher answer prompts, as a data set to train students on.",
    ),
    "export": (
        "distill_eval.export.config:ExportConfig",
        "Write a model as an ONNX graph, and prove on text that it is the same model.",
    ),
    "quantize": (
        "distill_eval.quantize.config:QuantizeConfig",
        "Make an INT8 or INT4 variant of a model, load it again, and measure what that did to it.",
    ),
    "run": (
        "distill_eval.pipeline.run_config:RunConfig",
        "Run a recipe: from the teacher to students, their variants and one report, each stage once.",
    ),
    "init": (
        "distill_eval.pipeline.starter:InitConfig",
        "Write a recipe with every stage and comments, to be changed and run.",
    ),
    "report": (
        "distill_eval.report_config:ReportConfig",
        "Join what runs left of one teacher and its variants: one table, one verdict, what to ship.",
    ),
    "fidelity": (
        "distill_eval.fidelity.config:FidelityConfig",
        "How close models' distributions over the next token are to a reference's.",
    ),
    "peek": (
        "distill_eval.fidelity.config:PeekConfig",
        "The next token's most likely candidates under each model and temperature.",
    ),
    "bench": (
        "distill_eval.bench.config:BenchConfig",
        "How fast models answer under load, each on the engine that serves it, measured in turn.",
    ),
    "diff": (
        "distill_eval.pipeline.diff:DiffConfig",
        "What changed from one run to the next, document by document, and whether anything became worse.",
    ),
    "serve": (
        "distill_eval.serving.options:ServeOptions",
        "Serve a model with vLLM's OpenAI-compatible interface, with settings that fit the model and this machine.",
    ),
    "cache": ("distill_eval.verbs.cache:CacheConfig", "List or prune the evaluation cache."),
}
"""Name to config, imported when it is asked for, and what `--help` says of it."""
RUN = {
    "PlanConfig": "plan:plan",
    "CompareConfig": "compare:compare",
    "PrepareConfig": "training:prepare",
    "DistillConfig": "training:distill",
    "SweepConfig": "training:sweep",
    "CurvesConfig": "training:curves",
    "CacheTeacherConfig": "training:cache_teacher",
    "AnswerConfig": "training:answer",
    "ExportConfig": "variants:export",
    "QuantizeConfig": "variants:quantize",
    "RunConfig": "run:run_recipe",
    "InitConfig": "run:init",
    "ReportConfig": "report:report",
    "FidelityConfig": "fidelity:fidelity",
    "PeekConfig": "fidelity:peek",
    "BenchConfig": "bench:bench",
    "DiffConfig": "diff:diff",
    "ServeOptions": "serving:serve",
    "CacheListConfig": "cache:list_entries",
    "CachePruneConfig": "cache:prune_entries",
}
"""What a config is for: a function of `distill_eval.verbs`, which returns the exit code."""


@record
class _Unasked:
    """Stands for a verb that is not on the command line: reading the options of all would take half of the start."""


def _named(where: str) -> Any:
    module, _, name = where.partition(":")
    return getattr(importlib.import_module(module), name)


def _switches(name: str, kind: Any) -> Any:
    """With one form of each switch; those of `serve` also have --no-..., since a profile may have turned them on."""
    return kind if name == "serve" else Annotated[kind, FlagCreatePairsOff]


def _verbs(argv: Sequence[str]) -> Any:
    """All verbs, of which the one that is asked for has its options."""
    asked = next((word for word in argv if not word.startswith("-")), None)
    kinds = [
        Annotated[_switches(name, _named(where)) if name == asked else _Unasked, subcommand(name, description=text)]
        for name, (where, text) in VERBS.items()
    ]
    # With a help text given, tyro does not look for one in its own source, which would be a third of the start.
    return Annotated[functools.reduce(operator.or_, kinds), arg(help="Each has its own --help.")]


def parse(argv: Sequence[str]) -> Any:
    """The config that a command line stands for.

    Raises:
        SystemExit: 0 after `--help`, 2 when the command line is wrong.
        UsageError: a value is not acceptable.
    """
    config = arguments.read(_verbs(argv), argv)
    return config.verb if isinstance(config, CacheConfig) else config


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code (see `distill_eval.errors` and `--gate`)."""
    words = list(sys.argv[1:] if argv is None else argv)
    _quiet_libraries()
    config = None
    try:
        config = parse(words)
        _check_processes(config)
        run: Callable[[Any, Sequence[str]], int] = _named(f"distill_eval.verbs.{RUN[type(config).__name__]}")
        return run(config, words)
    except DistillEvalError as error:
        if is_main_process() or not isinstance(error, UsageError):  # what is wrong with the command, all processes find
            print(f"distill-eval: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"distill-eval: interrupted{RESUMES.get(type(config).__name__, '')}", file=sys.stderr)
        return INTERRUPTED


def _check_processes(config: Any) -> None:
    """Refuse several processes where they would do the same work side by side; a recipe refuses them itself."""
    shares = type(config).__name__ in ("DistillConfig", "RunConfig")
    require(
        shares or int(os.environ.get("WORLD_SIZE", "1")) == 1,
        "several processes share the work of `distill` alone: leave accelerate launch or torchrun out",
    )


def _quiet_libraries() -> None:
    """Our own progress is the only one, besides the Hub's downloads; libraries speak up for errors alone."""
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    for library in ("lm_eval", "datasets", "transformers", "huggingface_hub", "bitsandbytes", "httpx"):
        logging.getLogger(library).setLevel(logging.ERROR)


if __name__ == "__main__":
    sys.exit(main())
