"""The structure of a chart's SVG, independent of the font: its texts, and the places of marks and bars in the axes.

`python tests/chart_structure.py` rewrites the golden files.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import perf_runs

from generator.networks import NETWORKS
from perf.charts.content import run_charts
from perf.charts.draw import pictures
from perf.charts.types import NotDrawn
from perf.runs import tables
from perf.runs.types import Device

SVG = "{http://www.w3.org/2000/svg}"
HREF = "{http://www.w3.org/1999/xlink}href"
GOLDEN = Path(__file__).parent / "golden" / "charts"
V100 = Device("v100", "Tesla V100-SXM2-16GB")
TEN = tuple(network.name for network in NETWORKS)
SCALE = 1.25  # the made-up latencies over the published ones


def v100_run(**changes):
    """Return a made-up run on a V100: the published latencies times SCALE, an unstable point and a network of the user."""
    published = tables.published_ms("v100")
    latency_us = {(network.name, size): round(float(published[point]) * 1000 * SCALE)
          for network in NETWORKS
          for point in published if point.model == network.name
          for size in (point.batch_size,)}  # fmt: skip
    figures = {(name, "fp32", size): [us, us, us] for (name, size), us in latency_us.items()}
    figures |= {("mynet", "fp32", size): [9000 * size] * 3 for size in (1, 4, 8)}
    figures["dpn98", "fp32", 4] = [latency_us["dpn98", 4]] * 7 + [latency_us["dpn98", 4] * 2]
    figures["dpn92", "fp32", 4] = [
        factor * latency_us["dpn92", 4] for factor in (1, 2, 3, 4, 5, 6, 7, 8)
    ]  # never agrees
    models = (*TEN, "mynet")
    return perf_runs.run(figures | changes.pop("figures", {}), device=V100, models=models, plan=("published", "quick"))


def drawn(stored):
    """Return the charts of a run that have data, by name."""
    return {chart.name: chart for chart in run_charts(stored, ["compute"]) if not isinstance(chart, NotDrawn)}


def structure(svg):
    """Return the sorted texts and the places by group: marks and lines relative to the axes, bars to the longest bar."""
    root = ET.fromstring(svg)  # noqa: S314 (our own)
    groups = {group.get("id"): group for group in root.iter(f"{SVG}g") if group.get("id")}
    frame = corners(next(groups["axes_1"].iter(f"{SVG}path")))
    places = {}
    for name, group in groups.items():
        kind = name.partition("-")[0]
        if kind in ("marks", "hollow"):
            uses = [(float(use.get("x")), float(use.get("y"))) for use in group.iter(f"{SVG}use")]
            places[name] = [within(frame, place) for place in uses]
        elif kind in ("line", "diagonal"):
            places[name] = [within(frame, place) for path in group.iter(f"{SVG}path") for place in points(path)]
        elif kind == "bar":
            places[name] = corners(next(group.iter(f"{SVG}path")))
    for panel in {name.rpartition("-")[0].rpartition("-")[0] for name in places if name.startswith("bar-")}:
        mine = {name: box for name, box in places.items() if name.startswith(f"{panel}-")}
        left, longest = min(box[0] for box in mine.values()), max(box[1] for box in mine.values())
        places |= {name: [round((edge - left) / (longest - left), 3) for edge in box[:2]] for name, box in mine.items()}
    words = sorted(text.text for text in root.iter(f"{SVG}text") if text.text)
    return {"words": words, "places": {name: place for name, place in places.items() if place}}


def points(path):
    """Return the points of a path."""
    numbers = [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", path.get("d"))]
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def corners(path):
    """Return left, right, top and bottom of a path."""
    xs, ys = zip(*points(path), strict=True)
    return [min(xs), max(xs), min(ys), max(ys)]


def within(frame, place):
    """Return a place relative to the width and height of the frame."""
    left, right, top, bottom = frame
    return [round((place[0] - left) / (right - left), 3), round((bottom - place[1]) / (bottom - top), 3)]


def main():
    """Write the golden files, and PNGs to look at."""
    GOLDEN.mkdir(exist_ok=True)
    for name, chart in drawn(v100_run()).items():
        (GOLDEN / f"{name}.json").write_text(json.dumps(structure(pictures(chart)["svg"])) + "\n")
        (Path("/tmp") / f"{name}.png").write_bytes(pictures(chart)["png"])


if __name__ == "__main__":
    main()
