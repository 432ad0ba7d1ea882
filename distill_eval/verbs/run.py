"""The verbs `run` and `distill --chain`: run a recipe, and print what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from distill_eval.errors import require
from distill_eval.verbs.gate import gate

if TYPE_CHECKING:
    from distill_eval.distill.config import DistillConfig
    from distill_eval.pipeline.run_config import RunConfig
    from distill_eval.pipeline.stages import Tools
    from distill_eval.recipe import Recipe
    from distill_eval.schema.retention import Retention


def run_recipe(config: RunConfig, argv: Sequence[str]) -> int:
    """Run a recipe, or print its plan; where it has a gate, the exit code is the verdict."""
    from distill_eval.pipeline.comparison import judge_comparison
    from distill_eval.pipeline.run import preview, run
    from distill_eval.recipe import Overrides, load

    recipe = load(config.recipe, Overrides(config.teacher, config.data, config.output_dir))
    if config.dry_run:
        print("\n".join(preview(recipe, tools=_tools(argv))))
        return 0
    run(recipe, source=config.recipe, tools=_tools(argv))
    retention = _show(recipe)
    if retention is None or recipe.compare is None:
        return 0
    return gate(judge_comparison(recipe.compare, retention), decides=recipe.compare.gate)


def run_chain(config: DistillConfig, argv: Sequence[str]) -> int:
    """Train a student by way of assistants."""
    from distill_eval.pipeline.chain import chain_recipe
    from distill_eval.pipeline.run import run
    from distill_eval.pipeline.state import MANIFEST

    begun = (config.output_dir / MANIFEST).exists()
    require(
        config.resume or not begun,
        f"--output-dir {config.output_dir} holds a run ({MANIFEST}): add --resume, or name another folder",
    )
    recipe = chain_recipe(config)
    run(recipe, source="distill --chain", tools=_tools(argv))
    _show(recipe)
    return 0


def _tools(argv: Sequence[str]) -> Tools:
    from distill_eval.pipeline.stages import Tools
    from distill_eval.progress import ConsoleProgress
    from distill_eval.store import Store

    return Tools(store=Store(), say=lambda line: print(line, flush=True), progress=ConsoleProgress, argv=argv)


def _show(recipe: Recipe) -> Retention | None:
    """Print where the results are; the comparison, if there is one."""
    if recipe.distill is not None:
        print(f"Student: {recipe.links[-1].student}")
        if recipe.baseline:
            print(f"Baseline, trained without a teacher: {recipe.links[-1].baseline}")
            print(f"Curves of both: {recipe.output_dir / 'training.md'}")
    elif recipe.prepare is not None:
        print(f"Student before training: {recipe.links[-1].prepared}")
    if recipe.compare is None:
        return None
    from rich.console import Console

    from distill_eval.record import from_json
    from distill_eval.report.terminal import print_table
    from distill_eval.schema.retention import Retention

    facts = recipe.compare.output_dir / "retention.json"
    retention = from_json(Retention, facts.read_bytes(), source=str(facts))
    print_table(retention, Console())
    print(f"Report: {recipe.compare.output_dir / 'report.md'}")
    return retention
