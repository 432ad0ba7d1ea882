"""The recipe itself: one config per stage, made whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distill_eval.bench.config import BenchConfig
from distill_eval.compare_config import CompareConfig
from distill_eval.distill.cache_config import CacheTeacherConfig
from distill_eval.distill.config import DistillConfig
from distill_eval.distill.data_config import DataConfig
from distill_eval.errors import require
from distill_eval.export.config import ExportConfig
from distill_eval.fidelity.config import FidelityConfig
from distill_eval.plan.config import PlanConfig
from distill_eval.quantize.config import QuantizeConfig
from distill_eval.recipe.known import KNOWN, STAGES, VARIANTS
from distill_eval.record import record, to_jsonable, to_toml
from distill_eval.report_config import ReportConfig
from distill_eval.schema.model import ModelRef
from distill_eval.schema.recipe import Link, links
from distill_eval.student.config import PrepareConfig

TEACHER, STUDENT = "teacher", "student"
"""What a recipe calls them; its variants have names of their own."""


@record
class Recipe:
    """What is made of a teacher: a config for each stage; in a chain, those of the first student."""

    teacher: str
    """Hub name, NAME@REVISION, or a folder."""
    output_dir: Path
    """Where everything goes, a folder for each stage, with run.json and recipe.toml."""
    student: str | None = None
    """The student to train or to compare, where neither [prepare] nor `chain` makes it."""
    chain: tuple[str, ...] = ()
    """Parameters of each assistant and of the student; each is made from the model before it and taught by it."""
    baseline: bool = False
    """Train the student a second time without its teacher, and compare both: what did distillation buy?"""
    data: DataConfig | None = None
    """The text to train on; importance is measured and weights are rounded on it too."""
    plan: PlanConfig | None = None
    """What to expect, before anything is run; the report holds it against what was measured."""
    prepare: PrepareConfig | None = None
    cache_teacher: CacheTeacherConfig | None = None
    distill: DistillConfig | None = None
    quantize: tuple[QuantizeConfig, ...] = ()
    """Variants of the student, or of the teacher where there is no student; the folder's name is the variant's."""
    export: tuple[ExportConfig, ...] = ()
    """Likewise."""
    compare: CompareConfig | None = None
    fidelity: FidelityConfig | None = None
    bench: BenchConfig | None = None
    report: ReportConfig | None = None

    def __post_init__(self) -> None:
        ModelRef.parse(self.teacher)
        stages = [name for name in STAGES if getattr(self, name)]
        require(bool(stages), f"no stage: add a table, one of {', '.join(f'[{name}]' for name in STAGES)}")
        for option, given in (("chain", bool(self.chain)), ("baseline", self.baseline)):
            require(not given or self.distill is not None, f"{option}: expected a table [distill] to go with it")
        require(
            self.cache_teacher is None or self.distill is not None,
            "cache_teacher: nothing trains on it; add a table [distill], or type `distill-eval cache-teacher`",
        )
        self._check_training()

    def _check_training(self) -> None:
        """Refuse at once what the training would refuse after the stages before it."""
        cache, distill = self.cache_teacher, self.distill
        if cache is not None and distill is not None:
            require(
                cache.kind != "hidden" or distill.alpha == 0,
                "cache_teacher.kind hidden: it keeps no soft labels, and distill.loss.alpha is above 0",
            )
            require(
                not distill.loss.feature_weight or cache.mapped == distill.loss.layer_map,
                f"cache_teacher.layer_map {cache.mapped}: distill.loss.layer_map is {distill.loss.layer_map}. Say it "
                "once, in [distill.loss]",
            )
        if self.is_classifier:
            require(self.compare is None, "compare: a classifier is measured by [distill] itself. Leave [compare] out")
            require(self.fidelity is None, "fidelity: a classifier has no next token. Leave [fidelity] out")
            require(not self.quantize, "quantize: it takes causal language models. Leave it out, or add [[export]]")

    @property
    def is_classifier(self) -> bool:
        """Whether it trains a classifier."""
        return self.distill is not None and self.distill.labels.label_column is not None

    @property
    def links(self) -> tuple[Link, ...]:
        """The students, the last of which is the one that counts."""
        return links(self.output_dir, self.chain)

    @property
    def models(self) -> dict[str, str]:
        """The teacher, the student that counts and its variants: name in the run to folder or Hub name."""
        made, trained = self.prepare is not None, self.distill is not None
        student = last_student(self.links, self.student, made=made, trained=trained)
        variants = {folder.name: str(folder) for folder in self.variants}
        return {TEACHER: self.teacher, **({} if student is None else {STUDENT: student}), **variants}

    @property
    def variants(self) -> tuple[Path, ...]:
        """The folders of the variants; a folder's name is the variant's."""
        quantized, exported = (tuple(one.output_dir for one in ones) for ones in (self.quantize, self.export))
        return (*quantized, *exported)

    def to_toml(self) -> str:
        """The recipe whole, every option with its value: read again, it is the same recipe."""
        table: dict[str, Any] = to_jsonable(self)
        for stage, known in KNOWN.items():
            if stage in VARIANTS:
                named = [{"name": Path(one["output_dir"]).name, **_without(one, known)} for one in table[stage]]
                table[stage] = named or None
            elif table[stage] is not None:
                table[stage] = _without(table[stage], known)
        if self.chain and table["prepare"]:
            table["prepare"]["target_params"] = None  # that of the first link
        if self.bench is not None:
            names = {ref: name for name, ref in self.models.items()}
            table["bench"]["model"] = [names[ref] for ref in self.bench.model]
        return to_toml(table)


def _without(table: dict[str, Any], known: dict[str, str]) -> dict[str, Any]:
    return {name: value for name, value in table.items() if name not in known}


def last_student(found: Sequence[Link], named: str | None, *, made: bool, trained: bool) -> str | None:
    """The student that counts: trained, else prepared, else the one that the recipe names; `None` without one."""
    if trained:
        return str(found[-1].student)
    return str(found[-1].prepared) if made else named
