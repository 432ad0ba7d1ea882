"""The verbs `run` and `init`, and `distill --chain`: run a recipe, and print what came of it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from distill_eval.errors import require
from distill_eval.verbs.gate import annotate, gate
from distill_eval.verbs.training import say

if TYPE_CHECKING:
    from distill_eval.compare_config import CompareConfig
    from distill_eval.distill.config import DistillConfig
    from distill_eval.pipeline.run_config import RunConfig
    from distill_eval.pipeline.stages import Tools
    from distill_eval.pipeline.starter import InitConfig
    from distill_eval.progress import RunProgress
    from distill_eval.recipe import Recipe
    from distill_eval.report_config import ReportConfig
    from distill_eval.schema.gate import RuleResult


def run_recipe(config: RunConfig, argv: Sequence[str]) -> int:
    """Run a recipe, or print its plan; where it has a gate, the exit code is the verdict."""
    from distill_eval.pipeline.preview import preview
    from distill_eval.pipeline.run import run
    from distill_eval.progress import RunProgress
    from distill_eval.recipe import Overrides, load

    recipe = load(config.recipe, Overrides(config.teacher, config.data, config.output_dir))
    view = RunProgress()
    if config.dry_run:
        print("\n".join(preview(recipe, tools=_tools(argv, view))))
        return 0
    with view:
        run(recipe, source=config.recipe, tools=_tools(argv, view))
    return _show(recipe)


def init(config: InitConfig, argv: Sequence[str]) -> int:
    """Write a recipe to begin with."""
    del argv
    from distill_eval.pipeline.starter import write_starter

    path = write_starter(config)
    print(f"Recipe: {path}. Look at it, then type: distill-eval run {shlex.quote(str(path))} --dry-run")
    return 0


def run_chain(config: DistillConfig, argv: Sequence[str]) -> int:
    """Train a student by way of assistants."""
    from distill_eval.pipeline.chain import chain_recipe
    from distill_eval.pipeline.run import run
    from distill_eval.pipeline.state import MANIFEST
    from distill_eval.progress import RunProgress

    begun = (config.output_dir / MANIFEST).exists()
    require(
        config.resume or not begun,
        f"--output-dir {config.output_dir} holds a run ({MANIFEST}): add --resume, or name another folder",
    )
    recipe = chain_recipe(config)
    with RunProgress() as view:
        run(recipe, source="distill --chain", tools=_tools(argv, view))
    _show(recipe)
    return 0


def _tools(argv: Sequence[str], view: RunProgress) -> Tools:
    from distill_eval.pipeline.stages import Tools
    from distill_eval.progress import ConsoleProgress
    from distill_eval.store import Store

    return Tools(
        store=Store(),
        say=say,
        progress=lambda: ConsoleProgress(view.console),
        argv=argv,
        stage=lambda place: view.stage(*place),
    )


def _show(recipe: Recipe) -> int:
    """Print where the results are, the report's verdict last; the exit code is that of the gates."""
    if recipe.distill is not None:
        print(f"Student: {recipe.links[-1].student}")
        if recipe.baseline:
            print(f"Baseline, trained without a teacher: {recipe.links[-1].baseline}")
            print(f"Curves of both: {recipe.output_dir / 'training.md'}")
    elif recipe.prepare is not None:
        print(f"Student before training: {recipe.links[-1].prepared}")
    for variant in recipe.variants:
        print(f"Variant: {variant}")
    compared = () if recipe.compare is None else _show_comparison(recipe.compare)
    for measured, text in ((recipe.fidelity, "fidelity.md"), (recipe.bench, "bench.md")):
        if measured is not None:
            print(f"{text.removesuffix('.md').capitalize()}: {measured.output_dir / text}")
    reported = () if recipe.report is None else _show_report(recipe.report)
    gates = ((recipe.compare, compared), (recipe.report, reported))
    deciding = [result for config, results in gates if config is not None and config.gate for result in results]
    gate([result for result in (*compared, *reported) if result not in deciding], decides=False)
    code = gate(list(dict.fromkeys(deciding)), decides=any(config.gate for config, _ in gates if config is not None))
    if recipe.report is not None and recipe.report.ci.annotations:
        annotate(reported)
    return code


def _show_comparison(config: CompareConfig) -> tuple[RuleResult, ...]:
    """Print the table; rules that were asked for, as they were judged."""
    from rich.console import Console

    from distill_eval.pipeline.comparison import judge_comparison
    from distill_eval.record import from_json
    from distill_eval.report.terminal import print_table
    from distill_eval.schema.retention import Retention

    facts = config.output_dir / "retention.json"
    retention = from_json(Retention, facts.read_bytes(), source=str(facts))
    print_table(retention, Console())
    print(f"Comparison: {config.output_dir / 'report.md'}")
    return judge_comparison(config, retention)


def _show_report(config: ReportConfig) -> tuple[RuleResult, ...]:
    """Print the verdict; rules that were asked for, as they were judged."""
    from rich.console import Console

    from distill_eval.pipeline.report import ARTIFACT
    from distill_eval.record import from_json
    from distill_eval.report.escape import clean
    from distill_eval.schema.report import Report

    folder = config.output_dir
    said = from_json(Report, (folder / ARTIFACT).read_bytes(), source=str(folder / ARTIFACT))
    Console().print(clean(said.verdict), markup=False, highlight=False)
    print(f"Report: {', '.join(str(path) for path in sorted(folder.glob('report.*')) if path.name != ARTIFACT)}")
    return said.gate
