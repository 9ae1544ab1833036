"""A drawn chart as a part of a page: its ids its own, its ink the page's, its figures in words beside it; pure."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from perf.charts.styles import GRID, INK

SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"
COLOURS = {INK: "currentColor", GRID: "var(--grid)"}


def inline(drawn: str, name: str, title: str, description: str) -> str:
    """The `<svg>` element.

    Args:
        drawn: what matplotlib wrote.
        name: what its ids begin with: those of two charts on a page are not the same.
        title: read aloud in its place.
        description: read aloud after it.
    """
    ET.register_namespace("", SVG)
    ET.register_namespace("xlink", XLINK)
    root = ET.fromstring(drawn)  # noqa: S314 (our own)
    for parent in root.iter():
        for child in [one for one in parent if one.tag in (f"{{{SVG}}}metadata", f"{{{SVG}}}style")]:
            parent.remove(child)
    for element in root.iter():
        for key, value in element.attrib.items():
            element.set(key, of_page(key, value, name))
    for key in ("width", "height"):
        root.attrib.pop(key, None)
    root.attrib |= {"role": "img", "aria-labelledby": f"{name}-title {name}-desc"}
    for position, (tag, text) in enumerate((("title", title), ("desc", description))):
        words = ET.Element(f"{{{SVG}}}{tag}", {"id": f"{name}-{tag}"})
        words.text = text
        root.insert(position, words)
    return ET.tostring(root, encoding="unicode")


def of_page(key: str, value: str, name: str) -> str:
    """An attribute's value as it is on the page."""
    if key == "id":
        return f"{name}-{value}"
    if key == f"{{{XLINK}}}href":
        return value.replace("#", f"#{name}-", 1)
    value = re.sub(r"url\(#", f"url(#{name}-", value)
    if key == "style":
        for colour, of in COLOURS.items():
            value = value.replace(colour, of)
    return value
