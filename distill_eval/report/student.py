"""How a student was made: the text of `student.md`, and `layers.svg` beside it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from distill_eval.report import escape, numbers
from distill_eval.report.bars import BarChart, Bars, draw_bars
from distill_eval.report.frame import Reference
from distill_eval.report.sections import folded, how_to_repeat, plain_table, settings_table, short_names
from distill_eval.report.svg import picture
from distill_eval.schema.student import Axis, ChannelGroup, StudentInit

TEXT, PICTURE = "student.md", "layers.svg"
TOWERS = 4.0
"""Bars are cut at this many times the median when the highest is twice that: a first layer is often 30 times as
important as the others, which are to be told apart."""

MEASURES = {"block-influence": "block influence", "loss": "rise of the loss without it"}
AXES: dict[Axis, str] = {
    "ffn": "feed-forward neurons",
    "heads": "key and value heads, each with its query heads",
    "hidden": "hidden channels",
    "pooled": "neurons before the labels",
}
SHAPE = {
    "num_layers": "layers",
    "hidden_size": "hidden size",
    "ffn_size": "feed-forward size",
    "num_heads": "query heads",
    "num_kv_heads": "key and value heads",
    "head_dim": "head size",
}
LOSSES = {"cross_entropy": "nats per token", "kl_to_teacher": "nats per text from the teacher's answers"}


def files(student: StudentInit) -> dict[str, str]:
    """What stands beside `student.json`, by name; a student of which nothing was ranked or removed has no picture."""
    drawn = draw(student)
    return ({PICTURE: drawn} if drawn is not None else {}) | {TEXT: render(student)}


def draw(student: StudentInit) -> str | None:
    """Importance per layer, and the share of it that was removed within each; `None` where there is neither."""
    charts = [chart for chart in (_layer_chart(student), _channel_chart(student)) if chart is not None]
    if not charts:
        return None
    told = f"{_sentence(student)} The numbers are in {TEXT} and student.json."
    return picture(f"A student of {_teacher(student)}", told, [draw_bars(chart) for chart in charts])


def _layer_chart(student: StudentInit) -> BarChart | None:
    importance = student.layer_importance
    if importance is None:
        return None
    middle = statistics.median(abs(value) for value in importance)
    dropped = frozenset(student.dropped_layers)
    stays = tuple(None if layer in dropped else value for layer, value in enumerate(importance))
    goes = tuple(value if layer in dropped else None for layer, value in enumerate(importance))
    return BarChart(
        title=f"Importance of each layer of {_teacher(student)}",
        y_title=_measure(student),
        x_title="layer",
        categories=tuple(str(layer) for layer in range(len(importance))),
        series=(Bars("stays", stays), *([Bars("dropped", goes, hollow=True)] if dropped else [])),
        exclusive=True,
        ceiling=TOWERS * middle if max(importance) > 2 * TOWERS * middle > 0 else None,
    )


def _channel_chart(student: StudentInit) -> BarChart | None:
    per_layer = [group for group in student.channels if group.layer is not None]
    whole = [group for group in student.channels if group.layer is None and group.removed_share is not None]
    if not per_layer:
        return None
    layers = range(1 + max(group.layer for group in per_layer if group.layer is not None))
    series = []
    for axis in dict.fromkeys(group.axis for group in per_layer):
        removed = {group.layer: group.removed_share for group in per_layer if group.axis == axis}
        shares = tuple(None if (share := removed.get(layer)) is None else 100 * share for layer in layers)
        series.append(Bars(axis, shares))
    return BarChart(
        title="Importance that went with the removed channels",
        y_title="% of the layer's importance",
        x_title="layer",
        categories=tuple(str(layer) for layer in layers),
        series=tuple(series),
        references=tuple(Reference(f"{group.axis}, all layers", 100 * (group.removed_share or 0)) for group in whole),
    )


def render(student: StudentInit) -> str:
    """The text, ending in a newline; the same record gives the same bytes."""
    teacher = escape.name(_teacher(student))
    drawn = [f"![Importance of layers and channels]({PICTURE})"] if draw(student) is not None else []
    sections = [
        f"# A student of {teacher}, before training",
        f"> {_sentence(student, teacher)}",
        _sizes(student),
        *drawn,
        *_layers(student),
        *_channels(student),
        _how(student),
        how_to_repeat([student.provenance]),
    ]
    return "\n\n".join(sections) + "\n"


def _teacher(student: StudentInit) -> str:
    ref = str(student.teacher)
    return short_names([ref])[ref]


def _measure(student: StudentInit) -> str:
    assert student.layer_measure is not None  # there is one where there is importance
    return MEASURES[student.layer_measure] + (" (nats)" if student.layer_measure == "loss" else "")


def _sentence(student: StudentInit, teacher: str | None = None) -> str:
    """What was done, in a sentence or two; `teacher` is its name as it is to be shown."""
    kept, whole = student.student_num_parameters, student.teacher_num_parameters
    parameters = f"{numbers.count(kept)} of {numbers.count(whole)} parameters ({numbers.percent(kept / whole)})"
    num_dropped, num_kept = len(student.dropped_layers), len(student.kept_layers)
    if student.fresh is not None:
        begun = "with random weights" if student.fresh.init == "random" else "begun with the teacher's where they fit"
        done = f"A new model in the likeness of {teacher or _teacher(student)}, {begun}"
    elif num_dropped:
        done = f"{num_kept} of {num_kept + num_dropped} layers stay"
    else:
        done = f"All {numbers.plural(num_kept, 'layer')} stay"
    narrower = ", narrower than they were" if student.channels else ""
    lost = ""
    if student.loss is not None:
        before, after = (numbers.fixed(value, 3) for value in (student.loss.teacher, student.loss.student))
        lost = f" On the calibration text the loss goes from {before} to {after} {LOSSES[student.loss.kind]}."
    return f"{done}{narrower}: {parameters}.{lost}"


def _sizes(student: StudentInit) -> str:
    rows = [
        ("parameters", student.teacher_num_parameters, student.student_num_parameters, numbers.count),
        ("on disk", student.teacher_size_bytes, student.student_size_bytes, numbers.size),
    ]
    before, after = student.teacher_shape, student.student_shape
    if before is not None and after is not None:
        rows += [(name, getattr(before, key), getattr(after, key), numbers.count) for key, name in SHAPE.items()]
    else:
        num_kept = len(student.kept_layers)
        rows.append(("layers", num_kept + len(student.dropped_layers), num_kept, numbers.count))
    table = {
        "": [name for name, _, _, _ in rows],
        "teacher": [show(old) for _, old, _, show in rows],
        "student": [show(new) for _, _, new, show in rows],
        "student / teacher": [numbers.percent(new / old) if old else numbers.UNDEFINED for _, old, new, _ in rows],
    }
    if student.loss is not None:
        table[""].append(f"calibration loss ({LOSSES[student.loss.kind]})")
        table["teacher"].append(numbers.fixed(student.loss.teacher, 3))
        table["student"].append(numbers.fixed(student.loss.student, 3))
        table["student / teacher"].append("")
    return plain_table(table, numeric=frozenset(table) - {""})


def _layers(student: StudentInit) -> list[str]:
    """Each layer's importance, its rank and where it went."""
    if student.fresh is not None:
        return []
    places = {layer: place for place, layer in enumerate(student.kept_layers)}
    layers = range(len(places) + len(student.dropped_layers))
    table = {
        "layer": [str(layer) for layer in layers],
        "in the student": [str(places[layer]) if layer in places else "dropped" for layer in layers],
    }
    if student.layer_importance is not None:
        table[_measure(student)] = [numbers.fixed(value, 4) for value in student.layer_importance]
        table["rank"] = [str(rank) for rank in _ranks(student.layer_importance)]
    shown = folded(plain_table(table, numeric=frozenset(table)), len(layers))
    return [f"## Layers\n\n{_chosen(student)}\n\n{shown}"]


def _chosen(student: StudentInit) -> str:
    if student.layers_chosen_by is None:
        return "None was dropped."
    if student.layers_chosen_by == "list":
        return "Which layers stay was given as a list."
    return "The layers of least importance were dropped; 1 is the most important."


def _ranks(values: Sequence[float]) -> list[int]:
    """1 for the largest; of equal ones the first."""
    order = sorted(range(len(values)), key=lambda place: (-values[place], place))
    ranks = {place: rank for rank, place in enumerate(order, start=1)}
    return [ranks[place] for place in range(len(values))]


def _channels(student: StudentInit) -> list[str]:
    if not student.channels:
        return []
    groups = student.channels
    table = {
        "what": [AXES[group.axis] for group in groups],
        "layer": ["all" if group.layer is None else str(group.layer) for group in groups],
        "kept": [f"{numbers.count(group.num_after)} of {numbers.count(group.num_before)}" for group in groups],
        "importance removed": [numbers.optional(group.removed_share, numbers.percent) for group in groups],
        "mean of the kept": [f"{group.kept_importance:.4g}" for group in groups],
        "mean of the removed": [f"{group.removed_importance:.4g}" for group in groups],
    }
    text = "Importance is the mean absolute activation on the calibration text. Which channels went is in student.json"
    note = f"{text}{_unlisted(groups)}."
    shown = folded(plain_table(table, numeric=frozenset(table) - {"what"}), len(groups))
    return [f"## Channels\n\n{note}\n\n{shown}"]


def _unlisted(groups: Sequence[ChannelGroup]) -> str:
    hidden = [AXES[axis] for axis in dict.fromkeys(group.axis for group in groups if group.removed is None)]
    return f", except for {' and '.join(hidden)}, which are too many" if hidden else ""


def _how(student: StudentInit) -> str:
    facts = {
        "teacher": str(student.teacher),
        "teacher's commit": student.teacher_commit or "a folder",
        "architecture": student.architecture,
        "dtype": student.dtype,
    }
    if student.target_num_parameters is not None:
        facts["parameters asked for"] = numbers.count(student.target_num_parameters)
    if student.fresh is not None:
        facts["parameters from the teacher"] = numbers.count(student.fresh.num_parameters_from_teacher)
        facts["seed of the weights"] = str(student.fresh.seed)
    text = student.calibration
    if text is not None:
        facts |= {
            "calibration text": f"{text.source}{f', {text.subset}' if text.subset else ''}, split {text.split}",
            "its column": text.text_column,
            "samples": f"{numbers.count(text.num_samples)}, of {numbers.count(text.max_length)} tokens at most",
            "tokens": numbers.count(text.num_tokens),
            "seed of the choice": str(text.seed),
            "SHA-256 of the tokens": text.digest[:12],
        }
    return "## How it was made\n\n" + settings_table(facts)
