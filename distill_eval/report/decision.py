"""The verdict of a report in plain sentences: what to ship and why, or why nothing and what would settle it (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from distill_eval.report import numbers
from distill_eval.report.bench_rows import SLOWER, speedup
from distill_eval.report.frontier import choose, passing, speed_at, status, worth
from distill_eval.schema.gate import RuleResult
from distill_eval.schema.report import Speed, Variant
from distill_eval.schema.retention import Entry, Estimate

MAX_NAMED = 3
"""Variants and tasks that a sentence names; the tables have them all."""
NOTHING_COMPARED = "There is no verdict: nothing was compared with the teacher."
Entries = Mapping[str, Sequence[Entry]]
"""By a student's short name, what its verdict rests on."""


def unasked(name: str, entries: Entries) -> list[str]:
    """Tasks that others were judged on and this student was not: what it keeps of them nobody knows."""
    own = {entry.task for entry in entries.get(name, ())}
    every = dict.fromkeys(entry.task for found in entries.values() for entry in found)
    return [task for task in every if task not in own]


def headline(ship: str | None, rows: Sequence[Variant], gate: Sequence[RuleResult]) -> str:
    """The first sentence."""
    if ship is not None:
        return f"Ship {ship}."
    judged = [row for row in rows if row.role == "student" and row.verdict is not None]
    if not judged:
        return NOTHING_COMPARED
    unsure = any(status(row, gate) != "FAIL" for row in judged)
    if len(judged) == 1:
        return f"Not enough evidence to ship {judged[0].name}." if unsure else f"Do not ship {judged[0].name}."
    return "Ship none of these yet." if unsure else "Ship none of these."


def verdict(rows: Sequence[Variant], entries: Entries, load: str | None, gate: Sequence[RuleResult]) -> str:
    """All sentences."""
    best = choose(rows, load, gate)
    first = headline(best.name if best else None, rows, gate)
    if first == NOTHING_COMPARED:
        return f"{first} Type e.g. distill-eval compare --teacher {rows[0].ref} --student A,B"
    if best is not None:
        told = [f"It {_worth(best, rows[0], load)}.", *_others(best, rows, entries, gate)]
    else:
        told = _why_none(rows, entries, load, gate)
    return " ".join([first, *told, *_slow(rows, load)])


def _worth(row: Variant, teacher: Variant, load: str | None) -> str:
    """What a variant keeps, and at what size and speed."""
    at = []
    if row.size_ratio is not None:
        at.append(f"{numbers.fixed(row.size_ratio, 2)}x the size")
    speed = speed_at(row, load)
    if speed is not None and speed.speedup is not None:
        at.append(f"{speedup(speed.speedup)} the throughput at {load}")
    missing = "" if speed is not None and speed.speedup is not None else _unknown_speed(speed, speed_at(teacher, load))
    return f"keeps {_kept(row, teacher)}" + (f", at {' and '.join(at)}" if at else "") + missing


def _unknown_speed(speed: Speed | None, teachers: Speed | None) -> str:
    """What is known where a speedup is not."""
    if speed is None or speed.latency_p50_ms is None:
        return "; its speed was not measured"
    beside = ""
    if teachers is not None and teachers.latency_p50_ms is not None:
        beside = f" (the teacher {numbers.fixed(teachers.latency_p50_ms, 1)} ms)"
    return f"; one text takes it {numbers.fixed(speed.latency_p50_ms, 1)} ms{beside}, in the median"


def _kept(row: Variant, teacher: Variant) -> str:
    if row.retention.value is None:
        return f"an undefined share of {teacher.name}"
    worst = row.worst_retention
    named = f" (worst: {row.worst_task} {_share(worst)})" if row.worst_task and worst != row.retention else ""
    return f"{_share(row.retention)} of {teacher.name}{named}"


def _share(found: Estimate) -> str:
    if found.value is None:
        return numbers.UNDEFINED
    if found.ci_low is None and found.ci_high is None:
        return numbers.percent(found.value)
    return f"{numbers.percent(found.value)} {numbers.RATIO.interval(found.ci_low, found.ci_high)}"


def _others(best: Variant, rows: Sequence[Variant], entries: Entries, gate: Sequence[RuleResult]) -> list[str]:
    """What is with the variants that are not chosen."""
    passed = passing(rows, gate)
    rest = [row for row in rows if row.role == "student" and row.verdict is not None and row not in passed]
    also = [row.name for row in passed if row is not best]
    told = [f"{_listed(also)} {'passes' if len(also) == 1 else 'pass'} too."] if also else []
    told += [_failing(row, entries, gate) for row in rest[:MAX_NAMED]]
    if len(rest) > MAX_NAMED:
        told.append(f"{_more([row.name for row in rest[MAX_NAMED:]])} not pass either.")
    return told


def _more(names: Sequence[str]) -> str:
    return f"{numbers.plural(len(names), 'other')} {'does' if len(names) == 1 else 'do'}"


def _failing(row: Variant, entries: Entries, gate: Sequence[RuleResult]) -> str:
    """Why one variant does not pass, and what would settle it."""
    rules = [result.text for result in gate if result.student == row.name and result.verdict != "PASS"]
    found = [entry for entry in entries.get(row.name, ()) if entry.verdict == row.verdict]
    if row.verdict == "PASS":
        said = f"{row.name} passes on every task"
    elif row.verdict == "FAIL":
        said = f"{row.name} fails on {_listed([_failed(entry) for entry in found])}"
    elif found:
        said = f"{row.name} is INCONCLUSIVE on {_listed([entry.task for entry in found])}: {settles(found)}"
    else:
        said = f"{row.name} passes on {_listed([entry.task for entry in entries.get(row.name, ())])}"
    left = unasked(row.name, entries) if row.verdict != "FAIL" else []
    said += f"{'; it' if found else ' but'} was not judged on {_listed(left)}, as others were" if left else ""
    return f"{said}; the gate: {_listed(rules)}." if rules else f"{said}."


def _failed(entry: Entry) -> str:
    return f"{entry.task} ({_share(entry.retention)})" if entry.retention.value is not None else entry.task


def settles(entries: Sequence[Entry]) -> str:
    """How many documents would tell, if the estimates stay where they are."""
    needs, never, unknown = list[str](), list[str](), list[str]()
    for entry in entries:
        needed = entry.power.num_docs_to_settle
        if needed is None:
            unknown.append(entry.task)
        elif needed > entry.num_docs_total:
            never.append(entry.task)
        else:
            more = min(numbers.rounded_up(needed), entry.num_docs_total) - entry.num_pairs
            needs.append(f"{max(more, 1):,} more documents of {entry.task}")
    parts = []
    if needs:
        parts.append(f"about {_listed(needs)} would settle {'it' if len(entries) == 1 else 'that'}")
    if never:
        parts.append(f"{_listed(never)} {'has' if len(never) == 1 else 'have'} too few documents to settle it")
    if unknown:
        parts.append(f"what would settle {_listed(unknown)} is not known")
    return "; ".join(parts)


def _why_none(rows: Sequence[Variant], entries: Entries, load: str | None, gate: Sequence[RuleResult]) -> list[str]:
    """The variant that comes nearest, and how the others fare."""
    judged = [row for row in rows if row.role == "student" and row.verdict is not None]

    def nearness(row: Variant) -> tuple[int, int, tuple[float, float, float]]:
        verdicts = [entry.verdict for entry in entries.get(row.name, ())]
        verdicts += ["INCONCLUSIVE"] * len(unasked(row.name, entries))
        verdicts += [result.verdict for result in gate if result.student == row.name]
        return -verdicts.count("FAIL"), -verdicts.count("INCONCLUSIVE"), worth(row, load)

    nearest, *others = sorted(judged, key=nearness, reverse=True)
    subject = "It" if not others else f"The nearest is {nearest.name}: it"
    told = [f"{subject} {_worth(nearest, rows[0], load)}.", _failing(nearest, entries, gate)]
    for found, says in (("INCONCLUSIVE", "inconclusive too"), ("FAIL", "failing")):
        names = [row.name for row in others if status(row, gate) == found]
        if names:
            told.append(f"{_listed(names)} {'is' if len(names) == 1 else 'are'} {says}.")
    return told


def _slow(rows: Sequence[Variant], load: str | None) -> list[str]:
    """What is slower than the teacher."""
    found = []
    for row in rows:
        speed = speed_at(row, load)
        if speed is not None and speed.speedup is not None and speed.speedup.is_slower:
            found.append(f"{row.name} ({speedup(speed.speedup)})")
    return (
        [f"{_listed(found)} {'is' if len(found) == 1 else 'are'} {SLOWER} than the teacher at {load}."] if found else []
    )


def _listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b, c and 2 others`."""
    shown = list(names[:MAX_NAMED])
    if len(names) > MAX_NAMED:
        shown.append(numbers.plural(len(names) - MAX_NAMED, "other"))
    return " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else "".join(shown)
