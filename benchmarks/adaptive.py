"""Simulates `compare --adaptive` on benchmarks whose truth is known: false verdicts, and documents used.

    python benchmarks/adaptive.py [--draws 1000] [--seed 0] [--only WORD]

Prints a markdown table. Teacher and student are 0/1 on each document; both being right is correlated with 0.6, which
makes them disagree on about a fifth of the documents (as `distill_eval.compare.power` assumes). The criterion is a
retention of 0.95 at level 0.95, with a look at every block. A student of exactly 0.95 is the one that must not pass,
and must not fail, more than 2.5 % of the time each. Order, looks and evidence are those of `distill_eval.compare`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from coverage import MMLU

from distill_eval.compare.evidence import Sampled, binary_evidence, group_evidence
from distill_eval.compare.looks import Looked, shuffled
from distill_eval.compare.sequential import Taken, capitals, final_level, refuting

LEVEL, MIN_RETENTION, CORRELATION = 0.95, 0.95, 0.6
RETENTIONS = (0.90, 0.95, 0.98, 1.00)
NUM_ORDERS = 20
"""Random orders that take turns; the documents themselves are drawn anew each time."""
CELLS = np.array([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
"""(student, teacher) of a document."""


@dataclass(frozen=True)
class Setting:
    """A benchmark."""

    name: str
    sizes: tuple[int, ...]
    """Documents of each task; the verdict is on the mean over all documents."""
    teacher: float
    spread: float = 0.0
    """Standard deviation over tasks of the student's loss."""


MMLU_SIZES = tuple(int(size) for size in MMLU.split())
SETTINGS = (
    Setting("MMLU-like", MMLU_SIZES, 0.6),
    Setting("MMLU-like, losses of subjects vary by 2 points", MMLU_SIZES, 0.6, 0.02),
    Setting("HellaSwag-like", (10042,), 0.7),
    Setting("LAMBADA-like", (5153,), 0.5),
    Setting("ARC-easy-like, a teacher of 90 %", (2376,), 0.9),
)


@dataclass(frozen=True)
class Outcome:
    """How one comparison ended."""

    verdict: int
    """1 for PASS, -1 for FAIL, 0 for INCONCLUSIVE."""
    num_docs: int
    usual: int
    """The verdict on all documents with the usual interval."""


def cells(student: np.ndarray, teacher: np.ndarray) -> np.ndarray:
    """Cumulative probabilities of the first three `CELLS`, shape (..., 3)."""
    both = student * teacher + CORRELATION * np.sqrt(student * (1 - student) * teacher * (1 - teacher))
    both = np.minimum(both, np.minimum(student, teacher))
    return np.stack([both, student, student + teacher - both], axis=-1)


def schedule(setting: Setting, seed: int) -> Looked:
    """The order of the documents, with all looks."""
    looked = shuffled("", {str(task): size for task, size in enumerate(setting.sizes)}, seed)
    while not looked.exhausted:
        looked = looked.further()
    return looked


def simulate(setting: Setting, retention: float, draws: int, seed: int) -> Iterator[Outcome]:
    """Comparisons with a student of this true retention."""
    rng = np.random.default_rng(seed)
    orders = [schedule(setting, seed + order) for order in range(min(draws, NUM_ORDERS))]
    tasks_of = [np.array([int(task) for task, _ in looked.order]) for looked in orders]
    for draw in range(draws):
        looked, task_of = orders[draw % NUM_ORDERS], tasks_of[draw % NUM_ORDERS]
        num_tasks = len(setting.sizes)
        teacher = np.full(num_tasks, setting.teacher)
        loss = np.clip(rng.standard_normal(num_tasks), -2.5, 2.5) * setting.spread
        edges = cells(setting.teacher * retention + loss, teacher)
        cell = (rng.random(len(task_of))[:, None] > edges[task_of]).sum(axis=-1)
        yield judge(looked, task_of, cell)


def judge(looked: Looked, task_of: np.ndarray, cell: np.ndarray) -> Outcome:
    """Look at every block, and stop as `--adaptive` does."""
    counts = np.stack([np.bincount(cell[:size], minlength=4) for size in looked.looks])[None].astype(float)
    student, teacher = CELLS.T
    taken = Taken(student, teacher, np.ones(4), counts, (0.0, 1.0), len(cell))
    won, lost = (side[0] > refuting(LEVEL) for side in capitals(taken, 1.0, -MIN_RETENTION, LEVEL))
    usual = whole(task_of, cell)
    for size, passes, fails in zip(looked.looks, won, lost, strict=True):
        if passes or fails:
            return Outcome(1 if passes else -1, size, verdict(usual, LEVEL))
    return Outcome(verdict(usual, final_level(LEVEL)), len(cell), verdict(usual, LEVEL))


def whole(task_of: np.ndarray, cell: np.ndarray) -> Sampled:
    """The evidence of all documents, their number fixed before; tasks are clusters where there are several."""
    tasks = []
    for task in range(task_of.max() + 1):
        student, teacher = CELLS[cell[task_of == task]].T[:, None, :]
        tasks.append(binary_evidence(student, teacher))
    sizes = np.bincount(task_of)
    return tasks[0] if len(tasks) == 1 else group_evidence(tasks, sizes / sizes.sum())


def verdict(evidence: Sampled, level: float) -> int:
    """1, -1 or 0 by the interval of the contrast."""
    found = evidence.linear(1.0, -MIN_RETENTION, level)
    return int(found.low[0] > 0) - int(found.high[0] < 0)


def row(setting: Setting, retention: float, outcomes: list[Outcome]) -> str:
    """One line of the table."""
    total = sum(setting.sizes)
    used = np.array([outcome.num_docs for outcome in outcomes]) / total
    verdicts, usual = (np.array([getattr(one, name) for one in outcomes]) for name in ("verdict", "usual"))
    shares = (np.median(used), np.quantile(used, 0.9), *(np.mean(verdicts == value) for value in (1, -1, 0)))
    text = " | ".join(f"{share:.1%}" for share in (*shares, np.mean(usual == 1), np.mean(usual == -1)))
    return f"| {setting.name}, {total:,} documents | {retention:.2f} | {text} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    print(
        "| setting | true retention | median share used | 90 % use at most | PASS | FAIL | INCONCLUSIVE "
        "| PASS, all documents | FAIL, all documents |\n| --- | --: | --: | --: | --: | --: | --: | --: | --: |"
    )
    for setting in SETTINGS:
        for retention in RETENTIONS:
            if args.only in setting.name:
                print(row(setting, retention, list(simulate(setting, retention, args.draws, args.seed))), flush=True)


if __name__ == "__main__":
    main()
