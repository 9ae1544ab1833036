"""The charts and the report of runs, written."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from generator.errors import OutputFailed
from generator.system.files import write_whole
from perf import request
from perf.charts.types import NotDrawn
from perf.runs import compare
from perf.runs import published as reference
from perf.runs.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from perf.charts.types import Chart
    from perf.runs.compare import Comparison
    from perf.runs.metrics import Metric
    from perf.runs.store import Stored

logger = logging.getLogger(__name__)

# matplotlib and torch are imported where something is drawn: they take seconds.


def draw(folder: Path, runs: Sequence[Stored], metric_names: Sequence[str]) -> None:
    """The charts of each run, in a folder a device where there are several."""
    from perf.charts.choose import run_charts

    metrics = [metric for metric in METRICS if metric.name in metric_names]
    for stored in runs:
        write(folder / stored.run.device.name if len(runs) > 1 else folder, run_charts(stored, metrics))


def draw_published(folder: Path, gpus: Sequence[str]) -> None:
    """The charts of the published tables."""
    from perf.charts.choose import published_charts

    write(folder, published_charts(gpus))


def write(folder: Path, charts: Iterable[Chart | NotDrawn]) -> None:
    """Each as SVG and PNG; says what was not drawn.

    Raises:
        OutputFailed: it cannot be written.
    """
    from perf.charts.draw import pictures

    made(folder)
    before = {path.stem for path in folder.glob("*.svg")}
    drawn = set()
    for chart in charts:
        if isinstance(chart, NotDrawn):
            logger.info("not drawn: %s: %s", chart.name, chart.why)
            continue
        drawn.add(chart.name)
        for ending, content in pictures(chart).items():
            write_whole(folder / f"{chart.name}.{ending}", content)
    logger.info("%d charts in %s, each as SVG and PNG", len(drawn), folder)
    if others := sorted(before - drawn):
        logger.info("of before, and still there: %s", ", ".join(others))


def report(
    path: Path, stored: Stored, comparisons: Sequence[Comparison], metric_names: Sequence[str], root: Path,
    repository: Path | None,
) -> None:  # fmt: skip
    """The report of one run; where no comparison was asked for, beside what there is.

    Certificates are looked for in the repository, or where the run says that it was.

    Raises:
        OutputFailed: it cannot be written.
    """
    from perf.charts.choose import run_charts
    from perf.html.render import html

    metrics = [metric for metric in METRICS if metric.name in metric_names]
    previous = None
    if not comparisons:
        previous = request.previous(root, stored)
        comparisons = beside(stored, previous, metrics)
    made(path.parent)
    repository = repository or Path(stored.run.request.repository)
    write_whole(path.resolve(), html(stored, comparisons, previous, run_charts(stored, metrics), repository))
    logger.info("report in %s", path)


def beside(stored: Stored, previous: Stored | None, metrics: Iterable[Metric]) -> list[Comparison]:
    """A run beside the published table of its GPU and the one before it, as far as there are such."""
    published = reference.published(stored.run.device.name)
    comparisons = [compare.with_published(stored, published)] if published.latency_ms else []
    if previous:
        comparisons += [compare.with_run(stored, previous, metric) for metric in metrics]
    return comparisons


def made(folder: Path) -> None:
    """Make a folder that is not there yet.

    Raises:
        OutputFailed: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputFailed(folder, error) from error
