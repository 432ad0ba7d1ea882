"""The page in a real headless Chromium: on a phone, in the dark, on paper, by keyboard, and without a network."""

import json
import shutil

import pytest
from fakes.tiny_families import save
from fakes.tiny_tasks import documents, write_tasks
from unit.report.conftest import make_entry, make_estimate, make_model, make_retention, make_verdict
from unit.report.made import baseline, trained
from unit.report.made_page import NAMES, STUDENT, Seen, entry_of, facts, report, speed, variant
from unit.report.made_page import documents as answered
from unit.report.test_report_html import stored

from distill_eval.cli import main
from distill_eval.report.flips import changed
from distill_eval.report.html.browser import NOT_KEPT
from distill_eval.report.html.page import render
from distill_eval.schema.bench import BenchRun
from distill_eval.schema.fidelity import Fidelity
from distill_eval.schema.quant import QuantRun
from distill_eval.schema.retention import Finding

HOSTILE = (
    "</pre><script>document.title = 'broken'</script><img src=http://127.0.0.1:9/x.png onerror=\"document.title = 1\">"
)
WIDE = "a_very_long_name_without_any_place_to_break_it_" * 4
ROWS = {"student": (0.97, 1.5), "student-w8a8": (0.96, 2.4), "student-w4a16": (0.9, 0.6), WIDE: (0.5, 1.1)}
NEW = ("prompt", "options")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A page with everything that a page can have."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render(everything(), {"r": [changes()]}), encoding="utf-8")
    return path


def changes():
    return changed(entry_of("LLWLLLLL===="), *answered("LLWLLLLL====", prompt=HOSTILE + WIDE), source="")


def everything():
    """Several variants, of one of which the speed is not known, and stored artifacts."""
    rows = [variant("SmolLM2-135M-Instruct", "teacher", speeds=(speed(),), on_frontier=True, size_ratio=1.0)]
    for place, (name, (kept, ratio)) in enumerate(ROWS.items()):
        rows.append(
            variant(
                name,
                retention=make_estimate(kept, 0.02),
                speeds=() if name == "student-w4a16" else (speed(ratio),),
                size_ratio=1 / (place + 1),
                size_bytes=269_060_552 // (place + 1),
                verdict="PASS" if kept > 0.95 else "FAIL",
                on_frontier=kept > 0.95,
            )
        )
    tasks = [entry_of("LLWLLLLL====")] + [make_entry(STUDENT, name) for name in ("hellaswag", "piqa", WIDE)]
    compared = make_retention(
        (make_model(STUDENT),), tuple(tasks), verdicts=(make_verdict(STUDENT, "FAIL", (0, 4, 0)),)
    )
    quants = {
        f"runs/{name}/quant.json": stored(QuantRun, f"2026-11-26-smollm2-variants/{name}/quant.json")
        for name in ("w8a8", "w4a16", "nf4")
    }
    return facts(
        report=report(
            *rows,
            load="concurrency 4",
            findings=(Finding(weight="high", subject=WIDE, text=HOSTILE),),
            recipe=f"[distill]\nteacher = '{WIDE}'\n",
        ),
        retentions={"r": compared},
        benches={"b": stored(BenchRun, "2026-11-26-smollm2-serving/bench.json")},
        fidelities={"f": stored(Fidelity, "2026-11-26-smollm2-variants/fidelity.json")},
        trainings={"student": trained(), "plain": baseline()},
        quants=quants,
        models={f"runs/{name}/quant.json": name for name in ("w8a8", "w4a16", "nf4")},
        names=NAMES,
    )


def rows_of(chromium):
    """The first cells of the table of variants."""
    return chromium.run(
        "[...document.querySelectorAll('#variants tbody th')].map((cell) => cell.textContent.slice(0, 13))"
    )


def heading(chromium, name):
    """A script expression for the button in a heading of the table of variants."""
    return (
        f"[...document.querySelectorAll('#variants thead button')].find((one) => one.textContent.startsWith('{name}'))"
    )


def sorting(chromium):
    """Of each heading that says one."""
    return chromium.run("[...document.querySelectorAll('#variants th[aria-sort]')].map((one) => one.ariaSort)")


def test_nothing_is_asked_for_and_nothing_complained_of(chromium, page):
    chromium.show(width=1280)
    chromium.open(page)
    assert [url for url in chromium.requests if not url.startswith("data:")] == [page.resolve().as_uri()]
    assert chromium.complaints == []
    assert chromium.run("document.title") == "What was kept of SmolLM2-135M-Instruct"
    assert chromium.run("document.querySelectorAll('svg').length") == 7


def test_a_heading_sorts_by_click_down_up_and_back(chromium, page):
    chromium.show(width=1280)
    chromium.open(page)
    before = rows_of(chromium)
    down = [name[:13] for name in sorted(ROWS, key=lambda name: -ROWS[name][0])]
    for expected, order in (
        (["descending"], [*down, before[0]]),
        (["ascending"], [*down[::-1], before[0]]),
        ([], before),
    ):
        chromium.run(f"{heading(chromium, 'retention (mean)')}.click()")
        assert sorting(chromium) == expected
        assert rows_of(chromium) == order  # the teacher has no retention, and stays last


def test_a_heading_sorts_by_keyboard(chromium, page):
    chromium.show(width=1280)
    chromium.open(page)
    chromium.run(f"{heading(chromium, 'variant')}.focus()")
    chromium.press("Enter", 13)
    assert sorting(chromium) == ["ascending"]
    first = rows_of(chromium)
    assert first == sorted(first, key=str.lower)
    chromium.press(" ", 32)
    assert rows_of(chromium) == first[::-1]
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert chromium.run(outline) != "none"


def test_a_document_opens_by_keyboard_and_its_prompt_is_text(chromium, page):
    chromium.show(width=1280)
    chromium.open(page)
    for kind in ("task", "document"):
        chromium.run(f"document.querySelector('details.{kind} > summary').focus()")
        chromium.press("Enter", 13)
        assert chromium.run(f"document.querySelector('details.{kind}').open")
    assert chromium.run("document.querySelector('details.document pre').textContent") == HOSTILE + WIDE
    assert chromium.run("document.title") == "What was kept of SmolLM2-135M-Instruct"


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_the_page_is_never_wider_than_the_screen(chromium, page, width):
    chromium.show(width=width, mobile=width < 500)
    chromium.open(page)
    chromium.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert chromium.run("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    assert chromium.run("window.innerWidth") == width
    small = (
        "[...document.querySelectorAll('summary, thead button, nav a')].filter((one) => one.offsetHeight < 24).length"
    )
    assert chromium.run(small) == 0  # WCAG 2.2, 2.5.8: targets of 24 pixels


def luminance(color):
    """Of `rgb(r, g, b)`, by WCAG 2.2."""
    shares = [int(part) / 255 for part in color.removeprefix("rgb(").removesuffix(")").split(",")]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_light_and_dark_have_colors_of_their_own_that_can_be_read(chromium, page):
    found = {}
    for dark in (False, True):
        chromium.show(width=1280, dark=dark)
        chromium.open(page)
        ground = chromium.run("getComputedStyle(document.body).backgroundColor")
        for kind in ("body", "a", ".pass", ".fail", ".notes li", "figcaption", "caption"):
            color = chromium.run(f"getComputedStyle(document.querySelector('{kind}')).color")
            assert contrast(color, ground) >= 4.5, (kind, dark)
        chart = chromium.run("getComputedStyle(document.querySelector('svg .page')).fill")
        found[dark] = ground, chart
    assert luminance(found[False][0]) > 0.9 > 0.1 > luminance(found[True][0])
    assert found[False][1] != found[True][1]


def test_paper_has_the_charts_and_not_what_is_to_be_clicked(chromium, page, tmp_path):
    chromium.show(width=1030, media="print", dark=True)  # A4, lengthwise, within its margins
    chromium.open(page)
    chromium.run("document.querySelectorAll('details').forEach((one) => { one.open = false; })")
    shown = "(one) => one.getBoundingClientRect().height > 0"
    assert chromium.run(f"[...document.querySelectorAll('nav, #flips')].some({shown})") is False
    assert chromium.run(f"[...document.querySelectorAll('.printed svg')].every({shown})") is True
    assert chromium.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    chromium.run("document.querySelectorAll('details.printed').forEach((one) => { one.open = true; })")
    assert chromium.run("document.documentElement.scrollWidth") <= 1030
    chromium.paper(tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF-")


def test_without_scripts_all_of_it_can_be_read(chromium, page):
    chromium.show(width=1280)
    chromium.scripts(on=False)
    try:
        chromium.open(page)
        assert chromium.run("document.querySelectorAll('thead button').length") == 0
        assert len(rows_of(chromium)) == 1 + len(ROWS)
        assert chromium.run("document.querySelector('.verdict').offsetHeight") > 20
    finally:
        chromium.scripts(on=True)


# ---- from the command line


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A folder with a real comparison of tiny models."""
    root = tmp_path_factory.mktemp("compared")
    write_tasks(root / "tasks")
    for seed, name in enumerate(("teacher", "student")):
        save("llama", root / name, seed=seed)
    models = [f"--teacher={root / 'teacher'}", f"--student={root / 'student'}"]
    tasks = ["--tasks=tiny_mc,tiny_cloze,tiny_gen,tiny_text", f"--include-path={root / 'tasks'}"]
    assert main(["compare", *models, *tasks, f"--output-dir={root / 'out'}"]) == 0
    return root


def documents_of(page, task):
    """(kind, prompt) of each document of a task, as the page shows them."""
    shown = Seen(page.read_text(encoding="utf-8"))
    start = next(n for n, e in enumerate(shown.elements) if e.tag == "summary" and e.text.startswith(f"{task} by"))
    found, kind = [], None
    for element in shown.elements[start + 1 :]:
        if element.tag == "summary" and not element.text.startswith("Document"):
            break
        if element.tag == "summary":
            kind = element.text.partition(", ")[2].partition(":")[0]
        if element.tag == "pre" and kind is not None:
            found.append((kind, element.text.removeprefix("\n")))
            kind = None
    return found


def test_report_shows_the_documents_that_compare_left_beside_its_facts(compared, tmp_path, capsys):
    assert main(["report", str(compared / "out"), "--html", f"--output-dir={tmp_path}"]) == 0
    page = tmp_path / "report.html"
    assert f"Page: {page}" in capsys.readouterr().out.replace("\n", "")
    questions = [f"Question: {doc['question']}\nAnswer:" for doc in documents("tiny_mc", 20)]
    facts = json.loads((compared / "out" / "retention.json").read_text())
    (entry,) = [e for e in facts["entries"] if e["task"] == "tiny_mc" and e["primary"]]
    shown = documents_of(page, "tiny_mc")
    kinds = [kind for kind, _ in shown]
    assert kinds.count("harmful") == entry["flips"]["num_harmful"] > 0
    assert kinds.count("beneficial") == min(5, entry["flips"]["num_beneficial"]) > 0
    assert {prompt for _, prompt in shown} <= set(questions)
    samples = {}
    for role in ("teacher", "student"):
        lines = (compared / "out" / f"samples-{role}-{role}-tiny_mc.jsonl").read_text().splitlines()
        metric = [next(m for m in json.loads(line)["metrics"] if m["metric"] == entry["metric"]) for line in lines]
        samples[role] = [one["value"] for one in metric]
    lost = [
        q for q, before, after in zip(questions, samples["teacher"], samples["student"], strict=True) if before > after
    ]
    assert [prompt for kind, prompt in shown if kind == "harmful"] == lost


def test_samples_keep_prompts_of_documents_and_none_of_whole_texts(compared):
    kept = {}
    for task in ("tiny_mc", "tiny_cloze", "tiny_gen", "tiny_text"):
        line = (compared / "out" / f"samples-teacher-teacher-{task}.jsonl").read_text().splitlines()[0]
        doc, sample = next(iter(documents(task, 20))), json.loads(line)
        kept[task] = sample["prompt"], sample["options"], doc
    prompt, options, doc = kept["tiny_mc"]
    assert (prompt, options) == (f"Question: {doc['question']}\nAnswer:", [f" {choice}" for choice in doc["choices"]])
    for task in ("tiny_cloze", "tiny_gen"):
        prompt, options, doc = kept[task]
        assert (prompt, options) == (doc["question"], [])
    assert kept["tiny_text"][:2] == (None, [])


def test_samples_of_before_are_read_and_of_another_run_refused(compared, tmp_path, capsys):
    old = shutil.copytree(compared / "out", tmp_path / "old")
    for path in old.glob("samples-*.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps({k: v for k, v in one.items() if k not in NEW}) + "\n" for one in lines))
    assert main(["report", str(old), "--html", f"--output-dir={tmp_path / 'report'}"]) == 0
    page = (tmp_path / "report" / "report.html").read_text()
    assert NOT_KEPT.replace("'", "&#x27;") in page
    taken = old / "samples-student-student-tiny_mc.jsonl"
    taken.write_text((old / "samples-teacher-teacher-tiny_mc.jsonl").read_text())
    capsys.readouterr()
    assert main(["report", str(old), "--html", f"--output-dir={tmp_path / 'again'}"]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert (
        "do not belong to their retention.json: 0 harmful and 0 beneficial changes in 20 documents of tiny_mc" in said
    )
    assert not (tmp_path / "again" / "report.md").exists()
