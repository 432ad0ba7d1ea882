"""What the finished classifiers do and cost: accuracy, macro F1, size, latency and memory, side by side.

Shapes: B texts of a batch, N texts.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint
from torch import Tensor
from torch.utils.data import DataLoader

from distill_eval.checkpoint import weight_bytes
from distill_eval.distill.classifier import models as classifiers
from distill_eval.distill.classifier.counts import accuracy, count_labels, macro_f1
from distill_eval.distill.classifier.labels import Order
from distill_eval.distill.classifier.signal import forward_inputs
from distill_eval.distill.classifier.texts import TextCollator, TextRows
from distill_eval.distill.config import DistillConfig
from distill_eval.distill.models import Located
from distill_eval.errors import ModelError, boundary
from distill_eval.schema.distill import Classification, ClassifierFigures, Paired

NUM_REQUESTS = 200
"""Texts whose latency is measured, the first ones; p95 is then above that of 190."""
SECONDS = 900
"""After which a measurement is given up."""


class Cost(NamedTuple):
    """Latency and memory, or why they are not known."""

    latencies_ms: list[float]
    resident_before_bytes: int | None = None
    resident_bytes: int | None = None
    num_threads: int | None = None
    unmeasured: str | None = None


@dataclass(frozen=True)
class Exam:
    """The texts on which finished classifiers are measured."""

    name: str
    texts: Sequence[str]
    rows: TextRows
    """The same texts, encoded."""
    is_validation: bool
    max_length: int
    pad_id: int

    def measure(
        self,
        student: Located,
        teachers: Sequence[Located],
        order: Order,
        num_labeled: tuple[int, ...],
        config: DistillConfig,
        device: str,
        say: Callable[[str], None],
    ) -> Classification:
        """The written student and its teachers.

        Args:
            student: Before training.
            teachers: In the order of `order`.
            order: Of the labels.
            num_labeled: Training texts of each label.
            config: Of the run; its output folder holds the student.
            device: `cpu` or `cuda`.
            say: Takes lines for the reader.

        Raises:
            ModelError: a model cannot be loaded.
        """
        say(f"measuring on {len(self.texts):,} texts: {self.name}")
        written = student._replace(folder=config.output_dir)
        straight = tuple(range(len(order.names)))
        ours = self._figures(config, written, str(config.output_dir), "auto", straight, device, None)
        taught = [
            self._figures(config, teacher, str(teacher.ref), config.teacher_dtype, numbers, device, ours[1])
            for teacher, numbers in zip(teachers, order.of_teachers, strict=True)
        ]
        return Classification(
            labels=order.names,
            num_labeled=num_labeled,
            measured_on=self.name,
            is_validation=self.is_validation,
            device=device,
            student=ours[0],
            teachers=tuple(figures for figures, _ in taught),
        )

    def _figures(
        self,
        config: DistillConfig,
        model: Located,
        name: str,
        dtype: str,
        numbers: Sequence[int],
        device: str,
        student_right_N: Tensor | None,
    ) -> tuple[ClassifierFigures, Tensor]:
        """Of one model, and which texts it labels right."""
        loaded = classifiers.load_teacher(model, dtype, device)
        found_N = self._answers(loaded, numbers, config.training.batch_size, device)
        labels_N = torch.tensor(self.rows.labels)
        num_parameters = int(loaded.num_parameters())
        del loaded
        counts = count_labels(labels_N, found_N, len(numbers)).tolist()
        right_N = found_N == labels_N
        low, high = proportion_confint(int(right_N.sum()), len(right_N), alpha=0.05, method="wilson")
        cost = self._cost(model.folder, dtype, device) if config.labels.measure_speed else _not_asked()
        p50, p95 = np.percentile(cost.latencies_ms, [50, 95]) if cost.latencies_ms else (None, None)
        figures = ClassifierFigures(
            model=name,
            num_parameters=num_parameters,
            size_bytes=weight_bytes(model.folder),
            accuracy=accuracy(counts),
            accuracy_ci_low=float(low),
            accuracy_ci_high=float(high),
            macro_f1=macro_f1(counts),
            num_texts=len(labels_N),
            latency_p50_ms=None if p50 is None else float(p50),
            latency_p95_ms=None if p95 is None else float(p95),
            num_requests=len(cost.latencies_ms),
            resident_bytes=cost.resident_bytes,
            resident_before_bytes=cost.resident_before_bytes,
            num_threads=cost.num_threads,
            unmeasured=cost.unmeasured,
            paired=None if student_right_N is None else paired(right_N, student_right_N),
        )
        return figures, right_N

    def _answers(self, model: Any, numbers: Sequence[int], batch_size: int, device: str) -> Tensor:
        """The student's number of the label that the model gives each text [N]."""
        found = []
        with torch.inference_mode():
            for batch in DataLoader(self.rows, batch_size=batch_size, collate_fn=TextCollator(self.pad_id)):
                inputs = {name: value.to(device) for name, value in forward_inputs(batch).items()}
                found.append(model(**inputs).logits[:, list(numbers)].argmax(-1).cpu())
        return torch.cat(found)

    def _cost(self, folder: Path, dtype: str, device: str) -> Cost:
        """In a fresh process; a measurement that fails does not cost the finished training."""
        if dtype in ("int8", "nf4"):
            return Cost([], unmeasured=f"quantized to {dtype} while it is loaded")
        options = {
            "folder": str(folder.resolve()),
            "texts": list(self.texts[:NUM_REQUESTS]),
            "max_length": self.max_length,
            "dtype": dtype,
            "device": device,
        }
        try:
            with boundary(ModelError, "latency and memory cannot be measured"):
                return Cost(**_probe(json.dumps(options)))
        except ModelError as error:
            return Cost([], unmeasured=str(error))


def paired(teacher_right_N: Tensor, student_right_N: Tensor) -> Paired:
    """Exact McNemar test (McNemar 1947, Psychometrika 12:153-157) of who labels which texts right."""
    both, only_teacher = (int((teacher_right_N & value_N).sum()) for value_N in (student_right_N, ~student_right_N))
    only_student = int((~teacher_right_N & student_right_N).sum())
    neither = len(teacher_right_N) - both - only_teacher - only_student
    found = mcnemar([[both, only_teacher], [only_student, neither]], exact=True)
    return Paired(
        num_pairs=len(teacher_right_N),
        num_only_teacher=only_teacher,
        num_only_student=only_student,
        p_value=float(found.pvalue),
    )


def _probe(options: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "distill_eval.distill.classifier.probe"]
    done = subprocess.run(command, input=options, capture_output=True, text=True, timeout=SECONDS, check=False)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        raise ModelError(f"the process ended with code {done.returncode}: {lines[-1] if lines else 'it said nothing'}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _not_asked() -> Cost:
    return Cost([], unmeasured="--no-measure-speed")
