"""Writing of charts and reports. matplotlib and torch take seconds to import, so functions import them when needed."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from generator.errors import BadValue
from generator.system.files import write_whole
from perf import request
from perf.charts.types import NotDrawn
from perf.runs import compare, store, tables
from perf.runs.types import METRICS

if TYPE_CHECKING:
    from perf.charts.types import Chart
    from perf.runs.compare import Comparison
    from perf.runs.store import Stored

logger = logging.getLogger(__name__)


def check(charts: Path | None, html: Path | None) -> None:
    """Raise an error if charts or a report could not be written, before anything is measured."""
    if charts and html and charts.absolute() == html.absolute():
        raise BadValue("charts", charts, "this is the path of the report", "name a folder")
    for folder in [path for path in (charts, html and html.parent) if path]:
        store.check_writable(folder)


def draw(folder: Path, runs: Sequence[Stored], metric_names: Sequence[str]) -> None:
    """Write the charts of runs; several runs have one folder per device."""
    from perf.charts.content import run_charts

    for stored in runs:
        charts = run_charts(stored, [metric for metric in METRICS if metric.name in metric_names])
        write(folder / stored.run.device.name if len(runs) > 1 else folder, charts)


def draw_published(folder: Path, gpus: Sequence[str]) -> None:
    """Write the charts of the published tables."""
    from perf.charts.content import published_charts

    write(folder, published_charts(gpus))


def write(folder: Path, charts: Iterable[Chart | NotDrawn]) -> None:
    """Write each chart as SVG and PNG; log the charts without data and the older charts in the folder.

    Raises:
        OutputFailed: a file cannot be written.
    """
    from perf.charts.draw import pictures

    older = {path.stem for path in folder.glob("*.svg")}
    drawn = set()
    for chart in charts:
        if isinstance(chart, NotDrawn):
            logger.info("not drawn: %s: %s", chart.name, chart.why)
            continue
        drawn.add(chart.name)
        for extension, content in pictures(chart).items():
            write_whole(folder / f"{chart.name}.{extension}", content)
    logger.info("%d charts in %s, each as SVG and PNG", len(drawn), folder)
    if older := older - drawn:
        logger.info("older charts were kept: %s", ", ".join(sorted(older)))


def report(
    path: Path, stored: Stored, comparisons: Sequence[Comparison], metric_names: Sequence[str], root: Path,
    repository: Path | None,
) -> None:  # fmt: skip
    """Write the report of a run.

    Without comparisons, the run is compared with the published table of its GPU and the newest earlier run, if there
    are such. Certificates are read from the repository, by default the one that the run names.

    Raises:
        OutputFailed: the file cannot be written.
    """
    from perf.charts.content import run_charts
    from perf.html.render import html

    previous = None
    if not comparisons:
        previous = request.previous(root, stored)
        others = [None] if tables.published_ms(stored.run.device.name) else []
        comparisons = compare.comparisons(stored, [*others, *([previous] if previous else [])], metric_names)
    charts = run_charts(stored, [metric for metric in METRICS if metric.name in metric_names])
    repository = repository or Path(stored.run.request.repository)
    write_whole(path.resolve(), html(stored, comparisons, previous, charts, repository))
    logger.info("report in %s", path)
