"""Comparisons and benchmarks in the fewest words, for the rules to judge."""

from dataclasses import replace

from unit.compare.build import binary, cells, evaluated, run

from distill_eval.bench.ratios import ratio
from distill_eval.gate.facts import Facts, of_retention
from distill_eval.schema.diff import TaskChange
from distill_eval.schema.gate import Rule
from distill_eval.schema.report import Speed
from distill_eval.schema.retention import Estimate

NOTHING = Estimate(value=None, reason="not simulated")
LOSS = Estimate(value=-0.005, stderr=0.001, ci_low=-0.007, ci_high=-0.003)


def retention(harmful=10, both=600, size=2000, tasks=("arc",), **options):
    """A student that loses `harmful` of 1,000 documents on each task, and wins none."""
    teacher, student = cells(both=both, teacher_only=harmful, neither=1000 - both - harmful)
    return run(
        evaluated("big", {task: binary(teacher) for task in tasks}),
        evaluated("small", {task: binary(student) for task in tasks}, model={"size_bytes": size}),
        **options,
    )


def facts(**options):
    """The same as facts."""
    return of_retention(retention(**options), {"small": "small"})


def speed(*pairs, load="concurrency 4", reason=None):
    """A load with these ratios to the teacher, repeat by repeat."""
    nothing = dict.fromkeys(("ttft_p50_ms", "ttft_p99_ms", "tpot_p50_ms", "tpot_p99_ms", "output_throughput"))
    return Speed(load=load, speedup=ratio(pairs) if pairs else None, reason=reason, **nothing)


def with_speeds(*speeds):
    """A student that was only benchmarked."""
    return [Facts(student="small", speeds=speeds)]


def rule(name, bound, where=None):
    return Rule(name=name, bound=bound, where=where)


def with_entry(found, **changes):
    """The facts with the first entry changed."""
    one = found[0]
    first, *rest = one.compared
    return [one._replace(compared=(first._replace(entry=replace(first.entry, **changes)), *rest))]


def change(difference=LOSS, *, task="task", unit="share", higher_is_better=True):
    """A task of a diff that came out so."""
    return TaskChange(
        task=task,
        metric="acc",
        filter="none",
        unit=unit,
        higher_is_better=higher_is_better,
        num_tasks=1,
        num_docs_before=500,
        num_docs_after=500,
        num_pairs=500,
        before=NOTHING,
        after=NOTHING,
        difference=difference,
        retention_before=NOTHING,
        retention_after=NOTHING,
        test=None,
        p_value=None,
        p_adjusted=None,
        outcome=None,
        flips=None,
        reason=None,
    )
