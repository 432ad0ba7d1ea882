"""SVG as a picture file and as a part of a page: readable on light and dark pages and on paper, with no script or font.

Nothing here has an `id`, and every rule of the style names the class `chart`, so that several pictures can stand in one
page. A page may set the custom properties itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree import ElementTree as ET

from distill_eval.report.escape import clean
from distill_eval.report.table import display_width

WIDTH = 560
"""Of every picture, in its own units, which are pixels where there is room; on a phone it shrinks to about 0.6."""
FONT = 13
"""Size of the text."""
CHAR = 0.58 * FONT
"""Generous width of a letter: no font is known here."""
MANY = 6
"""Series that have a color of their own."""

_COLORS = {
    "light": ("#fff", "#1f2328", "#d1d9e0", "#0969da", "#bc4c00", "#1a7f37", "#8250df", "#bf3989", "#6e5600"),
    "dark": ("#0d1117", "#e6edf3", "#3d444d", "#58a6ff", "#f0883e", "#3fb950", "#bc8cff", "#f778ba", "#d4b348"),
}
_NAMES = ("page", "ink", "faint", *(f"c{number}" for number in range(MANY)))
_LIGHT, _DARK = (
    ";".join(f"--{name}:{color}" for name, color in zip(_NAMES, colors, strict=True)) for colors in _COLORS.values()
)
_DASHES = ("none", "7 3", "2 3", "9 3 2 3", "5 5", "1 4")
_LEVEL_DASHES = ("2 2", "8 3", "2 5", "8 3 2 3", "4 4", "12 4")
STYLE = "\n".join(
    [
        "",
        f".chart{{{_LIGHT};color-scheme:light dark;font:{FONT}px system-ui,sans-serif;max-width:100%;height:auto}}",
        f"@media (prefers-color-scheme:dark){{.chart{{{_DARK}}}}}",
        f"@media print{{.chart{{{_LIGHT}}}}}",
        ".chart .page{fill:var(--page)}",
        ".chart text{fill:var(--ink)}",
        ".chart .title{font-weight:600;font-size:15px}",
        ".chart .grid{stroke:var(--faint)}",
        ".chart .axis{stroke:var(--ink)}",
        ".chart .reference{stroke:var(--ink);stroke-width:1.5}",
        ".chart .break{stroke:var(--page);stroke-width:2.5}",
        ".chart .line{fill:none;stroke-width:2;stroke-linejoin:round}",
        ".chart .hollow{fill-opacity:.12;stroke-width:1.5;stroke-dasharray:3 2}",
        *(
            f".chart .line.s{number}{{stroke:var(--c{number});stroke-dasharray:{dash}}}"
            f".chart .mark.s{number}{{fill:var(--c{number});stroke:var(--c{number})}}"
            f".chart .reference.s{number}{{stroke-dasharray:{level}}}"
            for number, (dash, level) in enumerate(zip(_DASHES, _LEVEL_DASHES, strict=True))
        ),
        "",
    ]
)


def element(tag: str, *children: ET.Element, text: str | None = None, **attributes: float | str) -> ET.Element:
    """An element; `class_` and `stroke_width` stand for `class` and `stroke-width`, numbers get one decimal."""
    made = ET.Element(tag, {name.rstrip("_").replace("_", "-"): _value(value) for name, value in attributes.items()})
    made.text = None if text is None else clean(text)
    made.extend(children)
    return made


def _value(value: float | str) -> str:
    return value if isinstance(value, str) else number(value)


def number(value: float) -> str:
    """A coordinate: one decimal, none where it is 0."""
    return f"{round(value, 1) + 0.0:.1f}".removesuffix(".0")


def text_width(text: str) -> float:
    """About how wide a text is drawn."""
    return display_width(text) * CHAR


def fitted(text: str, width: float) -> str:
    """The text on one line, its middle left out for three dots where it is too long: names often differ at the end."""
    shown = clean(text)
    if text_width(shown) <= width:
        return shown
    left, right = shown[: len(shown) // 2], shown[len(shown) // 2 :]
    while left and text_width(left + right) + 3 * CHAR > width:
        left, right = (left[:-1], right) if len(left) >= len(right) else (left, right[1:])
    return f"{left}...{right}" if left else "..."


def label(x: float, y: float, text: str, *, width: float, **attributes: float | str) -> ET.Element:
    """Text at a place; the whole of it appears under the mouse, and is read aloud, where it had to be cut."""
    shown = fitted(text, width)
    made = element("text", x=x, y=y, text=shown, **attributes)
    if shown != clean(text):
        made.append(element("title", text=text))
    return made


def picture(title: str, description: str, parts: Iterable[tuple[ET.Element, float]]) -> str:
    """A whole SVG file, ending in a newline; the same parts give the same bytes.

    Args:
        title: Its name, for those who do not see it.
        description: What it shows, for them too.
        parts: Groups and their heights, from top to bottom.
    """
    groups, height = [], 0.0
    for group, part_height in parts:
        group.set("transform", f"translate(0 {number(height)})")
        groups.append(group)
        height += part_height
    style = element("style")
    style.text = STYLE
    root = element(
        "svg",
        element("title", text=title),
        element("desc", text=description),
        style,
        element("rect", class_="page", width=WIDTH, height=height, rx=6),
        *groups,
        xmlns="http://www.w3.org/2000/svg",
        class_="chart",
        viewBox=f"0 0 {WIDTH} {number(height)}",
        width=WIDTH,
        height=height,
        role="img",
    )
    _one_per_line(root)
    return ET.tostring(root, encoding="unicode") + "\n"


def _one_per_line(root: ET.Element) -> None:
    """Line breaks between the elements of each group, so that a change of one shows as a change of one line."""
    for group in [root, *root.iter("g")]:
        if len(group):
            group.text = "\n"
            for child in group:
                child.tail = "\n"
