"""Writes docs/plan.html: the planner and the temperature view in one page, without a server or a network.

python scripts/plan_page.py              the page, with the students of plan_page/students.json
python scripts/plan_page.py --students   propose the students anew first, which takes minutes
python scripts/plan_page.py --check      write nothing, and exit 1 where the page is not what this writes

Every formula of the page is a function of the package, which `to_js` translates; sizes, hardware, anchors and the fit
are its data. What is written by hand in plan_page/ shows them.
"""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

from to_js import Translation

from distill_eval.errors import UsageError
from distill_eval.plan import advice, expected, fit, memory, pair, quality, room, serving, sizes, soft, training
from distill_eval.plan.anchors import anchors
from distill_eval.plan.config import HardwarePlan, ServingLoad, TrainingPlan
from distill_eval.plan.hardware import devices, find_hardware
from distill_eval.plan.published import published
from distill_eval.plan.students import propose
from distill_eval.record import digits, from_json, record, to_jsonable
from distill_eval.schema.model import ModelRef
from distill_eval.schema.plan import Hardware, ModelSizes, StudentPlan
from distill_eval.student.depth import evenly_spaced, keep_in_config
from distill_eval.student.teacher import Kind, Teacher

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "plan.html"
PARTS = Path(__file__).resolve().parent / "plan_page"
STUDENTS = PARTS / "students.json"
REPORT_CSS = ROOT / "distill_eval" / "report" / "html" / "page.css"
"""The page looks like a report."""
RATIOS = (1.5, 2, 3, 4, 6, 8, 12, 16)
"""At which students are proposed; the slider goes from one to the next."""
FORMULAS: tuple[Callable[..., Any], ...] = (
    advice.assistant,
    advice.two_steps,
    expected.fit_retention,
    memory.peak_memory,
    quality.rule_retention,
    quality.rule_tokens,
    serving.dollars_per_million,
    serving.served_memory,
    serving.speeds,
    sizes.max_requests,
    soft.dark_share,
    soft.divergence,
    soft.entropy,
    soft.soft_loss,
    soft.softened,
    room.checkpoint_bytes,
    training.dollars,
    room.teacher_cache_bytes,
    pair.training_dtype,
    training.has_known_share,
    training.training_flops,
    training.training_seconds,
    Hardware,
    ServingLoad,
    TrainingPlan,
)


_DISTILBERT = "distilbert/distilbert-base-uncased"


class Example(NamedTuple):
    """A teacher to begin with, and the student that its name promises."""

    title: str
    teacher: str
    kind: Kind
    student: str | int
    """A published model, or layers that stay."""
    hardware: str
    num_devices: int
    """One of the table on which it can be tried; no advice."""
    max_length: int


EXAMPLES = (
    Example("SmolLM2-135M to half its depth", "HuggingFaceTB/SmolLM2-135M", "causal", 15, "L4", 1, 1024),
    Example("BERT base to DistilBERT", "google-bert/bert-base-uncased", "classifier", _DISTILBERT, "L4", 1, 128),
    Example("BERT large to DistilBERT", "google-bert/bert-large-uncased", "classifier", _DISTILBERT, "L4", 1, 128),
    Example("Qwen2.5 7B to 1.5B", "Qwen/Qwen2.5-7B", "causal", "Qwen/Qwen2.5-1.5B", "A100-80GB", 1, 2048),
    Example("Llama 3.1 70B to 8B", "meta-llama/Llama-3.1-70B", "causal", "meta-llama/Llama-3.1-8B", "H200", 8, 2048),
)


class Preset(NamedTuple):
    """An example with everything that the page computes with."""

    title: str
    teacher: ModelSizes
    stops: tuple[tuple[StudentPlan, ...], ...]
    """Of the slider, from the largest students to the smallest; at each the architectures there are."""
    first: int
    """Of the stops: the one that is shown at first."""
    fine_tuned: bool
    cache_bytes_per_token: float | None
    """`None` for a classifier, of which no answers are cached."""
    hardware: str
    num_devices: int
    max_length: int


@record
class Proposed:
    """What plan_page/students.json holds."""

    students: dict[str, tuple[tuple[StudentPlan, ...], ...]]
    """By teacher: at each of `RATIOS` that has any."""


def render() -> str:
    """The page."""
    text = (PARTS / "page.html").read_text(encoding="utf-8")
    script = "\n".join((PARTS / name).read_text(encoding="utf-8") for name in ("show.js", "chart.js", "page.js"))
    prelude = (PARTS / "prelude.js").read_text(encoding="utf-8")
    css = REPORT_CSS.read_text(encoding="utf-8") + (PARTS / "page.css").read_text(encoding="utf-8")
    parts = {"{{css}}": css, "{{script}}": f'"use strict";\n{prelude}\n{formulas()}\n{script}'}
    for place, part in parts.items():
        text = text.replace(place, part.rstrip())
    return text


def formulas() -> str:
    """All formulas, and the data that they are used with."""
    script = Translation()
    script.add(*FORMULAS)
    script.constant("PRESETS", presets())
    script.constant("DEVICES", [find_hardware(HardwarePlan(hardware=name)) for name in devices()])
    script.constant("ANCHORS", anchors())
    script.constant("FIT", rounded(expected.anchors_fit()))
    script.constant("FIT_TEXT", expected.fit_text())
    kinds = {str(kind).lower(): kind for kind in (False, True)}
    script.constant("REACH", {name: expected.reach(fine_tuned=kind) for name, kind in kinds.items()})
    script.constant("UNSEEN", {name: expected.unseen_text(fine_tuned=kind) for name, kind in kinds.items()})
    script.constant("RULE_SOURCE", quality.RULE)
    script.constant("LAMBDA", quality.LAMBDA)
    script.constant("LEVEL", fit.LEVEL)
    script.constant("METHODS", {name: cost for name, cost in advice.COST.items() if name != "progressive"})
    script.constant("UNCOUNTED", pair.UNCOUNTED)
    script.constant("TEACHER_DTYPES", serving.TEACHER_DTYPES)
    script.constant("STUDENT_DTYPES", serving.STUDENT_DTYPES)
    script.constant("GPU_SHARE", training.GPU_SHARE)
    script.constant("GPU_SHARE_LOW", training.GPU_LOW)
    script.constant("GPU_SHARE_HIGH", training.GPU_HIGH)
    script.constant("GPU_SHARE_SOURCE", training.GPU_SHARE_SOURCE)
    return script.text()


def rounded(value: Any) -> Any:
    """A fit with the digits that every machine's linear algebra gives alike."""
    if isinstance(value, float):
        return digits(value)
    if isinstance(value, tuple):
        return tuple(map(rounded, value))
    if isinstance(value, fit.Fit):
        return fit.Fit(**{field.name: rounded(getattr(value, field.name)) for field in fields(value)})
    return value


def presets() -> tuple[Preset, ...]:
    """The examples, with the sizes of all models."""
    stored = from_json(Proposed, STUDENTS.read_bytes(), source=str(STUDENTS))
    return tuple(_preset(one, stored.students[one.teacher]) for one in EXAMPLES)


def _preset(one: Example, proposed: tuple[tuple[StudentPlan, ...], ...]) -> Preset:
    teacher = _teacher(one)
    whole = sizes.model_sizes(teacher.config, one.kind, name=one.teacher, source=_published(one.teacher)[1])
    named = _named(one, teacher, whole)
    stops = sorted([*proposed, (named,)], key=lambda stop: stop[0].compression)
    cached = None if whole.kv_cache is None else memory.cache_bytes_per_token(whole.vocab_size)
    return Preset(
        title=one.title,
        teacher=whole,
        stops=tuple(stops),
        first=stops.index((named,)),
        fine_tuned=one.kind == "classifier",
        cache_bytes_per_token=cached,
        hardware=one.hardware,
        num_devices=one.num_devices,
        max_length=one.max_length,
    )


def _teacher(one: Example) -> Teacher:
    config, _ = _published(one.teacher)
    return Teacher(ModelRef.parse(one.teacher), config, one.kind, config.architectures[0])


def _published(name: str) -> tuple[Any, str]:
    found = published(name)
    assert found is not None, name
    return found


def _named(one: Example, teacher: Teacher, whole: ModelSizes) -> StudentPlan:
    """The student of the example's title."""
    if isinstance(one.student, str):
        config, source = _published(one.student)
        name, why = one.student, "Published under this name; it needs no prepare."
        models = f"--student {one.student} --teacher {one.teacher}"
        prepare = f"distill-eval distill {models} --data texts.jsonl --output-dir distilled"
    else:
        config, source = copy.deepcopy(teacher.config), "the teacher's config with these layers"
        kept = evenly_spaced(one.student, config.num_hidden_layers)
        keep_in_config(config, kept)
        name, why = f"{one.student} of the teacher's layers", "Half of its layers, spread evenly."
        layers = ",".join(map(str, kept))
        prepare = f"distill-eval prepare --teacher {one.teacher} --output-dir student --keep-layers {layers}"
    found = sizes.model_sizes(config, one.kind, name=name, source=source)
    return StudentPlan(sizes=found, compression=whole.parts.total / found.parts.total, why=why, prepare=prepare)


def propose_all() -> Proposed:
    """The students of all examples, searched for."""
    return Proposed(students={one.teacher: tuple(proposals(one)) for one in EXAMPLES})


def proposals(one: Example) -> Iterator[tuple[StudentPlan, ...]]:
    """At each ratio that has any."""
    teacher = _teacher(one)
    total = sizes.model_sizes(teacher.config, one.kind, name=one.teacher, source="").parts.total
    for ratio in RATIOS:
        with suppress(UsageError):  # no student is so small
            yield propose(teacher, round(total / ratio))


def main(argv: list[str]) -> int:
    """Write the page, or check it."""
    if "--students" in argv:
        STUDENTS.write_text(json.dumps(to_jsonable(propose_all()), indent=1) + "\n", encoding="utf-8")
    if "--check" in argv:
        fresh = PAGE.read_text(encoding="utf-8") == render()
        print(f"{PAGE} is {'up to date' if fresh else 'stale: run python scripts/plan_page.py'}")
        return 0 if fresh else 1
    PAGE.write_text(render(), encoding="utf-8")
    print(f"wrote {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
