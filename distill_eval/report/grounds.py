"""What stands behind a report: what each of its forms is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from distill_eval.schema.bench import BenchRun
from distill_eval.schema.distill import DistillRun
from distill_eval.schema.export import ExportRun
from distill_eval.schema.fidelity import Fidelity
from distill_eval.schema.plan import Check
from distill_eval.schema.quant import QuantRun
from distill_eval.schema.report import Report
from distill_eval.schema.retention import Entry, Provenance, Retention
from distill_eval.schema.student import StudentInit

Entries = Mapping[str, Sequence[Entry]]
"""By a student's short name, what its verdict rests on."""


class Grounds(Protocol):
    """A report and its artifacts; these by where they were found, if nothing else is said."""

    @property
    def report(self) -> Report:
        """What all of it says together."""

    @property
    def entries(self) -> Entries:
        """What verdicts rest on."""

    @property
    def retentions(self) -> Mapping[str, Retention]:
        """The comparisons."""

    @property
    def fidelities(self) -> Mapping[str, Fidelity]:
        """Distances of distributions."""

    @property
    def benches(self) -> Mapping[str, BenchRun]:
        """Speeds."""

    @property
    def students(self) -> Mapping[str, StudentInit]:
        """How students were cut."""

    @property
    def trainings(self) -> Mapping[str, DistillRun]:
        """Trainings, by the short name of their model."""

    @property
    def quants(self) -> Mapping[str, QuantRun]:
        """Quantizations."""

    @property
    def checks(self) -> Mapping[str, Sequence[Check]]:
        """Figures of plans, beside what was measured."""

    @property
    def exports(self) -> Mapping[str, ExportRun]:
        """Exports."""

    @property
    def models(self) -> Mapping[str, str]:
        """From the artifact of one model (a student, a variant) to that model's short name."""

    @property
    def names(self) -> Mapping[str, str]:
        """From every name that an artifact has for a model to its short name."""

    @property
    def made(self) -> Mapping[str, Provenance]:
        """How each artifact was made."""
