"""What a model card is about: one variant of a report, and everything that is on record of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from distill_eval.schema.bench import BenchedModel, BenchRun
from distill_eval.schema.distill import DistillRun
from distill_eval.schema.export import ExportRun
from distill_eval.schema.quant import QuantRun
from distill_eval.schema.report import Report, Variant
from distill_eval.schema.retention import Entry, Retention
from distill_eval.schema.student import StudentInit


class License(NamedTuple):
    """Under which terms the weights may be used, in the words of the Hub's metadata."""

    id: str
    """As the Hub names it, e.g. `apache-2.0`; `other` for one that it has no name for."""
    name: str | None = None
    """Of an `other` license."""
    link: str | None = None
    """Of an `other` license: where its text is."""


class Lineage(NamedTuple):
    """How the weights came about, as far as artifacts say, from the last step to the first."""

    export: ExportRun | None = None
    quant: QuantRun | None = None
    training: DistillRun | None = None
    init: StudentInit | None = None


class Subject(NamedTuple):
    """One variant, and what a page about it draws on."""

    report: Report
    variant: Variant
    address: str
    """What to load it by: its repository on the Hub, or its folder."""
    on_hub: bool
    """Whether `address` is a repository."""
    license: License
    languages: tuple[str, ...]
    """Codes that the teacher's card gives; empty where it gives none."""
    lineage: Lineage
    retentions: tuple[Retention, ...]
    benches: tuple[BenchRun, ...]
    names: Mapping[str, str]
    """Short name of each model, by every reference to it."""
    hub_names: frozenset[str]
    """Those models and data sets of the artifacts that are names on the Hub, and no folders."""

    @property
    def teacher(self) -> Variant:
        """The model that it was measured against."""
        return self.report.variants[0]

    @property
    def title(self) -> str:
        """The last part of its address, e.g. `student-w8a8`."""
        return self.address.rstrip("/").rpartition("/")[2] or self.variant.name

    def entries(self) -> list[tuple[Retention, Entry]]:
        """Those that verdicts rest on, of every comparison that this variant is in."""
        return [
            (retention, entry)
            for retention in self.retentions
            for entry in retention.entries
            if entry.primary and self.is_about(entry.student_ref)
        ]

    def benched(self) -> list[tuple[BenchRun, BenchedModel]]:
        """Every measurement of its speed."""
        return [(bench, model) for bench in self.benches for model in bench.models if self.is_about(model.ref)]

    def is_about(self, ref: str) -> bool:
        """Whether an artifact's reference means this variant."""
        return self.names.get(ref, ref) == self.variant.name

    def architecture(self) -> str | None:
        """Class name in transformers; `None` where no artifact says it."""
        seen = [model.architecture for one in self.retentions for model in one.students if self.is_about(model.ref)]
        made = [one.architecture for one in (self.lineage.export, self.lineage.quant, self.lineage.init) if one]
        return next(iter([*seen, *made]), None)
