"""Simulates comparisons whose truth is known and counts how often the intervals hold it.

    python benchmarks/coverage.py [--draws 20000] [--seed 0] [--only WORD] [--few-changes 50] [--alternatives | --gap]

Prints a markdown table. Per setting: how often the 95 % intervals hold the true difference, the true retention and the
true retention above chance; and how often a student is passed that is exactly as good as the criterion forbids (its
true retention is the smallest one required, or its true loss is the margin). With `--gap`, of a student, its teacher
and its baseline: how often the interval of the recovered gap holds the truth. The estimators are those of
`distill_eval.compare`, fed with documents, never a copy of them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from zlib import crc32

import numpy as np

from distill_eval.compare import evidence
from distill_eval.compare.evidence import Sampled, binary_evidence, bits_evidence, group_evidence, real_evidence
from distill_eval.compare.gap import Gap, resampled_gap, sampled_gap
from distill_eval.compare.resampled import STATISTICS, Resampled, resample
from distill_eval.compare.units import moments, t_quantile

LEVEL = 0.95
CHUNK = 250
"""Comparisons simulated at a time, to bound memory."""

MMLU = (
    "100 135 152 100 265 144 100 100 100 173 102 100 235 114 145 378 126 100 310 203 100 165 198 193 390 270 238 151 "
    "545 216 204 237 223 131 121 108 163 112 103 234 100 783 346 895 306 311 324 282 1534 272 612 110 245 201 100 166 "
    "171"
)
"""Questions of the 57 subjects of MMLU's test split, 14,042 in all."""


@dataclass(frozen=True)
class Setting:
    """A world in which teacher and student are known."""

    name: str
    draw: Callable[[np.random.Generator, int], Sampled | list[Resampled]]
    """Evidence of so many comparisons, oriented so that more is better."""
    student: float
    """True score; where lower is better, the teacher's (the roles are exchanged)."""
    teacher: float
    chance: float | None = None
    max_draws: int | None = None


def binary(num_docs: int, teacher: float, discordance: float, gap: float, chance: float | None = 0.25) -> Setting:
    """0/1 scores of independent documents."""
    cells = [teacher - (discordance - gap) / 2, (discordance + gap) / 2, (discordance - gap) / 2]
    edges = np.cumsum(cells)

    def draw(rng: np.random.Generator, draws: int) -> Sampled:
        uniform = rng.random((draws, num_docs))
        student = uniform < edges[1]
        teacher_right = (uniform < edges[0]) | ((uniform >= edges[1]) & (uniform < edges[2]))
        return binary_evidence(student.astype(float), teacher_right.astype(float))

    name = f"0/1, {num_docs} documents, teacher {teacher:.0%}, discordance {discordance:.0%}, gap {100 * gap:g} points"
    return Setting(name, draw, teacher + gap, teacher, chance)


def group(label: str, sizes: list[int], spread: float, *, by_size: bool = True, gap: float = -0.03) -> Setting:
    """A group of 0/1 tasks whose true gaps vary with standard deviation `spread`, and whose difficulty varies too."""
    teacher, discordance = 0.6, 0.2
    counts = np.array(sizes, dtype=float)
    weight = counts / counts.sum() if by_size else np.full(len(sizes), 1 / len(sizes))

    def draw(rng: np.random.Generator, draws: int) -> Sampled:
        tasks = []
        for size in sizes:
            of_task = gap + spread * np.clip(rng.standard_normal((draws, 1)), -2.5, 2.5)
            right = teacher + 0.08 * np.clip(rng.standard_normal((draws, 1)), -2.0, 2.0)
            both = right - (discordance - of_task) / 2
            uniform = rng.random((draws, size))
            student = uniform < both + (discordance + of_task) / 2
            only_teacher = ~student & (uniform < both + discordance)
            tasks.append(binary_evidence(student.astype(float), ((uniform < both) | only_teacher).astype(float)))
        return group_evidence(tasks, weight)

    mean = "documents" if by_size else "tasks"
    name = f"group, {label}, mean over {mean}, gaps of tasks vary by {100 * spread:g} points"
    return Setting(name, draw, teacher + gap, teacher, 0.25)


def bits(num_docs: int, length: str, sigma: float, trend: float = 0.0) -> Setting:
    """Bits per byte of documents with heavy-tailed lengths; the loss varies by document and by token.

    With a `trend` the loss also grows with the logarithm of the (lognormal) length, so that the longest documents, of
    which a sample holds few, decide.
    """
    teacher, gap = 0.9, 0.03

    def draw(rng: np.random.Generator, draws: int) -> Sampled:
        shape = (draws, num_docs)
        if length == "lognormal":
            num_bytes = np.exp(7 + sigma * rng.standard_normal(shape))
        else:
            num_bytes = 1000 * (1 + rng.pareto(sigma, shape))
        num_bytes = np.ceil(np.minimum(num_bytes, 1e6))
        of_doc = teacher + 0.15 * rng.standard_normal(shape) + 3.0 * rng.standard_normal(shape) / np.sqrt(num_bytes)
        loss = gap + 0.04 * rng.standard_normal(shape) + 2.0 * rng.standard_normal(shape) / np.sqrt(num_bytes)
        nats = -np.log(2) * num_bytes
        loss += trend * (np.log(num_bytes) - 7)
        return bits_evidence(nats * (of_doc + loss), nats * of_doc, num_bytes).inverse()

    name = f"bits/byte, {num_docs} documents, {length} lengths ({sigma:g})" + (
        ", loss grows with length" if trend else ""
    )
    return Setting(name, draw, teacher, teacher + gap + trend * sigma**2)


def mostly_equal(num_docs: int) -> Setting:
    """Real-valued scores such as a text's F1: often 0 or 1, and mostly the same with both models."""
    right, partly = 0.5, 0.3
    teacher = right + partly / 3
    changed, kept = 0.25, 0.7

    def draw(rng: np.random.Generator, draws: int) -> Sampled:
        shape = (draws, num_docs)
        kind = rng.random(shape)
        scores = np.where(kind < right, 1.0, np.where(kind < right + partly, rng.beta(1, 2, shape), 0.0))
        change = rng.random(shape) < changed
        return real_evidence(np.where(change, scores * rng.beta(7, 3, shape), scores), scores)

    return Setting(f"F1-like, {num_docs} documents", draw, teacher * (1 - changed * (1 - kept)), teacher)


def continuous(num_docs: int) -> Setting:
    """Real-valued scores that differ on every document, skewed."""

    def draw(rng: np.random.Generator, draws: int) -> Sampled:
        scores = rng.beta(4, 2, (draws, num_docs))
        return real_evidence(scores * rng.beta(16, 4, scores.shape), scores)

    return Setting(f"continuous, {num_docs} documents", draw, 2 / 3 * 0.8, 2 / 3)


def corpus(name: str, num_docs: int, positives: float, num_resamples: int = 9999) -> Setting:
    """Matthews' correlation or F1 of a two-class task; the truth is computed from the cells' probabilities."""
    teacher_right, student_right, share_kept = 0.85, 0.8, 0.9
    both = share_kept * student_right
    written = [[json.dumps([gold, answer]) for answer in (0, 1)] for gold in (0, 1)]
    cells = np.array([both, student_right - both, teacher_right - both, 1 - teacher_right - student_right + both])

    def confusion(right: float) -> np.ndarray:
        wrong = 1 - right
        return np.array([[(1 - positives) * right, (1 - positives) * wrong], [positives * wrong, positives * right]])

    def draw(rng: np.random.Generator, draws: int) -> list[Resampled]:
        found = []
        for _ in range(draws):
            gold = (rng.random(num_docs) < positives).astype(int)
            cell = rng.choice(4, num_docs, p=cells)
            student, teacher = np.where(cell < 2, gold, 1 - gold), np.where(cell % 2 == 0, gold, 1 - gold)
            items = [(written[g][t], written[g][s]) for g, t, s in np.stack([gold, teacher, student], axis=1).tolist()]
            one = resample(items, name, level=LEVEL, rng=rng, num_resamples=num_resamples)
            assert isinstance(one, Resampled)
            found.append(one)
        return found

    student, teacher = (float(STATISTICS[name](confusion(right))) for right in (student_right, teacher_right))
    return Setting(f"{name}, {num_docs} documents, {positives:.0%} positive", draw, student, teacher, max_draws=8000)


def settings() -> Iterator[Setting]:
    """Everything that docs/design/statistics.md reports."""
    for num_docs, teacher, discordance, gap, chance in (
        (200, 0.3, 0.20, -0.04, None),
        (200, 0.6, 0.05, -0.03, 0.25),
        (200, 0.6, 0.20, -0.05, 0.25),
        (200, 0.9, 0.10, -0.05, 0.25),
        (200, 0.9, 0.05, 0.0, 0.25),
        (500, 0.3, 0.10, 0.0, None),
        (500, 0.6, 0.30, -0.03, 0.25),
        (500, 0.9, 0.05, -0.03, 0.25),
        (1000, 0.5, 0.30, -0.02, 0.25),
        (2000, 0.3, 0.05, -0.01, None),
        (2000, 0.6, 0.20, -0.02, 0.25),
        (2000, 0.9, 0.10, -0.02, 0.25),
    ):
        yield binary(num_docs, teacher, discordance, gap, chance)
    sizes = [int(size) for size in MMLU.split()]
    for spread in (0.0, 0.02, 0.05):
        yield group("57 tasks of MMLU's sizes", sizes, spread)
    yield group("57 tasks of 20", [20] * 57, 0.02)
    yield group("57 tasks of 100", [100] * 57, 0.02)
    yield group("57 tasks of MMLU's sizes", sizes, 0.05, by_size=False)
    yield group("14 tasks of 100", [100] * 14, 0.02)
    yield group("7 tasks of 100 to 700", [100, 200, 300, 400, 500, 600, 700], 0.02)
    for num_docs in (62, 200, 1000):
        yield bits(num_docs, "lognormal", 1.0)
        yield bits(num_docs, "lognormal", 1.5)
        yield bits(num_docs, "Pareto", 1.3)
    for num_docs in (62, 200, 1000):
        yield bits(num_docs, "lognormal", 1.0, trend=0.01)
        yield bits(num_docs, "lognormal", 1.5, trend=0.01)
    for num_docs in (40, 150, 200, 400, 1000):
        yield mostly_equal(num_docs)
    for num_docs in (30, 100, 200):
        yield continuous(num_docs)
    for name in ("mcc", "f1"):
        for num_docs, positives in ((277, 0.5), (1043, 0.7)):
            yield corpus(name, num_docs, positives)


@dataclass(frozen=True)
class Rates:
    """What was counted, as shares of the draws."""

    difference: float
    retention: float
    above_chance: float | None
    passed_at_retention: float
    passed_at_margin: float


def simulate(setting: Setting, draws: int, seed: int) -> Rates:
    """Simulate one setting; the same seed gives the same rates."""
    rng = np.random.default_rng([seed, crc32(setting.name.encode())])
    rows = []
    for start in range(0, draws, CHUNK):
        drawn = setting.draw(rng, min(CHUNK, draws - start))
        rows += [_outcomes(setting, one) for one in (drawn if isinstance(drawn, list) else [drawn])]
    difference, retention, above, at_retention, at_margin = (
        float(column) for column in np.concatenate(rows, axis=1).mean(axis=1)
    )
    return Rates(difference, retention, above if setting.chance is not None else None, at_retention, at_margin)


def _outcomes(setting: Setting, one: Sampled | Resampled) -> np.ndarray:
    """Per comparison: three times whether the truth is held, twice whether the student passes."""
    gap, kept = setting.student - setting.teacher, setting.student / setting.teacher
    difference = one.linear(1.0, -1.0, LEVEL)
    retention = one.ratio(0.0, LEVEL)
    chance = setting.chance or 0.0
    above = one.ratio(chance, LEVEL)
    kept_above = (setting.student - chance) / (setting.teacher - chance)
    return np.stack(
        [
            (difference.low <= gap) & (gap <= difference.high),
            (retention.low <= kept) & (kept <= retention.high),
            (above.low <= kept_above) & (kept_above <= above.high),
            one.linear(1.0, -kept, LEVEL).low > 0,
            difference.low - gap > 0,
        ]
    )


@dataclass(frozen=True)
class GapSetting:
    """A world in which student, teacher and baseline are known."""

    name: str
    draw: Callable[[np.random.Generator, int], list[Gap]]
    """The evidence of so many comparisons in all."""
    recovered: float
    """The true share of the gap."""
    max_draws: int | None = None


def answering(rng: np.random.Generator, shape: tuple[int, int], shared: float) -> Callable[[np.ndarray], np.ndarray]:
    """Models that share the luck of a document with probability `shared`, given their chances of being right."""
    common, together = rng.random(shape), rng.random(shape) < shared
    return lambda right: (np.where(together, common, rng.random(shape)) < right).astype(float)


def gap_of(evidence_of: Callable[..., Sampled], student: np.ndarray, teacher: np.ndarray, baseline: np.ndarray) -> Gap:
    """The package's evidence on scores of three models where more is better."""
    return sampled_gap(evidence_of(student, baseline), evidence_of(teacher, baseline), higher_is_better=True)


def binary_gap(num_docs: int, baseline: float, teacher: float, recovered: float) -> GapSetting:
    """0/1 scores of independent documents."""
    right = [baseline + recovered * (teacher - baseline), teacher, baseline]

    def draw(rng: np.random.Generator, draws: int) -> list[Gap]:
        answers = answering(rng, (draws, num_docs), shared=0.7)
        return [gap_of(binary_evidence, *(answers(np.array(chance)) for chance in right))]

    name = f"0/1, {num_docs} documents, baseline {baseline:.0%}, teacher {teacher:.0%}, recovered {recovered:.0%}"
    return GapSetting(name, draw, recovered)


def group_gap(label: str, sizes: list[int], spread: float, recovered: float = 0.4, gap: float = 0.08) -> GapSetting:
    """A group of 0/1 tasks in which teacher and student vary about the baseline with standard deviation `spread`."""
    weight = np.array(sizes, dtype=float) / sum(sizes)

    def draw(rng: np.random.Generator, draws: int) -> list[Gap]:
        pairs = []
        for size in sizes:
            answers = answering(rng, (draws, size), shared=0.7)
            level, of_teacher, of_student = np.clip(rng.standard_normal((3, draws, 1)), -2.5, 2.5)
            without = 0.5 + 0.08 * level
            teacher = answers(without + gap + spread * of_teacher)
            student, baseline = answers(without + recovered * gap + spread * of_student), answers(without)
            pairs.append((binary_evidence(student, baseline), binary_evidence(teacher, baseline)))
        students, teachers = (group_evidence(list(side), weight) for side in zip(*pairs, strict=True))
        return [sampled_gap(students, teachers, higher_is_better=True)]

    return GapSetting(
        f"group, {label}, tasks vary by {100 * spread:g} points, recovered {recovered:.0%}", draw, recovered
    )


def bits_gap(num_docs: int, length: str, sigma: float, recovered: float = 0.4) -> GapSetting:
    """Bits per byte of documents with heavy-tailed lengths, all three models varying by document and by token."""
    bits_of = [0.93 - 0.03 * recovered, 0.90, 0.93]

    def draw(rng: np.random.Generator, draws: int) -> list[Gap]:
        shape = (draws, num_docs)
        drawn = np.exp(7 + sigma * rng.standard_normal(shape))
        if length == "Pareto":
            drawn = 1000 * (1 + rng.pareto(sigma, shape))
        num_bytes = np.ceil(np.minimum(drawn, 1e6))
        of_doc = 0.15 * rng.standard_normal(shape)
        nats = []
        for mean in bits_of:
            noise = 0.04 * rng.standard_normal(shape) + 2.0 * rng.standard_normal(shape) / np.sqrt(num_bytes)
            nats.append(-np.log(2) * num_bytes * (mean + of_doc + noise))
        student, teacher, baseline = nats
        sides = (bits_evidence(one, baseline, num_bytes) for one in (student, teacher))
        return [sampled_gap(*sides, higher_is_better=False)]

    return GapSetting(f"bits/byte, {num_docs} documents, {length} lengths ({sigma:g})", draw, recovered)


def real_gap(name: str, num_docs: int, changed: float) -> GapSetting:
    """Real-valued scores from 0 to 1, of which the share `changed` differs between the models, each by itself."""
    kept = {"student": 0.8, "teacher": 1.0, "baseline": 0.7}

    def draw(rng: np.random.Generator, draws: int) -> list[Gap]:
        shape = (draws, num_docs)
        scores = rng.beta(4, 2, shape)
        made = [
            np.where(
                rng.random(shape) < changed, scores * (rng.beta(20 * k, 20 * (1 - k), shape) if k < 1 else 1), scores
            )
            for k in kept.values()
        ]
        return [gap_of(real_evidence, *made)]

    return GapSetting(f"{name}, {num_docs} documents", draw, 1 / 3)


def corpus_gap(name: str, num_docs: int, num_resamples: int = 9999) -> GapSetting:
    """Matthews' correlation or F1 of a two-class task with as many positives as negatives."""
    right = {"student": 0.8, "teacher": 0.88, "baseline": 0.74}
    written = [[json.dumps([gold, answer]) for answer in (0, 1)] for gold in (0, 1)]
    truths = [
        float(STATISTICS[name](np.array([[chance, 1 - chance], [1 - chance, chance]]) / 2)) for chance in right.values()
    ]

    def draw(rng: np.random.Generator, draws: int) -> list[Gap]:
        found = []
        for _ in range(draws):
            gold = (rng.random(num_docs) < 0.5).astype(int)
            answers = answering(rng, (1, num_docs), shared=0.8)
            student, teacher, baseline = (
                np.where(answers(np.array(chance))[0] == 1, gold, 1 - gold) for chance in right.values()
            )
            rows = np.stack([gold, baseline, teacher, student], axis=1).tolist()
            items = [(written[g][b], written[g][t], written[g][s]) for g, b, t, s in rows]
            one = resampled_gap(items, name, higher_is_better=True, level=LEVEL, rng=rng, num_resamples=num_resamples)
            assert isinstance(one, Gap)
            found.append(one)
        return found

    recovered = (truths[0] - truths[2]) / (truths[1] - truths[2])
    return GapSetting(f"{name}, {num_docs} documents", draw, recovered, max_draws=4000)


def gap_settings() -> Iterator[GapSetting]:
    """Every setting of the recovered gap that docs/design/statistics.md reports."""
    for num_docs, baseline, teacher, recovered in (
        (200, 0.5, 0.7, 0.4),
        (200, 0.5, 0.6, 0.4),
        (200, 0.2, 0.3, 0.0),
        (500, 0.5, 0.6, 0.4),
        (500, 0.5, 0.6, 0.0),
        (500, 0.5, 0.6, -0.3),
        (500, 0.85, 0.9, 1.0),
        (500, 0.5, 0.52, 0.4),
        (2000, 0.5, 0.6, 0.4),
        (2000, 0.3, 0.35, 0.4),
    ):
        yield binary_gap(num_docs, baseline, teacher, recovered)
    sizes = [int(size) for size in MMLU.split()]
    yield group_gap("57 tasks of MMLU's sizes", sizes, 0.02)
    yield group_gap("57 tasks of MMLU's sizes", sizes, 0.05)
    yield group_gap("57 tasks of MMLU's sizes", sizes, 0.02, recovered=0.0)
    yield group_gap("14 tasks of 100", [100] * 14, 0.02)
    yield group_gap("7 tasks of 100 to 700", [100, 200, 300, 400, 500, 600, 700], 0.02)
    for num_docs in (62, 200, 1000):
        yield bits_gap(num_docs, "lognormal", 1.0)
        yield bits_gap(num_docs, "Pareto", 1.3)
    yield real_gap("continuous", 30, 1.0)
    yield real_gap("continuous", 100, 1.0)
    yield real_gap("F1-like", 60, 0.2)
    yield real_gap("F1-like", 200, 0.2)
    yield real_gap("F1-like", 1000, 0.2)
    yield corpus_gap("mcc", 277)
    yield corpus_gap("f1", 1043)


@dataclass(frozen=True)
class GapRates:
    """What was counted, as shares of the draws."""

    held: float
    """The interval holds the truth; one without bounds does."""
    undefined: float
    """The gap cannot be told from 0, so that no share of it is given."""
    held_where_given: float
    above_0: float
    """The share is given and its interval lies above 0."""


def simulate_gap(setting: GapSetting, draws: int, seed: int) -> GapRates:
    """Simulate one setting; the same seed gives the same rates."""
    rng = np.random.default_rng([seed, crc32(setting.name.encode())])
    rows = []
    for start in range(0, draws, CHUNK):
        for one in setting.draw(rng, min(CHUNK, draws - start)):
            found = one.recovered(LEVEL)
            given = np.isfinite(found.low) & np.isfinite(found.high)
            held = ~given | ((found.low <= setting.recovered) & (setting.recovered <= found.high))
            rows.append(np.stack([held, given, given & (found.low > 0)]))
    held, given, above = np.concatenate(rows, axis=1)
    return GapRates(held.mean(), 1.0 - given.mean(), float(held[given].mean()) if given.any() else 1.0, above.mean())


def print_gap(draws: int, seed: int, only: str) -> None:
    """How often the interval of the recovered gap holds the truth."""
    print("| setting | comparisons | holds the truth | no gap to be seen | holds the truth where given | above 0 |")
    print("| --- | --: | --: | --: | --: | --: |")
    for setting in gap_settings():
        if only in setting.name:
            number = min(draws, setting.max_draws or draws)
            found = simulate_gap(setting, number, seed)
            shares = (found.held, found.undefined, found.held_where_given, found.above_0)
            print(f"| {setting.name} | {number:,} | {' | '.join(f'{share:.1%}' for share in shares)} |", flush=True)


def print_alternatives(draws: int, seed: int, only: str) -> None:
    """Coverage of the difference by other intervals over the same units, beside the one that is used."""
    print("| setting | sandwich, U - 1 df | jackknife, U - 1 df | jackknife, Bell-McCaffrey df (used) |")
    print("| --- | --: | --: | --: |")
    for setting in settings():
        if only in setting.name and setting.name.startswith(("group", "bits")):
            rng = np.random.default_rng([seed, crc32(setting.name.encode())])
            rows = [_alternatives(setting, setting.draw(rng, CHUNK)) for _ in range(0, draws, CHUNK)]
            shares = np.concatenate(rows, axis=1).mean(axis=1)
            print(f"| {setting.name} | {' | '.join(f'{share:.1%}' for share in shares)} |", flush=True)


def _alternatives(setting: Setting, one: Sampled | list[Resampled]) -> np.ndarray:
    """Per comparison, whether each interval holds the true difference."""
    assert isinstance(one, Sampled)
    found, weight = moments(one.units), one.units.weight
    num_units = np.full(len(weight), float(weight.shape[-1]))
    error = found.mean(1.0, -1.0) - (setting.student - setting.teacher)
    residual = weight * (one.units.student - one.units.teacher - found.mean(1.0, -1.0)[:, None])
    sandwich = num_units / (num_units - 1) * (residual**2).sum(axis=-1)
    jackknife = found.variance(1.0, -1.0)
    intervals = ((sandwich, num_units - 1), (jackknife, num_units - 1), (jackknife, found.df))
    return np.stack([np.abs(error) <= t_quantile(df, LEVEL) * np.sqrt(variance) for variance, df in intervals])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--draws", type=int, default=20_000, help="comparisons per setting (bootstrap settings: at most 8,000)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--few-changes", type=int, default=evidence.FEW_CHANGES, help="0: t intervals for all real scores"
    )
    parser.add_argument("--alternatives", action="store_true", help="compare intervals over units with each other")
    parser.add_argument("--gap", action="store_true", help="the recovered gap of a student, a teacher and a baseline")
    parser.add_argument("--only", default="", help="only settings whose name holds this word")
    options = parser.parse_args()
    evidence.FEW_CHANGES = options.few_changes
    if options.alternatives:
        print_alternatives(options.draws, options.seed, options.only)
        return
    if options.gap:
        print_gap(options.draws, options.seed, options.only)
        return
    print(
        "| setting | comparisons | difference | retention | above chance | passed at min-retention | passed at margin |"
    )
    print("| --- | --: | --: | --: | --: | --: | --: |")
    for setting in settings():
        if options.only in setting.name:
            draws = min(options.draws, setting.max_draws or options.draws)
            rates = simulate(setting, draws, options.seed)
            above = "-" if rates.above_chance is None else f"{rates.above_chance:.1%}"
            print(
                f"| {setting.name} | {draws:,} | {rates.difference:.1%} | {rates.retention:.1%} | {above} "
                f"| {rates.passed_at_retention:.1%} | {rates.passed_at_margin:.1%} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
