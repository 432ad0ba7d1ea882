"""What a stage reads, by the option that names it: models, and texts or folders (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from distill_eval.bench.config import BenchConfig
from distill_eval.compare_config import CompareConfig
from distill_eval.distill.cache_config import CacheTeacherConfig
from distill_eval.distill.config import DistillConfig
from distill_eval.export.config import ExportConfig
from distill_eval.fidelity.config import FidelityConfig
from distill_eval.plan.config import PlanConfig
from distill_eval.quantize.config import QuantizeConfig
from distill_eval.report_config import ReportConfig
from distill_eval.student.config import PrepareConfig

Config = (
    PlanConfig
    | PrepareConfig
    | CacheTeacherConfig
    | DistillConfig
    | QuantizeConfig
    | ExportConfig
    | CompareConfig
    | FidelityConfig
    | BenchConfig
    | ReportConfig
)


def models(config: Config) -> Mapping[str, tuple[str, ...]]:
    """The models that a stage reads, by option."""
    match config:
        case PlanConfig() | PrepareConfig():
            return {"teacher": (config.teacher,)}
        case CacheTeacherConfig():
            return {"teacher": (config.teacher,), "student": (config.student,)}
        case DistillConfig():
            return {"teacher": config.teacher, "student": (config.student,)}
        case QuantizeConfig() | ExportConfig():
            return {"model": (config.model,)}
        case CompareConfig():
            return {"teacher": (config.teacher,), "student": config.student, "baseline": config.baseline}
        case FidelityConfig():
            return {"reference": (config.reference,), "candidate": config.candidate}
        case BenchConfig():
            return {"model": config.model}
        case ReportConfig():
            return {}


def texts(config: Config) -> Mapping[str, str]:
    """Data and folders that a stage reads, by option."""
    found: dict[str, str | Path | None]
    match config:
        case PlanConfig():
            found = {"include_path": config.include_path}
        case PrepareConfig() | QuantizeConfig():
            found = {"calibration": config.calibration}
        case ExportConfig() | FidelityConfig():
            found = {"text": config.text}
        case CompareConfig():
            found = {"evaluation.include_path": config.evaluation.include_path}
        case ReportConfig():
            found = {}
        case BenchConfig():
            found = {"prompts.dataset_path": _data_set(config.prompts.dataset_path)}
        case CacheTeacherConfig():
            found = {"data.data": config.data.data, "data.validation_data": config.data.validation_data}
        case DistillConfig():
            found = {
                "data.data": config.data.data,
                "data.validation_data": config.data.validation_data,
                "cached_teacher": config.cached_teacher,
                "labels.test_data": config.labels.test_data,
            }
    return {option: str(value) for option, value in found.items() if value is not None}


def _data_set(path: str | None) -> str | None:
    """The data set of ORG/NAME/FILE, whose commit says what is in its files; a path of the user's as it is."""
    if path is None or path.count("/") < 2 or path.startswith((".", "/", "~")) or Path(path).exists():
        return path
    return "/".join(path.split("/")[:2])
