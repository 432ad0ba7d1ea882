"""The documents whose correctness changed, to be leafed through: prompt, options, the right answer, both answers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from distill_eval.report import numbers
from distill_eval.report.escape import clean
from distill_eval.report.flips import Changed, Pair
from distill_eval.report.html.markup import Html, joined, tag
from distill_eval.schema.evals import Sample

MOST_HARMFUL = 20
"""Documents shown per student and task; of beneficial ones a quarter of it."""
MOST_DOCUMENTS = 400
"""In a page, about: with many students and tasks fewer are shown of each."""
LEAST_HARMFUL = 4
MOST_CHARS = 1500
"""Of an answer or a target."""
LINE_CHARS = 90
"""Of a prompt's end, in the line that a document is opened with."""
PER = {"acc_norm": "character", "acc_bytes": "byte"}
"""What lm-eval divides an option's log-likelihood by, under metrics that do so."""
NOT_KEPT = (
    "The prompt was not kept: this evaluation comes from the cache of an older version. To see it, run distill-eval "
    "compare again with the environment variable DISTILL_EVAL_CACHE set to an empty folder."
)


def browser(found: Sequence[Changed], names: Mapping[str, str]) -> Html:
    """Student by student and task by task, what was lost first.

    Args:
        found: What changed; a student's tasks follow each other.
        names: Short name of each model.
    """
    most = max(LEAST_HARMFUL, min(MOST_HARMFUL, MOST_DOCUMENTS // max(1, len(found))))
    parts: list[str] = []
    before = None
    for one in found:
        student = clean(names.get(one.entry.student_ref, one.entry.student_ref))
        if student != before:
            parts.append(tag("h3", student))
            before = student
        parts.append(_task(one, student, most))
    return joined(parts)


def _task(one: Changed, student: str, most: int) -> Html:
    harmful, beneficial = one.harmful[:most], one.beneficial[: max(1, most // 4)]
    counts = f"{_counted(len(harmful), len(one.harmful), 'harmful')}, " + _counted(
        len(beneficial), len(one.beneficial), "beneficial"
    )
    name = tag("strong", clean(one.entry.task))
    summary = tag("summary", name, f" by {clean(one.entry.metric)}: {counts}")
    documents = [_document(one, pair, student, harm=True) for pair in harmful]
    documents += [_document(one, pair, student, harm=False) for pair in beneficial]
    return tag("details", summary, *documents, class_="task")


def _counted(shown: int, number: int, kind: str) -> str:
    return f"{numbers.count(number)} {kind}" + (f" ({shown} shown)" if shown < number else "")


def _document(one: Changed, pair: Pair, student: str, *, harm: bool) -> Html:
    """One document; the teacher's sample holds the prompt, which both were given."""
    sample = pair.teacher
    told = "" if sample.prompt is None else clean(sample.prompt)
    line = told if len(told) <= LINE_CHARS else f"...{told[-LINE_CHARS:]}"
    kind = tag("span", "harmful" if harm else "beneficial", class_="fail" if harm else "pass")
    prompt = tag("p", NOT_KEPT) if sample.prompt is None else _text("Prompt", sample.prompt)
    answers = _options(one, pair, student, harm=harm) if sample.num_options else _answers(one, pair, student)
    summary = tag("summary", f"Document {sample.doc_id}, ", kind, f": {line}" if line else "")
    return tag("details", summary, prompt, answers, class_="document")


def _text(title: str, text: str) -> Html:
    return joined([tag("p", title, class_="label"), tag("pre", text)])


def _options(one: Changed, pair: Pair, student: str, *, harm: bool) -> Html:
    """The options with who chose which; what is right was chosen by the one that is right."""
    chosen = {who: one.scored(sample).answer for who, sample in (("teacher", pair.teacher), (student, pair.student))}
    right = chosen["teacher"] if harm else one.scored(pair.student).answer
    rows = []
    for place in range(pair.teacher.num_options or 0):
        text = pair.teacher.options[place] if place < len(pair.teacher.options) else f"option {place}"
        marks = ["right"] if right == str(place) else []
        marks += [who for who, answer in chosen.items() if answer == str(place)]
        scores = [_loglikelihood(sample, place) for sample in (pair.teacher, pair.student)]
        chips = [part for mark in marks for part in (" ", tag("span", mark, class_="chip"))]
        row = [tag("td", tag("span", text.strip(), class_="option"), *chips)]
        rows.append(tag("tr", *row, *(tag("td", score, class_="number") for score in scores)))
    heads = [tag("th", "option", scope="col")]
    heads += [tag("th", text, scope="col", class_="number") for text in ("teacher", student)]
    per = f" (the choice goes by it per {PER[one.entry.metric]})" if one.entry.metric in PER else ""
    caption = tag(
        "caption", f"Options: which is right, who chose which, and the log-likelihood that each gives it{per}"
    )
    return tag("div", tag("table", caption, tag("thead", tag("tr", *heads)), tag("tbody", *rows)), class_="scroll")


def _loglikelihood(sample: Sample, place: int) -> str:
    if place >= len(sample.responses):
        return numbers.UNDEFINED
    response = json.loads(sample.responses[place])
    value = response[0] if isinstance(response, list) and response else None
    return numbers.fixed(float(value), 2) if isinstance(value, int | float) else numbers.UNDEFINED


def _answers(one: Changed, pair: Pair, student: str) -> Html:
    said = [("Right answer", pair.teacher.target), ("Teacher", _answer(one, pair.teacher))]
    return joined([_text(title, _cut(text)) for title, text in (*said, (student, _answer(one, pair.student)))])


def _answer(one: Changed, sample: Sample) -> str:
    """What the model wrote, or how likely it finds the right continuation; and what was read from it."""
    written = []
    for response in map(json.loads, sample.responses):
        if isinstance(response, list) and len(response) == 2:
            likely = "" if response[1] else "not "
            value = numbers.fixed(float(response[0]), 2)
            written.append(f"the right answer is {likely}its most likely continuation, log-likelihood {value}")
        else:
            written.append(str(response))
    text, read = "\n".join(written), one.scored(sample).answer
    return text if read is None or read.strip() == text.strip() else f"{text}\n\n(read as: {read})"


def _cut(text: str) -> str:
    return text if len(text) <= MOST_CHARS else text[:MOST_CHARS] + "..."
