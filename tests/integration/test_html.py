"""The page in a real headless Chromium: on a phone, in the dark, on paper, by keyboard, and without a network."""

import os

import chromium as browser
import pytest
from unit.report.conftest import make_entry, make_estimate, make_model, make_retention, make_verdict
from unit.report.made import baseline, trained
from unit.report.made_page import NAMES, STUDENT, documents, entry_of, facts, report, speed, variant
from unit.report.test_report_html import stored

from distill_eval.report.flips import changed
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


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    path = browser.find()
    if path is None:
        assert os.environ.get("CI") != "true", "CI must have Chromium: apt-get install chromium"
        pytest.skip("no Chromium: apt-get install chromium")
    running = browser.Chromium(path, tmp_path_factory.mktemp("profile"))
    yield running
    running.close()


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A page with everything that a page can have."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render(everything(), {"r": [changes()]}), encoding="utf-8")
    return path


def changes():
    return changed(entry_of("LLWLLLLL===="), *documents("LLWLLLLL====", prompt=HOSTILE + WIDE), source="")


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
    chromium.show(width=700, media="print", dark=True)
    chromium.open(page)
    chromium.run("document.querySelectorAll('details').forEach((one) => { one.open = false; })")
    shown = "(one) => one.getBoundingClientRect().height > 0"
    assert chromium.run(f"[...document.querySelectorAll('nav, #flips')].some({shown})") is False
    assert chromium.run(f"[...document.querySelectorAll('.printed svg')].every({shown})") is True
    assert chromium.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
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
