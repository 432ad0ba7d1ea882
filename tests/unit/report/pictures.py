"""An SVG picture as a reader's program sees it."""

from xml.etree import ElementTree as ET

SVG = "{http://www.w3.org/2000/svg}"
KNOWN = {f"{SVG}{tag}" for tag in ("svg", "g", "title", "desc", "style", "rect", "line", "polyline", "circle", "text")}


def parse(text):
    """The root; nothing in it can run, load or collide with another picture of a page."""
    root = ET.fromstring(text)
    for element in root.iter():
        assert element.tag in KNOWN
        assert not {name for name in element.attrib if name.startswith("on") or name in ("id", "href", "style")}
    assert "url(" not in text
    assert "@import" not in text
    return root


def find(root, tag, style=""):
    return [element for element in root.iter(f"{SVG}{tag}") if style in element.get("class", "")]


def texts(root):
    return [element.text for element in find(root, "text")]


def heights(root, style):
    """Height of each bar by what it says of itself."""
    bars = [bar for bar in find(root, "rect", style) if bar.find(f"{SVG}title") is not None]
    return {bar.find(f"{SVG}title").text: float(bar.get("height")) for bar in bars}


def points(polyline):
    return [tuple(float(part) for part in place.split(",")) for place in polyline.get("points").split()]
