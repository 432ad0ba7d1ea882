"""From a recipe's table to the recipe: what is said once reaches every stage."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from distill_eval.errors import require, unknown
from distill_eval.recipe.known import CALIBRATION, HELD_OUT, KNOWN, PARITY_TEXT, SIZES, VARIANTS
from distill_eval.recipe.planned import Table, planned
from distill_eval.recipe.recipe import STUDENT, TEACHER, Recipe, last_student
from distill_eval.record import from_table
from distill_eval.schema.recipe import Link, links

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_TAKEN = (TEACHER, STUDENT, "baseline")


def resolve(table: Mapping[str, Any], *, source: str) -> Recipe:
    """The recipe that a TOML file says, every stage's config made whole.

    Raises:
        UsageError: keys that are unknown, wrong, missing or not a recipe's to say.
    """
    require("teacher" in table, f"{source}: no teacher. Type --teacher MODEL, or add teacher = ... at its top")
    for stage in VARIANTS:
        require(
            not isinstance(table.get(stage), dict),
            f"{source}: [{stage}]: a recipe has several of them, each under a name: [[{stage}]], and in it name = ...",
        )
    for stage, known in KNOWN.items():
        for said in _tables(table, stage):
            for option in said:
                require(option not in known, f"{source}: {stage}.{option}: {known.get(option)}")
    _require_student(table, source)
    _require_data(table, source)
    _require_names(table, source)
    return from_table(Recipe, _whole(table, source), source=source)


def _tables(table: Mapping[str, Any], stage: str) -> list[Table]:
    """The tables of a stage: one, or those of the variants; what is none is refused when the recipe is read."""
    said = table.get(stage)
    return [one for one in (said if isinstance(said, list) else [said]) if isinstance(one, dict)]


def _require_student(table: Mapping[str, Any], source: str) -> None:
    """Refuse a recipe that does not say where its student comes from, or says it twice."""
    named = [name for name in ("student", "prepare", "chain") if table.get(name)]
    variants = any(table.get(stage) for stage in VARIANTS) and "distill" not in table
    require(
        bool(named) or variants,
        f"{source}: no student: add [prepare] to make one, chain = [...] or student = ... to name one, or [[quantize]] "
        "for variants of the teacher",
    )
    require(
        "student" not in named or named == ["student"],
        f"{source}: student names a model and {named[-1] if named else ''} makes one: leave one of them out",
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
    has_data = isinstance(data, dict) and "data" in data
    require(
        "distill" not in table or has_data,
        f"{source}: no data to train on. Type --data DATA, or add data = ... to its table [data]",
    )
    for stage, option in (("quantize", "calibration"), ("export", "text")):
        for said in _tables(table, stage):
            require(
                has_data or option in said,
                f"{source}: {stage} {said.get('name', '')}: no text to measure on. Type --data DATA, or add {option} = "
                f"... to its table [[{stage}]]",
            )
    held_out = isinstance(data, dict) and "validation_data" in data
    for said in _tables(table, "fidelity"):
        require(
            held_out or "text" in said,
            f"{source}: fidelity.text is missing: name a text that no student was trained on (or validation_data in "
            '[data]), e.g. text = "Salesforce/wikitext" and text_subset = "wikitext-2-raw-v1"',
        )


def _require_names(table: Mapping[str, Any], source: str) -> None:
    """Refuse variants without a name, with one that names no folder, or with one that is taken."""
    said = [(stage, one) for stage in VARIANTS for one in _tables(table, stage)]
    names = [one.get("name") for _, one in said]
    for stage, one in said:
        name, where = one.get("name"), f"{source}: {stage}.name"
        require(
            name is not None, f'{where} is missing: each variant has one, which names its folder, e.g. name = "w8a8"'
        )
        require(
            isinstance(name, str) and bool(_NAME.fullmatch(name)),
            f"{where} {name!r}: expected letters, digits, dots, dashes or underscores, e.g. w8a8",
        )
        require(name not in _TAKEN, f"{where} {name!r}: the run has a model of that name already; choose another")
        require(names.count(name) == 1, f"{where} {name!r}: two variants have it; give each its own")


class _Known(NamedTuple):
    """What a run knows before any stage."""

    output_dir: Path
    first: Link
    last: Link
    start: str | None
    """The student before training, or the one that is named."""
    models: dict[str, str]
    """The teacher, the student and the variants by name."""

    @property
    def students(self) -> list[str]:
        """All that are held against the teacher."""
        return [ref for name, ref in self.models.items() if name != TEACHER]


def _known(table: Mapping[str, Any]) -> _Known:
    output_dir, chain = Path(str(table["output_dir"])), table.get("chain")
    found = links(output_dir, tuple(map(str, chain)) if isinstance(chain, list) else ())
    made, named = bool(chain) or "prepare" in table, table.get("student")
    start = last_student(found[:1], named, made=made, trained=False)
    student = last_student(found, named, made=made, trained="distill" in table)
    models = {TEACHER: str(table["teacher"]), **({} if student is None else {STUDENT: student})}
    for stage in VARIANTS:
        models |= {one["name"]: str(output_dir / "variants" / one["name"]) for one in _tables(table, stage)}
    return _Known(output_dir, found[0], found[-1], start, models)


def _whole(table: Mapping[str, Any], source: str) -> Table:
    """The table with all that the stages know from elsewhere."""
    known = _known(table)
    said = {**table, "prepare": table.get("prepare", {})} if table.get("chain") else dict(table)
    for stage in VARIANTS:
        if isinstance(said.get(stage), list):
            said[stage] = [_variant(stage, one, known, table) for one in said[stage]]
    if isinstance(said.get("plan"), dict):
        said["plan"] = planned(table, said["plan"], source)
    filled = _training(table, known) | _measuring(table, known)
    for stage, value in said.items():
        if stage in filled and isinstance(value, dict):
            said[stage] = {**filled[stage], **value}
    if isinstance(said.get("bench"), dict):
        said["bench"]["model"] = _benched(said["bench"].get("model"), known.models, source)
    return said


def _training(table: Mapping[str, Any], known: _Known) -> dict[str, Table]:
    """What the stages know that make a student."""
    teacher, data, distill, first = table["teacher"], table.get("data"), table.get("distill"), known.first
    cached = {"cached_teacher": str(first.teacher_cache)} if "cache_teacher" in table else {"teacher": [teacher]}
    target = {} if first.size is None else {"target_params": first.size}
    prepare = table.get("prepare", {})
    no_text = not isinstance(prepare, dict) or _needs_no_calibration(prepare)
    calibration = {} if no_text else _from_data(table, CALIBRATION, prepare)
    return {
        "prepare": {"teacher": teacher, "output_dir": str(first.prepared), **target, **calibration},
        "cache_teacher": {
            "teacher": teacher,
            "student": known.start,
            "data": data,
            "output_dir": str(first.teacher_cache),
            **_inner(distill, "loss", "temperature"),
            **_inner(distill, "training", "seed"),
            **_mapped(distill),
        },
        "distill": {"student": known.start, "data": data, "output_dir": str(first.student), **cached},
    }


def _measuring(table: Mapping[str, Any], known: _Known) -> dict[str, Table]:
    """What the stages know that make no student: what is expected of it, and what is measured."""
    teacher, students, root = table["teacher"], known.students, known.output_dir
    baseline = [str(known.last.baseline)] if table.get("baseline") is True else []
    held_out = _from_data(table, HELD_OUT, table.get("fidelity"))
    return {
        "plan": {"teacher": teacher, "output_dir": str(root / "plan")},
        "compare": {"teacher": teacher, "student": students, "baseline": baseline, "output_dir": str(root / "compare")},
        "fidelity": {"reference": teacher, "candidate": students, "output_dir": str(root / "fidelity"), **held_out},
        "bench": {"output_dir": str(root / "bench")},
        "report": {"runs": [str(root)], "output_dir": str(root / "report")},
    }


def _variant(stage: str, said: Any, known: _Known, table: Mapping[str, Any]) -> Any:
    """A variant's config, its name made the folder."""
    if not isinstance(said, dict):
        return said
    model = known.models.get(STUDENT, known.models[TEACHER])
    text = _from_data(table, CALIBRATION if stage == "quantize" else PARITY_TEXT, said)
    own = {name: value for name, value in said.items() if name != "name"}
    return {"model": model, "output_dir": known.models[said["name"]], **text, **own}


def _benched(said: Any, models: Mapping[str, str], source: str) -> Any:
    """The models to measure: those that the recipe names, or all."""
    if said is None:
        return list(models.values())
    if not isinstance(said, list):
        return said
    for name in said:
        if name not in models:
            unknown(f"model in {source}: bench.model", str(name), models)
    return [models[name] for name in said]


def _inner(table: Any, name: str, option: str) -> Table:
    inner = table.get(name) if isinstance(table, dict) else None
    return {option: inner[option]} if isinstance(inner, dict) and option in inner else {}


def _mapped(distill: Any) -> Table:
    """The hidden states that the training compares are kept too."""
    weight = _inner(distill, "loss", "feature_weight").get("feature_weight")
    return {"layer_map": _inner(distill, "loss", "layer_map").get("layer_map", "uniform")} if weight else {}


def _from_data(table: Mapping[str, Any], options: Mapping[str, str], said: Any) -> Table:
    """A stage's text is that of [data], unless its own table names another."""
    data, (own, theirs) = table.get("data"), next(iter(options.items()))
    if not isinstance(said, dict) or own in said or not isinstance(data, dict) or theirs not in data:
        return {}
    return {ours: data[theirs] for ours, theirs in options.items() if theirs in data}


def _needs_no_calibration(prepare: Mapping[str, Any]) -> bool:
    """Whether layers are given by number, or the student is a new model."""
    listed = {"keep_layers", "drop_layers"} & prepare.keys()
    return bool(prepare.get("fresh")) or (bool(listed) and not {*SIZES[2:]} & prepare.keys())
