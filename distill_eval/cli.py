"""The command line: one function per verb, which parses, calls the stage and prints where its artifact is.

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
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import subcommand

from distill_eval import arguments
from distill_eval.cache_verb import CacheConfig, list_entries, prune_entries
from distill_eval.device import is_main_process
from distill_eval.errors import DistillEvalError, UsageError, require
from distill_eval.record import record

if TYPE_CHECKING:
    from distill_eval.compare_config import CompareConfig
    from distill_eval.distill.answer.config import AnswerConfig
    from distill_eval.distill.cache_config import CacheTeacherConfig
    from distill_eval.distill.config import DistillConfig
    from distill_eval.pipeline import CurvesConfig
    from distill_eval.pipeline.run_config import RunConfig
    from distill_eval.schema.retention import Retention
    from distill_eval.student.config import PrepareConfig
    from distill_eval.sweep.config import SweepConfig

GOES_ON = "; what was finished is kept, the same command goes on from there"
RESUMES = {
    "CompareConfig": GOES_ON,
    "CacheTeacherConfig": GOES_ON,
    "AnswerConfig": GOES_ON,
    "RunConfig": GOES_ON,
    "DistillConfig": "; the same command with --resume goes on from the last checkpoint",
    "SweepConfig": "; the same command with --resume goes on from the running trial's last checkpoint",
}
GATE_EXIT = {"PASS": 0, "FAIL": 3, "INCONCLUSIVE": 4}
INTERRUPTED = 130


def _compare(config: CompareConfig, argv: Sequence[str]) -> int:
    from rich.console import Console

    from distill_eval import pipeline
    from distill_eval.progress import ConsoleProgress
    from distill_eval.report.terminal import print_table
    from distill_eval.store import Store

    with ConsoleProgress() as progress:
        done = pipeline.compare(config, store=Store(), progress=progress, argv=argv)
    print_table(done.retention, Console())
    print(f"Report: {done.report}")
    return _gate(done.retention) if config.gate else 0


def _gate(retention: Retention) -> int:
    """0 when every student passes, 3 when one fails, else 4."""
    found = {verdict.verdict for verdict in retention.verdicts}
    return next(GATE_EXIT[verdict] for verdict in ("FAIL", "INCONCLUSIVE", "PASS") if verdict in found)


def _prepare(config: PrepareConfig, argv: Sequence[str]) -> int:
    from distill_eval import pipeline

    made = pipeline.prepare(config, argv=argv, say=lambda line: print(line, flush=True))
    kept = f"{made.student_num_parameters:,} of {made.teacher_num_parameters:,} parameters"
    if made.loss is not None and made.calibration is not None:
        print(f"Loss on {made.calibration.source}: {made.loss.teacher:.3f} -> {made.loss.student:.3f} nats")
    print(f"Student: {config.output_dir} ({kept}); what was cut and why: {config.output_dir / 'student.md'}")
    return 0


def _run(config: RunConfig, argv: Sequence[str]) -> int:
    from distill_eval.run_verb import run_recipe

    gated = run_recipe(config, argv)
    return 0 if gated is None else _gate(gated)


def _distill(config: DistillConfig, argv: Sequence[str]) -> int:
    if config.chain:
        from distill_eval.run_verb import run_chain

        run_chain(config, argv)
        return 0
    from rich.console import Console

    from distill_eval import pipeline
    from distill_eval.report.classifier import print_finished

    done = pipeline.distill(config, argv=argv, say=lambda line: print(line, flush=True))
    if not is_main_process():
        return 0
    print_finished(done, Console())
    print(f"Student: {config.output_dir}; its curves: {config.output_dir / 'training.md'}")
    return 0


def _curves(config: CurvesConfig, argv: Sequence[str]) -> int:
    from distill_eval import pipeline

    del argv
    print(f"Curves: {pipeline.curves(config)}")
    return 0


def _sweep(config: SweepConfig, argv: Sequence[str]) -> int:
    from rich.console import Console

    from distill_eval.sweep.run import run
    from distill_eval.sweep.table import print_trials

    done = run(config, argv=argv, say=lambda line: print(line, flush=True))
    console = Console()
    print_trials(done, console if console.is_terminal else Console(width=100))
    print(f"Sweep: {config.distill.output_dir / 'sweep.json'}")
    return 0


def _cache_teacher(config: CacheTeacherConfig, argv: Sequence[str]) -> int:
    from distill_eval.distill.cache_stage import run

    del argv
    manifest = run(config, say=lambda line: print(line, flush=True))
    size = f"{manifest.size_bytes / 1e6:.1f} MB, {manifest.bytes_per_token or 0:.0f} bytes per token"
    print(f"Cached teacher: {config.output_dir} ({manifest.num_rows:,} tokens, {size})")
    return 0


def _answer(config: AnswerConfig, argv: Sequence[str]) -> int:
    from distill_eval.distill.answer.stage import DATA, run

    done = run(config, argv=argv, say=lambda line: print(line, flush=True))
    cut_off = "kept" if done.keeps_cut_off else "left out"
    print(
        f"{done.num_completed:,} completed, {done.num_cut_off:,} cut off at {config.max_new_tokens:,} tokens "
        f"({cut_off}), {done.num_empty:,} empty, {done.num_errored:,} errored"
    )
    if done.first_error is not None:
        print(f"The same command asks again for what errored. The first error: {done.first_error}")
    print(f"Answers: {config.output_dir / DATA} ({done.num_rows:,} rows)")
    return 0


VERBS = {
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
    "run": (
        "distill_eval.pipeline.run_config:RunConfig",
        "Run a recipe: from the teacher to the trained student and what it kept, each stage once.",
    ),
    "cache": ("distill_eval.cache_verb:CacheConfig", "List or prune the evaluation cache."),
}
"""Name to config, imported when it is asked for, and what `--help` says of it."""
RUN: dict[str, Callable[[Any, Sequence[str]], int]] = {
    "CompareConfig": _compare,
    "PrepareConfig": _prepare,
    "DistillConfig": _distill,
    "SweepConfig": _sweep,
    "CurvesConfig": _curves,
    "CacheTeacherConfig": _cache_teacher,
    "AnswerConfig": _answer,
    "RunConfig": _run,
    "CacheListConfig": list_entries,
    "CachePruneConfig": prune_entries,
}


@record
class _Unasked:
    """Stands for a verb that is not on the command line: reading the options of all would take half of the start."""


def _config(where: str) -> Any:
    module, _, name = where.partition(":")
    return getattr(importlib.import_module(module), name)


def _verbs(argv: Sequence[str]) -> Any:
    """All verbs, of which the one that is asked for has its options."""
    asked = next((word for word in argv if not word.startswith("-")), None)
    kinds = [
        Annotated[_config(where) if name == asked else _Unasked, subcommand(name, description=text)]
        for name, (where, text) in VERBS.items()
    ]
    return functools.reduce(operator.or_, kinds)


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
        return RUN[type(config).__name__](config, words)
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
    for library in ("lm_eval", "datasets", "transformers", "huggingface_hub"):
        logging.getLogger(library).setLevel(logging.ERROR)


if __name__ == "__main__":
    sys.exit(main())
