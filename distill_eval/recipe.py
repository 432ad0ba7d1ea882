"""Recipe: one config per stage, read strictly from TOML.

A recipe says the teacher, the data and the output folder once; from them every stage's config is made whole.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from distill_eval.compare_config import CompareConfig
from distill_eval.distill.cache_config import CacheTeacherConfig
from distill_eval.distill.config import DistillConfig
from distill_eval.distill.data_config import DataConfig
from distill_eval.errors import UsageError, boundary, require, unknown
from distill_eval.record import from_table, record, to_jsonable, to_toml
from distill_eval.schema.model import ModelRef
from distill_eval.schema.recipe import Link, links
from distill_eval.student.config import PrepareConfig

STAGES = ("prepare", "cache_teacher", "distill", "compare")
_ON_TOP = "say it once, at the top of the recipe"
_ITSELF = "leave it out: the run knows it"
KNOWN: dict[str, dict[str, str]] = {
    "prepare": {"teacher": _ON_TOP, "output_dir": _ITSELF},
    "cache_teacher": {
        "teacher": _ON_TOP,
        "student": _ITSELF,
        "data": "say it once, in the table [data]",
        "temperature": "say it once, in the table [distill.loss]",
        "seed": "say it once, in the table [distill.training]",
        "output_dir": _ITSELF,
    },
    "distill": {
        "student": _ON_TOP,
        "teacher": _ON_TOP,
        "teacher_weights": "a recipe has one teacher; `distill-eval distill` takes several",
        "cached_teacher": "the table [cache_teacher] makes one; `distill-eval distill` takes one that is there",
        "data": "say it once, in the table [data]",
        "baseline": _ON_TOP,
        "chain": _ON_TOP,
        "output_dir": _ITSELF,
        "resume": "leave it out: a run goes on where it was",
    },
    "compare": {
        "teacher": _ON_TOP,
        "student": _ITSELF,
        "baseline": _ON_TOP,
        "ci": "leave it out: type `distill-eval report RUN --junit` once the run is done",
        "output_dir": _ITSELF,
    },
}
"""Options of the stages that a recipe says once or the pipeline knows, and what to do instead."""
SIZES = ("keep_layers", "drop_layers", "num_layers", "ffn_size", "hidden_size", "num_heads", "target_params", "ratio")
"""Options of `prepare` that a chain's sizes take the place of."""

CALIBRATION = {
    "calibration": "data",
    "calibration_subset": "data_config",
    "calibration_split": "data_split",
    "calibration_length": "max_length",
    "text_column": "text_column",
}
"""Options of `prepare` that are those of [data] where it names no calibration text."""


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
    """The text to train on; the importance of layers and channels is measured on it too."""
    prepare: PrepareConfig | None = None
    cache_teacher: CacheTeacherConfig | None = None
    distill: DistillConfig | None = None
    compare: CompareConfig | None = None

    def __post_init__(self) -> None:
        ModelRef.parse(self.teacher)
        stages = [name for name in STAGES if getattr(self, name) is not None]
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
        require(
            self.compare is None or distill is None or distill.labels.label_column is None,
            "compare: a classifier is measured by [distill] itself. Leave [compare] out",
        )

    @property
    def links(self) -> tuple[Link, ...]:
        """The students, the last of which is the one that counts."""
        return links(self.output_dir, self.chain)

    def to_toml(self) -> str:
        """The recipe whole, every option with its value: read again, it is the same recipe."""
        table: dict[str, Any] = to_jsonable(self)
        for stage, known in KNOWN.items():
            if table[stage] is not None:
                table[stage] = {name: value for name, value in table[stage].items() if name not in known}
        if self.chain and table["prepare"]:
            table["prepare"]["target_params"] = None  # that of the first link
        return to_toml(table)


class Overrides(NamedTuple):
    """The inputs that are given to a recipe, as arguments are to a function."""

    teacher: str | None = None
    data: str | None = None
    output_dir: Path | None = None


def shipped() -> dict[str, str]:
    """The recipes of the package: name to text."""
    folder = resources.files("distill_eval") / "recipes"
    files = [file for file in folder.iterdir() if file.name.endswith(".toml")]
    return {file.name.removesuffix(".toml"): file.read_text(encoding="utf-8") for file in sorted(files, key=str)}


def load(source: str, given: Overrides) -> Recipe:
    """The recipe of a file, or the shipped one of this name.

    Args:
        source: A path, or a name.
        given: Inputs that take the place of the recipe's own.

    Raises:
        UsageError: there is no such recipe, it is not TOML, or not a recipe; every wrong key is named.
    """
    path = Path(source).expanduser()
    if path.suffix == ".toml" or path.is_file():
        require(path.is_file(), f"{source}: no such recipe. Shipped ones: {', '.join(shipped())}")
        with boundary(UsageError, f"cannot read {source}"):
            text = path.read_text(encoding="utf-8")
    else:
        recipes = shipped()
        text = recipes[source] if source in recipes else unknown("recipe", source, recipes)
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{source} is not TOML: {error}") from error
    return resolve(_with(table, given, Path("runs") / path.stem), source=source)


def resolve(table: Mapping[str, Any], *, source: str) -> Recipe:
    """The recipe that a TOML file says, every stage's config made whole.

    Raises:
        UsageError: keys that are unknown, wrong, missing or not a recipe's to say.
    """
    require("teacher" in table, f"{source}: no teacher. Type --teacher MODEL, or add teacher = ... at its top")
    for stage, known in KNOWN.items():
        said = table.get(stage)
        for option in said if isinstance(said, dict) else ():
            require(option not in known, f"{source}: {stage}.{option}: {known.get(option)}")
    _require_student(table, source)
    _require_data(table, source)
    return from_table(Recipe, _whole(table), source=source)


def _with(table: dict[str, Any], given: Overrides, output_dir: Path) -> dict[str, Any]:
    table = {"output_dir": str(output_dir)} | table
    if given.teacher is not None:
        table["teacher"] = given.teacher
    if given.output_dir is not None:
        table["output_dir"] = str(given.output_dir)
    if given.data is not None:
        data = table.get("data")
        table["data"] = {**(data if isinstance(data, dict) else {}), "data": given.data}
    if isinstance(table["output_dir"], str):
        table["output_dir"] = str(Path(table["output_dir"]).expanduser())
    return table


def _require_student(table: Mapping[str, Any], source: str) -> None:
    """Refuse a recipe that does not say where its student comes from, or says it twice."""
    named = [name for name in ("student", "prepare", "chain") if table.get(name)]
    require(bool(named), f"{source}: no student: add [prepare] to make one, chain = [...] or student = ... to name one")
    require(
        "student" not in named or named == ["student"],
        f"{source}: student names a model and {named[-1]} makes one: leave one of them out",
    )
    prepare = table.get("prepare")
    sizes = [name for name in SIZES if isinstance(prepare, dict) and name in prepare]
    require(
        not (table.get("chain") and sizes),
        f"{source}: prepare.{sizes[0] if sizes else ''}: chain says the sizes, so leave it out",
    )


def _require_data(table: Mapping[str, Any], source: str) -> None:
    data = table.get("data")
    require(not isinstance(data, str), f"{source}: data: expected a table: [data], and in it data = {data!r}")
    missing = "distill" in table and not (isinstance(data, dict) and "data" in data)
    require(not missing, f"{source}: no data to train on. Type --data DATA, or add data = ... to its table [data]")


def _whole(table: Mapping[str, Any]) -> dict[str, Any]:
    """The table with all that the stages know from elsewhere."""
    teacher, data = table["teacher"], table.get("data")
    chain = table.get("chain")
    first = links(Path(str(table["output_dir"])), tuple(chain) if isinstance(chain, list) else ())[0]
    made = bool(chain) or "prepare" in table
    student = str(first.prepared) if made else table.get("student")
    cached = {"cached_teacher": str(first.teacher_cache)} if "cache_teacher" in table else {"teacher": [teacher]}
    distill = table.get("distill")
    known: dict[str, dict[str, Any]] = {
        "prepare": {"teacher": teacher, "output_dir": str(first.prepared), **_target(first), **_calibration(table)},
        "cache_teacher": {
            "teacher": teacher,
            "student": student,
            "data": data,
            "output_dir": str(first.teacher_cache),
            **_inner(distill, "loss", "temperature"),
            **_inner(distill, "training", "seed"),
            **_mapped(distill),
        },
        "distill": {"student": student, "data": data, "output_dir": str(first.student), **cached},
        "compare": {"teacher": teacher, "student": [student], "output_dir": str(compared(table["output_dir"]))},
    }
    said = {**table, "prepare": table.get("prepare", {})} if chain else table
    return {
        name: {**known[name], **value} if name in known and isinstance(value, dict) else value
        for name, value in said.items()
    }


def compared(output_dir: str | Path) -> Path:
    """Where the comparison goes."""
    return Path(output_dir) / "compare"


def _target(link: Link) -> dict[str, Any]:
    return {} if link.size is None else {"target_params": link.size}


def _inner(table: Any, name: str, option: str) -> dict[str, Any]:
    inner = table.get(name) if isinstance(table, dict) else None
    return {option: inner[option]} if isinstance(inner, dict) and option in inner else {}


def _mapped(distill: Any) -> dict[str, Any]:
    """The hidden states that the training compares are kept too."""
    weight = _inner(distill, "loss", "feature_weight").get("feature_weight")
    return {"layer_map": _inner(distill, "loss", "layer_map").get("layer_map", "uniform")} if weight else {}


def _calibration(table: Mapping[str, Any]) -> dict[str, Any]:
    """Importance is measured on the text that is trained on, unless [prepare] names another."""
    data, prepare = table.get("data"), table.get("prepare", {})
    own = isinstance(prepare, dict) and ("calibration" in prepare or _needs_no_calibration(prepare))
    if own or not isinstance(data, dict) or "data" not in data:
        return {}
    return {ours: data[theirs] for ours, theirs in CALIBRATION.items() if theirs in data}


def _needs_no_calibration(prepare: Mapping[str, Any]) -> bool:
    """Whether layers are given by number, or the student is a new model."""
    listed = {"keep_layers", "drop_layers"} & prepare.keys()
    return bool(prepare.get("fresh")) or (bool(listed) and not {*SIZES[2:]} & prepare.keys())
