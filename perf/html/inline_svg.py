"""Conversion of a drawn chart to a part of a page."""

import re
from xml.etree import ElementTree as ET

from perf.charts.styles import GRID, INK

SVG = "{http://www.w3.org/2000/svg}"
XLINK = "{http://www.w3.org/1999/xlink}"
ET.register_namespace("", SVG[1:-1])
ET.register_namespace("xlink", XLINK[1:-1])


def inline(drawn: str, name: str, title: str, description: str) -> str:
    """Return matplotlib's SVG as an element whose ids start with the name, in the colours of the page.

    Screen readers read the title and the description instead of the chart.
    """
    root = ET.fromstring(drawn)  # noqa: S314 (our own)
    for parent in root.iter():
        for child in [*parent.iterfind(f"{SVG}metadata"), *parent.iterfind(f"{SVG}style")]:
            parent.remove(child)
    for element in root.iter():
        for key, value in element.attrib.items():
            if key == "id":
                element.set(key, f"{name}-{value}")
            elif key == f"{XLINK}href":
                element.set(key, value.replace("#", f"#{name}-", 1))
            else:
                element.set(key, re.sub(r"url\(#", f"url(#{name}-", value))
            if key == "style":
                element.set(key, element.attrib[key].replace(INK, "currentColor").replace(GRID, "var(--grid)"))
    del root.attrib["width"], root.attrib["height"]
    root.attrib |= {"role": "img", "aria-labelledby": f"{name}-title {name}-desc"}
    for position, (tag, text) in enumerate((("title", title), ("desc", description))):
        child = ET.Element(f"{SVG}{tag}", {"id": f"{name}-{tag}"})
        child.text = text
        root.insert(position, child)
    return ET.tostring(root, encoding="unicode")
