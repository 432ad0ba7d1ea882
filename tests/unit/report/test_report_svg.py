"""Charts: where bars and lines end, what is written on them, and that foreign text stays text."""

import re
from itertools import pairwise

import pytest
from unit.report.made import HOSTILE
from unit.report.pictures import find, heights, parse, points, texts

from distill_eval.report.bars import BarChart, Bars, draw_bars
from distill_eval.report.frame import Reference
from distill_eval.report.lines import Line, LineChart, draw_lines
from distill_eval.report.svg import CHAR, STYLE, fitted, picture, text_width


def bars(*series, categories=None, **options):
    names = categories or tuple(str(place) for place in range(len(series[0].values)))
    chart = BarChart("A title", "unit", "layer", names, series, **options)
    return parse(picture("Name", "What it shows", [draw_bars(chart)]))


def lines(*series, **options):
    return parse(
        picture("Name", "What it shows", [draw_lines(LineChart("A title", "unit", "step", series, **options))])
    )


def test_bars_are_as_high_as_their_values():
    root = bars(Bars("a", (1.0, 2.0, None, -1.0)))
    found = heights(root, "mark s0")
    assert found["layer 1: 2.00"] == pytest.approx(2 * found["layer 0: 1.00"], abs=0.11)
    assert found["layer 3: -1.00"] == pytest.approx(found["layer 0: 1.00"], abs=0.11)
    assert len(found) == 3
    zero = float(find(root, "line", "axis")[0].get("y1"))
    tops = [float(bar.get("y")) for bar in find(root, "rect", "mark")]
    assert tops[2] == zero > tops[0]


def test_bars_of_two_series_stand_side_by_side_or_alone():
    pair = (Bars("a", (1.0, 2.0)), Bars("b", (2.0, 1.0)))
    widths = [float(bar.get("width")) for bar in find(bars(*pair), "rect", "mark") if float(bar.get("height")) > 10]
    root = bars(Bars("a", (1.0, None)), Bars("b", (None, 1.0), hollow=True), exclusive=True)
    alone = [float(bar.get("width")) for bar in find(root, "rect", "mark") if float(bar.get("height")) > 10]
    assert widths == pytest.approx([alone[0] / 2] * 4, abs=0.1)
    assert list(heights(root, "mark hollow s1")) == ["layer 1, b: 1.00"]


def test_a_tower_is_cut_and_says_how_high_it_is():
    root = bars(Bars("a", (9.0, 0.5, 1.0)), ceiling=1.0)
    found = heights(root, "mark")
    assert found["layer 0: 9.00"] == found["layer 2: 1.00"] == pytest.approx(2 * found["layer 1: 0.500"], abs=0.1)
    assert "9.00" in texts(root)
    assert len(find(root, "line", "break")) == 1
    assert not find(bars(Bars("a", (9.0, 0.5, 1.0))), "line", "break")


def test_values_of_neighbouring_towers_do_not_touch():
    root = bars(Bars("a", (9.0,) * 8 + (0.5,) * 60), ceiling=1.0)
    labels = [text for text in find(root, "text") if text.text == "9.00"]
    assert 2 <= len(labels) < 8
    for row in {text.get("y") for text in labels}:
        ends = sorted(float(text.get("x")) for text in labels if text.get("y") == row)
        assert all(b - a >= 4 * CHAR for a, b in pairwise(ends))


@pytest.mark.parametrize(("count", "name"), [(6, "{}"), (30, "{}"), (126, "{}"), (12, "a long name of a category, {}")])
def test_labels_of_categories_do_not_touch(count, name):
    categories = tuple(name.format(place) for place in range(count))
    root = bars(Bars("a", (1.0,) * count), categories=categories)
    base = float(find(root, "line", "axis")[0].get("y1"))
    labels = [text for text in find(root, "text") if base + 10 < float(text.get("y")) < base + 25]
    spans = [(float(text.get("x")), text_width(text.text) / 2) for text in labels]
    assert len(spans) >= 3
    assert all(a + w < b - v for (a, w), (b, v) in pairwise(spans))


def test_a_line_goes_through_its_points():
    line = Line("a", ((0.0, 10.0), (50.0, 0.0), (100.0, 5.0)))
    (found,) = find(lines(line), "polyline")
    (x0, y0), (x1, y1), (x2, y2) = points(found)
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.1)
    assert y1 - y0 == pytest.approx(2 * (y1 - y2), abs=0.2)


def test_equal_factors_fall_equally_on_a_logarithmic_chart():
    (found,) = find(lines(Line("a", ((0.0, 1000.0), (1.0, 100.0), (2.0, 10.0))), log=True), "polyline")
    ys = [y for _, y in points(found)]
    assert ys[1] - ys[0] == pytest.approx(ys[2] - ys[1], abs=0.1)


def test_the_teachers_level_lies_where_its_value_is():
    root = lines(Line("a", ((0.0, 4.0), (10.0, 2.0))), references=(Reference("teacher", 3.0),))
    level = find(root, "line", "reference")[-1]
    ys = [y for _, y in points(find(root, "polyline")[0])]
    assert float(level.get("y1")) == pytest.approx(sum(ys) / 2, abs=0.1)
    assert "teacher 3.00" in texts(root)


def test_legends_wrap_and_stay_in_the_picture():
    names = [f"a rather long name of a run, number {number}" for number in range(6)]
    root = lines(*(Line(name, ((0.0, 1.0), (1.0, 2.0))) for name in names))
    placed = [text for text in find(root, "text") if text.text in names]
    assert len(placed) == 6
    assert len({(text.get("x"), text.get("y")) for text in placed}) == 6
    assert all(float(text.get("x")) + text_width(text.text) <= 560 for text in placed)
    assert not [text for text in texts(lines(Line("alone", ((0.0, 1.0), (1.0, 2.0))))) if text == "alone"]


def test_long_names_keep_both_ends():
    name = "student-of-a-large-model-" + "x" * 100 + "-temperature-2"
    shown = fitted(name, 200)
    assert text_width(shown) <= 200
    assert shown.startswith("student")
    assert shown.endswith("-2")
    assert fitted("short", 200) == "short"
    assert fitted("anything", 1) == "..."


def test_foreign_text_stays_text():
    root = lines(
        Line(HOSTILE, ((0.0, 1.0), (1.0, 2.0))), Line("b", ((0.0, 1.0),)), references=(Reference(HOSTILE, 1.0),)
    )
    shown = " ".join(text.text for text in root.iter() if text.text)
    assert 'a|b<script>alert(1)</script> `x``y` [x](javascript:1) & "q" </text>\'' in shown
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", shown)
    parse(
        picture(
            HOSTILE, HOSTILE, [draw_bars(BarChart(HOSTILE, HOSTILE, HOSTILE, (HOSTILE,), (Bars(HOSTILE, (1.0,)),)))]
        )
    )


def test_a_picture_has_a_name_and_a_description_and_tells_light_from_dark():
    root = lines(Line("a", ((0.0, 1.0), (1.0, 2.0))))
    assert root.get("role") == "img"
    assert [child.text for child in root[:2]] == ["Name", "What it shows"]
    assert "prefers-color-scheme:dark" in STYLE
    assert "@media print" in STYLE
    selectors = re.findall(r"(?:^|})([^{}@]+){", STYLE.replace("\n", ""))
    assert selectors
    assert all(part.startswith(".chart") for selector in selectors for part in selector.split(","))


def luminance(color):
    full = color if len(color) == 7 else "#" + "".join(2 * digit for digit in color[1:])
    shares = [int(full[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_every_color_stands_out_from_its_page():
    """WCAG 2.2: at least 4.5 for text, 3 for lines and bars."""
    schemes = re.findall(r"--page:[^}]*?--c5:#\w+", STYLE)
    assert len(schemes) == 3
    for scheme in schemes:
        colors = dict(re.findall(r"--(\w+):(#\w+)", scheme))
        page = luminance(colors["page"])
        for name, color in colors.items():
            if name not in ("page", "faint"):
                high, low = sorted((page, luminance(color)), reverse=True)
                assert (high + 0.05) / (low + 0.05) >= 4.5, (name, color)
