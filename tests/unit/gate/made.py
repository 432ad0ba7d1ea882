"""Comparisons and benchmarks in the fewest words, for the rules to judge."""

from dataclasses import replace

from unit.compare.build import binary, cells, evaluated, run

from distill_eval.bench.ratios import ratio
from distill_eval.gate.facts import Facts, of_retention
from distill_eval.schema.gate import Rule
from distill_eval.schema.report import Speed


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
