"""Small records for a page: a comparison with the documents behind its flips, and the page as a parser reads it."""

from dataclasses import replace
from html.parser import HTMLParser
from types import SimpleNamespace

from fakes import subjects
from unit.report.conftest import make_entry, make_estimate, make_model, make_retention, make_verdict

from distill_eval.report.flips import changed
from distill_eval.schema.bench import Ratio
from distill_eval.schema.evals import MetricSample, Sample
from distill_eval.schema.report import Report, Source, Speed
from distill_eval.schema.retention import Finding, Flips, Provenance

TEACHER, STUDENT = "HuggingFaceTB/SmolLM2-135M-Instruct", "runs/demo/student"
NAMES = {TEACHER: "SmolLM2-135M-Instruct", STUDENT: "student"}


def entry_of(outcomes, task="arc_easy", **changes):
    """An entry whose documents are lost (`L`), won (`W`), or as before (`=` right, `x` wrong)."""
    flips = Flips(num_harmful=outcomes.count("L"), num_beneficial=outcomes.count("W"), num_wrong_to_other_wrong=None)
    return make_entry(STUDENT, task, num_pairs=len(outcomes), flips=flips, **changes)


def documents(outcomes, task="arc_easy", prompt="Question {place}: which is right?\nAnswer:", num_options=3, right=1):
    """Both models' samples; option 1 is right, and who is wrong chooses option 0."""
    both = []
    for good in ("L=", "W="):
        samples = []
        for place, outcome in enumerate(outcomes):
            value = float(outcome in good)
            answer = None if num_options is None else "1" if value else "0"
            samples.append(
                Sample(
                    task=task,
                    doc_id=place,
                    doc_hash=f"hash {place}",
                    num_options=num_options,
                    metrics=(MetricSample(metric="acc", filter="none", value=float(value == right), answer=answer),),
                    target="1",
                    responses=("[-3.5, false]", "[-2.25, true]", "[-9.0, false]"),
                    prompt=None if prompt is None else prompt.replace("{place}", str(place)),
                    options=() if num_options is None else (" a stone", " the sun", " a tree"),
                )
            )
        both.append(samples)
    return both


def changes_of(outcomes, **options):
    return changed(entry_of(outcomes), *documents(outcomes, **options), source="two files")


def variant(name, role="student", **changes):
    """A row of the table, of which nothing was measured."""
    unmeasured = dict.fromkeys(("speeds", "peak_bytes"), "it was not benchmarked")
    return subjects.variant(name, name, role, **{"bench_engine": None, "speeds": (), "reasons": unmeasured} | changes)


def speed(value=None, load="concurrency 4"):
    """A speed with a speedup of that value, 10 % either way."""
    ratio = None if value is None else Ratio(value=value, ci_low=0.9 * value, ci_high=1.1 * value, pairs=(value,))
    return Speed(
        load=load,
        ttft_p50_ms=20.0,
        ttft_p99_ms=81.5,
        tpot_p50_ms=5.0,
        tpot_p99_ms=7.5,
        output_throughput=250.0,
        speedup=ratio,
    )


def report(*variants, **changes):
    """A report of these rows, by default of a teacher and one student."""
    rows = variants or (variant("SmolLM2-135M-Instruct", "teacher"), variant("student", verdict="FAIL"))
    made = Report(
        verdict="Do not ship student. It keeps 90.0 % of SmolLM2-135M-Instruct.",
        ship=None,
        variants=rows,
        load=None,
        gate=(),
        findings=(Finding(weight="low", subject="run", text="One."), Finding(weight="high", subject="a", text="Two.")),
        recipe=None,
        sources=(
            Source(kind="retention", path="out/retention.json", digest="ab" * 32, command="distill-eval compare X"),
        ),
        provenance=Provenance(
            command="distill-eval report out", versions={"torch": "2.13.0"}, hardware="cpu, 2 threads", git_commit=None
        ),
    )
    return replace(made, **changes)


def facts(**changes):
    """What `render` takes: a comparison of 12 documents and nothing else."""
    entry = entry_of("LLW=x=======", retention=make_estimate(0.9, 0.04))
    compared = make_retention((make_model(STUDENT),), (entry,), verdicts=(make_verdict(STUDENT, "FAIL", (0, 1, 0)),))
    made_by = {"out/retention.json": compared.provenance}
    empty = {"fidelities": {}, "benches": {}, "trainings": {}, "quants": {}, "checks": {}}
    made = {
        "report": report(),
        "retentions": {"out/retention.json": compared},
        "names": NAMES,
        "made": made_by,
        "models": {},
        **empty,
    }
    return SimpleNamespace(**made | changes)


class Seen(HTMLParser):
    """A page as a parser reads it: every element with its attributes and text."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.elements, self._open = [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        element = SimpleNamespace(tag=tag, attrs=dict(attrs), text="")
        self.elements.append(element)
        if tag not in ("meta", "link", "br", "col"):
            self._open.append(element)

    def handle_endtag(self, tag):
        assert self._open.pop().tag == tag

    def handle_data(self, data):
        for element in self._open:
            element.text += data

    def all(self, tag, **attrs):
        """The elements with that name and these attributes."""
        wanted = {key.rstrip("_"): value for key, value in attrs.items()}
        return [e for e in self.elements if e.tag == tag and wanted.items() <= e.attrs.items()]

    def texts(self, tag, **attrs):
        return [element.text for element in self.all(tag, **attrs)]
