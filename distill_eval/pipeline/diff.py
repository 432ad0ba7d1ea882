"""What changed from one run to the next: read both, pair their students, judge regressions, write the report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

from tyro.conf import Positional, arg

from distill_eval.errors import require
from distill_eval.gate.options import CiOptions, GateOptions
from distill_eval.record import record, to_json
from distill_eval.schema.gate import Rule

if TYPE_CHECKING:
    from distill_eval.schema.diff import Diff

MAX_REGRESSION = 0.01
"""One point of accuracy: what most benchmarks of a few thousand documents can just tell from nothing."""


@record
class DiffConfig:
    """What changed from one run to the next, on the documents that both students answered."""

    before: Annotated[Positional[Path], arg(metavar="RUN_A")]
    """Folder of the run before: a comparison, a recipe's run or a report."""
    after: Annotated[Positional[Path], arg(metavar="RUN_B")]
    """Folder of the run after."""
    student_a: str | None = None
    """The student before, and --student-b the one after, where their names differ."""
    student_b: str | None = None
    """The student after."""
    rules: GateOptions = GateOptions()
    gate: bool = False
    """Exit with 0 when nothing became worse than --max-regression allows (default: 0.01), 3 when something did, 4 when
    one of them cannot be told."""
    ci: CiOptions = CiOptions()
    output_dir: Path = Path("diff")
    """Where diff.json and diff.md go."""

    def __post_init__(self) -> None:
        self.rules.check("diff")
        require(
            (self.student_a is None) == (self.student_b is None),
            "--student-a and --student-b go together: say which student before is held against which after",
        )

    @property
    def judged(self) -> tuple[Rule, ...]:
        """The rules in force, the default filled in; none where none was asked for."""
        rules = self.rules.rules
        if not (rules or self.gate or self.ci != CiOptions()):
            return ()
        if any(rule.where is None for rule in rules):
            return rules
        return (Rule(name="max-regression", bound=MAX_REGRESSION), *rules)


class Done(NamedTuple):
    """A finished diff."""

    diff: Diff
    report: Path


def diff(config: DiffConfig, *, argv: Sequence[str]) -> Done:
    """Hold the run after against the run before, and write `diff.json` and `diff.md`.

    Raises:
        DistillEvalError: see `distill_eval.pipeline.sides` and `distill_eval.compare.alike`.
    """
    from distill_eval.pipeline import told
    from distill_eval.pipeline.changes import held_against
    from distill_eval.pipeline.sides import matched, read_run, require_same_teacher
    from distill_eval.provenance import collect
    from distill_eval.report import diff as report
    from distill_eval.store import check_folder, remove, write_atomic

    told.check(config.ci)
    folder = config.output_dir.expanduser()
    provenance = collect(argv, "no device")
    before, after = (read_run(path.expanduser(), provenance) for path in (config.before, config.after))
    require_same_teacher(before, after)
    pairs = matched(before, after, (config.student_a, config.student_b))
    check_folder(folder)
    found = held_against(
        before, after, pairs, config.judged, chosen=config.student_a is not None, provenance=provenance
    )
    path, text = folder / report.TEXT, report.render(found)
    remove([path, *told.older(folder)])
    write_atomic(folder / report.ARTIFACT, to_json(found))
    write_atomic(path, text)
    told.tell(config.ci, folder, found.gate, report.short(found))
    return Done(found, path)
