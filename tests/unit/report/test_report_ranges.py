"""Rows of intervals and spots lie where their values are."""

from dataclasses import replace

import pytest
from unit.report.pictures import SVG, find, parse, points, texts

from distill_eval.report.axes import linear, logarithmic
from distill_eval.report.lines import Line, LineChart, draw_lines
from distill_eval.report.ranges import RangeChart, Row, Tick, draw_ranges
from distill_eval.report.spots import RADIUS, Spot, SpotChart, draw_spots
from distill_eval.report.svg import WIDTH, picture


def drawn(draw, chart):
    return parse(picture("title", "what it shows", [draw(chart)]))


def at(line):
    return [float(line.get(name)) for name in ("x1", "y1", "x2", "y2")]


def told(root, tag, name):
    """The elements of a kind that say a name."""
    return [e for e in root.iter(f"{SVG}{tag}") if (e.findtext(f"{SVG}title") or "").startswith(name)]


def ranges(*rows, **changes):
    values = [value for row in rows for value in (row.value, row.low, row.high) if value is not None]
    return RangeChart("t", "y", "x", rows, changes.pop("axis", None) or linear([1.0, *values]), **changes)


def test_an_interval_lies_between_its_ends_and_the_dot_on_its_value():
    rows = Row("one", "80", 0.8, 0.7, 0.9, level=0.95), Row("two", "100", 1.0, 0.9, 1.0)
    root = drawn(draw_ranges, ranges(*rows, level_name="least that passes"))
    grid = {
        text: at(line)[0] for text, line in zip(["0.7", "0.8", "0.9", "1.0"], find(root, "line", "grid"), strict=False)
    }
    scale = (grid["0.9"] - grid["0.7"]) / 0.2
    for row in rows:
        (line,) = told(root, "line", row.name)
        assert at(line)[0] == pytest.approx(grid["0.7"] + scale * (row.low - 0.7), abs=0.2)
        assert at(line)[2] == pytest.approx(grid["0.7"] + scale * (row.high - 0.7), abs=0.2)
    dots = [float(dot.get("cx")) for dot in find(root, "circle")]
    assert dots == pytest.approx([grid["0.7"] + scale * (row.value - 0.7) for row in rows], abs=0.2)
    levels = [line for line in find(root, "line", "reference") if line.get("x1") == line.get("x2")]
    assert [at(line)[0] for line in levels] == pytest.approx([grid["0.9"] + scale * 0.05], abs=0.2)
    assert "least that passes" in texts(root)


def test_an_open_end_reaches_the_end_of_the_axis_and_no_value_is_no_dot():
    root = drawn(draw_ranges, ranges(Row("open", "-", 0.8, 0.7, None), Row("none", "-", None)))
    (line,) = told(root, "line", "open")
    assert at(line)[2] == max(at(grid)[0] for grid in find(root, "line", "grid"))
    assert len(find(root, "circle")) == 1
    assert {"open", "none"} <= set(texts(root))


def test_strokes_lie_on_a_logarithmic_axis_and_zero_at_its_beginning():
    row = Row("kl", "0.1", 0.1, 0.0, 10.0, (Tick("p90", 1.0),))
    root = drawn(draw_ranges, ranges(row, axis=logarithmic([0.01, 10.0])))
    (line,), (stroke,) = told(root, "line", "kl"), told(root, "line", "p90")
    left, right = at(line)[0], at(line)[2]
    assert left == min(at(grid)[0] for grid in find(root, "line", "grid"))
    assert at(stroke)[0] == pytest.approx(left + (right - left) * 2 / 3, abs=0.2)  # 0.01, 0.1, 1, 10
    assert float(find(root, "circle")[0].get("cx")) == pytest.approx(left + (right - left) / 3, abs=0.2)


def test_long_names_and_numbers_leave_room_for_the_rows():
    root = drawn(
        draw_ranges, ranges(Row("a very long name of a task " * 3, "97.1 [95.9, 98.3] INCONCLUSIVE", 0.9, 0.8, 1))
    )
    (line,) = find(root, "line", "line s0")
    assert at(line)[2] - at(line)[0] > 80
    assert at(line)[2] < WIDTH


SPOTS = (
    Spot("teacher", "", 1.0, 1.0, size=1.0),
    Spot("fast", "", 2.0, 0.8, (1.5, 2.5), (0.7, 0.9), size=0.25),
    Spot("beaten", "", 0.5, 0.9, hollow=True),
)


def spots(*found):
    return SpotChart("t", "y", "x", found or SPOTS, "on it", "not on it", "frontier")


def test_a_spots_area_is_its_size_and_its_whiskers_cross_in_it():
    root = drawn(draw_spots, spots())
    circles = {e.findtext(f"{SVG}title").partition(":")[0]: e for e in find(root, "circle")}
    radii = {name: float(circle.get("r")) for name, circle in circles.items()}
    assert radii == {"teacher": RADIUS, "fast": RADIUS / 2, "beaten": 3.0}
    x, y = (float(circles["fast"].get(name)) for name in ("cx", "cy"))
    across, up = find(root, "line", "mark s0")
    assert at(across)[0] < x < at(across)[2]
    assert at(across)[1] == y
    assert at(up)[3] < y < at(up)[1]
    assert "hollow" in circles["beaten"].get("class")
    assert "hollow" not in circles["fast"].get("class")


def test_twice_as_fast_is_as_far_right_as_half_as_fast_is_left():
    root = drawn(draw_spots, spots(*(replace(spot, x_range=None) for spot in SPOTS)))
    x = {e.findtext(f"{SVG}title").partition(":")[0]: float(e.get("cx")) for e in find(root, "circle")}
    assert x["fast"] - x["teacher"] == pytest.approx(x["teacher"] - x["beaten"], abs=0.2)


def test_the_frontier_holds_what_no_other_beats_in_both():
    better = Spot("better", "", 2.0, 0.85)
    assert [spot.name for spot in spots().frontier] == ["teacher", "fast"]
    assert [spot.name for spot in spots(*SPOTS, better).frontier] == ["teacher", "better"]
    same = replace(SPOTS[0], name="same")
    assert [spot.name for spot in spots(SPOTS[0], same).frontier] == ["teacher"]


@pytest.mark.parametrize("number", [2, 5, 12])
def test_names_of_spots_at_one_place_do_not_touch(number):
    found = [Spot(f"student-w{place}a16", "", 1.2 + 0.01 * place, 0.9, size=0.5) for place in range(number)]
    root = drawn(draw_spots, spots(*found))
    labels = [e for e in find(root, "text") if (e.text or "").startswith("student")]
    places = [(float(e.get("x")), float(e.get("y"))) for e in labels]
    assert len(places) == number
    for place, (x, y) in enumerate(places):
        assert 0 < x < WIDTH
        assert all(abs(x - other) > 60 or abs(y - its) >= 15 for other, its in places[place + 1 :])


def test_a_whisker_goes_up_from_its_point_and_loads_stand_at_equal_distances():
    lines = [Line("a", ((0, 10.0), (1, 20.0), (2, 40.0)), (20.0, 40.0, 80.0)), Line("b", ((2, 30.0),), (30.0,))]
    root = drawn(draw_lines, LineChart("t", "ms", "load", tuple(lines), places=("1", "4", "16")))
    (first, second) = (points(e) for e in find(root, "polyline"))
    assert first[1][0] - first[0][0] == pytest.approx(first[2][0] - first[1][0], abs=0.2)
    assert second[0][0] - first[2][0] == pytest.approx(6, abs=0.1)  # beside each other
    up = [line for line in find(root, "line", "mark s0") if line.get("x1") == line.get("x2")]
    rise = [at(line)[1] - at(line)[3] for line in up]
    assert rise[1] == pytest.approx(2 * rise[0], abs=0.3)
    assert rise[2] == pytest.approx(4 * rise[0], abs=0.5)
    assert {"1", "4", "16"} <= set(texts(root))
