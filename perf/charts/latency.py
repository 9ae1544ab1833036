"""Charts of latencies, measured and published alike; pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from generator.errors import printable
from generator.types import PRECISIONS
from perf.charts.accuracy import against, family
from perf.charts.types import Axis, Bar, Bars, Mark, NotDrawn, Points, Series
from perf.runs.metrics import COMPUTE, LATENCY, PARTS
from perf.runs.published import SOURCE
from perf.runs.tables import TITLES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from generator.types import Precision
    from perf.runs.metrics import Metric
    from perf.runs.points import Result
    from perf.runs.published import Published
    from perf.runs.store import Stored
    from perf.runs.types import PerfPoint

BATCH = 4
COMPUTE_PART = [part.name for part in PARTS].index("compute_infer")
LONGEST_NAME = 24


@dataclass(frozen=True)
class Figure:
    """A latency in milliseconds, and whether its rounds agreed."""

    ms: float
    stable: bool = True


@dataclass(frozen=True)
class Latencies:
    """A set of figures at one concurrency: a run's, or a published table.

    `name` and `of` tell its charts from others', in their names and in their titles; `what` is along an axis.
    """

    name: str
    of: str
    what: str
    about: str
    figures: Mapping[PerfPoint, Figure]

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """Those that it has."""
        return tuple(name for name in PRECISIONS if any(point.precision == name for point in self.figures))

    @property
    def models(self) -> tuple[str, ...]:
        """In its order."""
        return tuple(dict.fromkeys(point.model for point in self.figures))

    def at(self, precision: Precision, batch_size: int) -> dict[str, Figure]:
        """By model, at one precision and batch."""
        return {
            point.model: figure
            for point, figure in self.figures.items()
            if (point.precision, point.batch_size) == (precision, batch_size)
        }

    def titled(self, title: str, precision: Precision) -> str:
        """A chart's title."""
        return ", ".join(filter(None, (title, precision.upper(), self.of)))

    def named(self, name: str, precision: Precision) -> str:
        """A chart's name."""
        return "-".join(filter(None, (name, precision, self.name)))


def measured(stored: Stored, metric: Metric) -> Latencies:
    """A run's figures, at the lowest concurrency that it measured."""
    run = stored.run
    concurrency = min(run.request.concurrencies)
    figures = {
        found.point: Figure(value / 1000, found.status == "ok")
        for found in stored.results
        if found.point.concurrency == concurrency and (value := found.value_us(metric)) is not None
    }
    name = "" if metric == COMPUTE else metric.name
    of = "" if metric == COMPUTE else short(metric)
    return Latencies(name, of, f"{short(metric)}, ms, on {printable(run.device.label)}", of_run(stored), figures)


def of_run(stored: Stored, *, marks: bool = True) -> str:
    """What stands under a chart of a run."""
    run = stored.run
    unstable = marks and any(found.status == "unstable" for found in stored.results)
    hollow = " A hollow mark did not settle." if unstable else ""
    several = run.request.concurrencies if len(run.request.concurrencies) > 1 else ()
    concurrency = f"{min(run.request.concurrencies)}" + (f" (of {', '.join(map(str, several))})" if several else "")
    return (
        f"Measured: run {run.id} on {printable(run.device.label)}, profile {run.request.profile}, "
        f"{run.plan.requests:,} requests a round, concurrency {concurrency}.{hollow}"
    )


def of_page(published: Published) -> Latencies:
    """A published table."""
    gpu = published.gpu.upper()
    figures = {point: Figure(float(ms)) for point, ms in published.latency_ms.items()}
    about = f"Published, on a {gpu}: {SOURCE}."
    of = f"as published for the {gpu}"
    return Latencies(f"published-{published.gpu}", of, f"Latency as published, ms, on a {gpu}", about, figures)


def against_top1(found: Latencies, precision: Precision) -> Points | NotDrawn:
    """Top-1 accuracy against the latency at batch 4, as the page charts it."""
    name = found.named(f"top1-latency-batch-{BATCH}", precision)
    heading = found.titled(f"Top-1 accuracy against latency at batch {BATCH}", precision)
    at = {model: (figure.ms, figure.stable) for model, figure in found.at(precision, BATCH).items()}
    if not at:
        return NotDrawn(name, f"there is no {precision.upper()} figure at batch {BATCH}")
    return against(name, heading, found.about, Axis(found.what), at, at)


def against_batch(found: Latencies, precision: Precision) -> Points | NotDrawn:
    """Latency against the batch size: a line a model, named at its end."""
    name = found.named("latency-batch", precision)
    series = lines(found, precision, {point: point.batch_size for point in found.figures})
    ticks = tuple(sorted({mark.x for one in series for mark in one.marks}))
    if len(ticks) < 2:  # noqa: PLR2004 (a line has two ends)
        return NotDrawn(name, f"there is no {precision.upper()} figure at two batch sizes")
    return Points(
        name, found.titled("Latency against batch size", precision), found.about,
        Axis("Images a request", log=True, ticks=ticks), Axis(found.what, log=True), series,
        names_at_end=True,
    )  # fmt: skip


def against_page(found: Latencies, page: Latencies, precision: Precision, *, same_device: bool) -> Points | NotDrawn:
    """Measured against published, cell by cell: a line a model through its batch sizes."""
    name = f"measured-{page.name}-{precision}"
    series = lines(found, precision, {point: figure.ms for point, figure in page.figures.items()})
    if not series:
        return NotDrawn(name, "there is no cell in both")
    about = f"{found.about} {page.about} Each line goes from the smallest batch to the largest, where its name is."
    if absent := [title(model) for model in found.models if model not in page.models]:
        about += f" Not on the page: {', '.join(absent)}."
    if not same_device:
        about += " Two devices: the chart tells whether the order is the same, not how fast a GPU would be."
    return Points(
        name, f"Latency measured against latency {page.of}, {precision.upper()}", about,
        Axis(page.what, log=True), Axis(found.what, log=True), series, diagonal=same_device,
    )  # fmt: skip


def lines(found: Latencies, precision: Precision, across: Mapping[PerfPoint, float]) -> tuple[Series, ...]:
    """A line a model through its batch sizes, of the points that have a place across; named at the largest."""
    made = []
    for model in found.models:
        mine = [p for p in found.figures if (p.model, p.precision) == (model, precision) and p in across]
        mine.sort(key=lambda point: point.batch_size)
        marks = tuple(
            Mark(across[p], found.figures[p].ms, title(model) if p == mine[-1] else "", found.figures[p].stable)
            for p in mine
        )
        if marks:
            made.append(Series(title(model), family(model), "solid", marks))
    return tuple(made)


def where_it_goes(stored: Stored, precision: Precision, batch_size: int) -> Bars | NotDrawn:
    """The parts of the client's mean latency, a bar a model."""
    name = f"parts-{precision}-batch-{batch_size}"
    concurrency = min(stored.run.request.concurrencies)
    bars = [
        bar(found)
        for found in stored.results
        if found.kept
        and (found.point.precision, found.point.batch_size, found.point.concurrency)
        == (precision, batch_size, concurrency)
    ]
    if not bars:
        return NotDrawn(name, "there is no such figure")
    heading = f"Where a request's time goes at batch {batch_size}, {precision.upper()}"
    about = (
        f"{of_run(stored, marks=False)} At a bar's end: the client's mean. perf_analyzer gives the network no less "
        "than 0: where it did, a bar is longer than that."
    )
    x, rest = Axis("Client's mean latency, ms"), Axis("The same without compute, ms")
    return Bars(name, heading, about, x, rest, COMPUTE_PART, tuple(part.label for part in PARTS), tuple(bars))


def bar(found: Result) -> Bar:
    """One point's."""
    values = tuple((found.value_us(part) or 0) / 1000 for part in PARTS)
    whole_ms = (found.value_us(LATENCY) or 0) / 1000
    more = "" if found.status == "ok" else f" ({found.status})"
    return Bar(title(found.point.model), values, f"{whole_ms:.4g} ms{more}")


def title(model: str) -> str:
    """As the published tables write it; of any other model its own name, which is cut where it is long."""
    name = TITLES.get(model) or printable(model)
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def short(metric: Metric) -> str:
    """A metric's label without what it is made of."""
    return metric.label.partition(":")[0].partition(" (")[0]
