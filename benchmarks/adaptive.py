"""What `compare --adaptive` needs: documents used and false verdicts, simulated, or from comparisons that were made.

    python benchmarks/adaptive.py [--draws 1000] [--seed 0] [--only WORD]
    python benchmarks/adaptive.py --compared FOLDER [FOLDER ...] [--draws 1000]

Prints a markdown table. With `--compared` the documents are those of finished comparisons without --adaptive, taken in
as many random orders; the verdict on all of them is the right one. Without, teacher and student are simulated: 0/1 on
each document; both being right is correlated with 0.6, which makes them disagree on about a fifth of the documents (as
`distill_eval.compare.power` assumes). The criterion is a retention of 0.95 at level 0.95, with a look at every block. A
student of exactly 0.95 is the one that must not pass, and must not fail, more than 2.5 % of the time each. Order, looks
and evidence are those of `distill_eval.compare`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from coverage import MMLU

from distill_eval.compare.evidence import Sampled, binary_evidence, group_evidence
from distill_eval.compare.looks import Looked, shuffled
from distill_eval.compare.sequential import Taken, capitals, final_level, refuting
from distill_eval.pipeline import samples
from distill_eval.record import from_json
from distill_eval.schema.evals import Sample
from distill_eval.schema.retention import Entry, Retention

LEVEL, MIN_RETENTION, CORRELATION = 0.95, 0.95, 0.6
RETENTIONS = (0.90, 0.95, 0.98, 1.00)
WORDS = {1: "PASS", -1: "FAIL", 0: "INCONCLUSIVE"}
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


def used_and_said(setting: Setting, outcomes: list[Outcome]) -> tuple[float, ...]:
    """Median and 90 % quantile of the share of documents that were used; shares of PASS, FAIL and INCONCLUSIVE."""
    used = np.array([outcome.num_docs for outcome in outcomes]) / sum(setting.sizes)
    verdicts = np.array([outcome.verdict for outcome in outcomes])
    said = (float(np.mean(verdicts == value)) for value in (1, -1, 0))
    return float(np.median(used)), float(np.quantile(used, 0.9)), *said


def row(setting: Setting, retention: float, outcomes: list[Outcome]) -> str:
    """One line of the table."""
    usual = np.array([outcome.usual for outcome in outcomes])
    shares = (*used_and_said(setting, outcomes), np.mean(usual == 1), np.mean(usual == -1))
    text = " | ".join(f"{share:.1%}" for share in shares)
    return f"| {setting.name}, {sum(setting.sizes):,} documents | {retention:.2f} | {text} |"


def compared(folder: Path) -> Iterator[tuple[Setting, float, str, np.ndarray]]:
    """Each student and 0/1 task: its documents, the retention, the verdict on all of them, and each document's cell."""
    retention = from_json(Retention, (folder / "retention.json").read_bytes(), source=str(folder))
    roles = samples.roles(len(retention.students), 0)
    for role, student in zip(roles[1:], retention.students, strict=True):
        for entry in retention.entries:
            if entry.student_ref != student.ref or not entry.primary or entry.kind != "binary":
                continue
            sides = [
                scores(folder / samples.file_name(*whose, entry.task), entry)
                for whose in ((role, student.ref), ("teacher", retention.teacher.ref))
            ]
            right = np.array(sides).T
            cell = (right[:, None, :] == CELLS).all(axis=-1).argmax(axis=-1)
            teacher = float(right[:, 1].mean())
            setting = Setting(f"{entry.task}, {student.ref}", (len(cell),), teacher)
            yield (
                setting,
                float(right[:, 0].mean()) / teacher,
                WORDS[verdict(whole(np.zeros(len(cell), int), cell), LEVEL)],
                cell,
            )


def scores(path: Path, entry: Entry) -> list[float]:
    """Of one model, document by document, by the metric that carries the verdict."""
    found = []
    for line in path.read_bytes().splitlines():
        sample = from_json(Sample, line, source=str(path))
        found += [
            one.value or 0.0 for one in sample.metrics if (one.metric, one.filter) == (entry.metric, entry.filter)
        ]
    return found


def replay(setting: Setting, cell: np.ndarray, draws: int, seed: int) -> Iterator[Outcome]:
    """The same documents in many orders."""
    task_of = np.zeros(len(cell), int)
    for draw in range(draws):
        looked = schedule(setting, seed + draw)
        yield judge(looked, task_of, cell[[document for _, document in looked.order]])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="")
    parser.add_argument("--compared", type=Path, nargs="+", default=[])
    args = parser.parse_args()
    if args.compared:
        print(
            "| documents of | retention | on all | median share used | 90 % use at most | PASS | FAIL | INCONCLUSIVE |"
        )
        print("| --- | --: | --- | --: | --: | --: | --: | --: |")
        for setting, kept, said, cell in (one for folder in args.compared for one in compared(folder)):
            shares = " | ".join(
                f"{one:.1%}" for one in used_and_said(setting, list(replay(setting, cell, args.draws, args.seed)))
            )
            print(f"| {setting.name}, {len(cell):,} | {kept:.3f} | {said} | {shares} |", flush=True)
        return
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
