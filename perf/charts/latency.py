"""Charts of latencies, measured or published; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from generator.errors import printable
from generator.types import PRECISIONS
from perf.charts.accuracy import against, family
from perf.charts.types import Axis, Bar, Bars, Mark, NotDrawn, Points, Series
from perf.runs import tables
from perf.runs.metrics import COMPUTE, LATENCY, PARTS
from perf.runs.published import SOURCE

if TYPE_CHECKING:
    from generator.types import Precision
    from perf.runs.metrics import Metric
    from perf.runs.points import Result
    from perf.runs.published import Published
    from perf.runs.store import Stored
    from perf.runs.types import PerfPoint

BATCH = 4  # of the published chart of accuracy against latency
COMPUTE_PART = [part.name for part in PARTS].index("compute_infer")
LONGEST_NAME = 24


@dataclass(frozen=True)
class Value:
    """A latency in milliseconds, and whether its rounds agreed."""

    ms: float
    stable: bool = True


@dataclass(frozen=True)
class Latencies:
    """The latencies of a run in one metric and at one concurrency, or a published table.

    Chart names end with `suffix`, chart titles with `qualifier`; an axis has the label `axis`.
    """

    suffix: str
    qualifier: str
    axis: str
    about: str
    values: Mapping[PerfPoint, Value]

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """The precisions that have values."""
        return tuple(name for name in PRECISIONS if any(point.precision == name for point in self.values))

    @property
    def models(self) -> tuple[str, ...]:
        """The models, in the order of the values."""
        return tuple(dict.fromkeys(point.model for point in self.values))

    def chart_title(self, title: str, precision: Precision) -> str:
        """Return the title of a chart of these values."""
        return ", ".join(filter(None, (title, precision.upper(), self.qualifier)))

    def chart_name(self, name: str, precision: Precision) -> str:
        """Return the name of a chart of these values."""
        return "-".join(filter(None, (name, precision, self.suffix)))


def measured(stored: Stored, metric: Metric) -> Latencies:
    """Return the values of a run at its lowest concurrency."""
    run = stored.run
    values = {
        result.point: Value(us / 1000, result.status == "ok")
        for result in stored.results
        if result.point.concurrency == min(run.request.concurrencies) and (us := result.value_us(metric)) is not None
    }
    label = metric.label.partition(":")[0].partition(" (")[0]
    suffix, qualifier = ("", "") if metric == COMPUTE else (metric.name, label)
    return Latencies(suffix, qualifier, f"{label}, ms, on {printable(run.device.label)}", about_run(stored), values)


def from_table(published: Published) -> Latencies:
    """Return the values of a published table."""
    gpu = published.gpu.upper()
    values = {point: Value(float(ms)) for point, ms in published.latency_ms.items()}
    return Latencies(
        f"published-{published.gpu}", f"as published for the {gpu}", f"Latency as published, ms, on a {gpu}",
        f"Published, on a {gpu}: {SOURCE}.", values,
    )  # fmt: skip


def about_run(stored: Stored, *, marks: bool = True) -> str:
    """Return the text below a chart of a run; `marks` explains hollow marks if there are any."""
    request = stored.run.request
    unstable = marks and any(result.status == "unstable" for result in stored.results)
    several = request.concurrencies if len(request.concurrencies) > 1 else ()
    concurrency = f"{min(request.concurrencies)}" + (f" (of {', '.join(map(str, several))})" if several else "")
    return (
        f"Measured: run {stored.run.id} on {printable(stored.run.device.label)}, profile {request.profile}, "
        f"{stored.run.plan.requests:,} requests per round, concurrency {concurrency}."
        + (" Hollow marks did not settle." if unstable else "")
    )


def against_top1(latencies: Latencies, precision: Precision) -> Points | NotDrawn:
    """Return top-1 accuracy against the latency at batch 4, like the published chart."""
    name = latencies.chart_name(f"top1-latency-batch-{BATCH}", precision)
    title = latencies.chart_title(f"Top-1 accuracy against latency at batch {BATCH}", precision)
    values = {
        point.model: (value.ms, value.stable)
        for point, value in latencies.values.items()
        if (point.precision, point.batch_size) == (precision, BATCH)
    }
    if not values:
        return NotDrawn(name, f"there is no {precision.upper()} latency at batch {BATCH}")
    return against(name, title, latencies.about, Axis(latencies.axis), values, values)


def against_batch(latencies: Latencies, precision: Precision) -> Points | NotDrawn:
    """Return latency against batch size, with one line per model."""
    name = latencies.chart_name("latency-batch", precision)
    series = lines(latencies, precision, {point: point.batch_size for point in latencies.values})
    ticks = tuple(sorted({mark.x for one in series for mark in one.marks}))
    if len(ticks) < 2:  # noqa: PLR2004 (the ends of a line)
        return NotDrawn(name, f"there are no {precision.upper()} latencies at two batch sizes")
    return Points(
        name, latencies.chart_title("Latency against batch size", precision), latencies.about,
        Axis("Images per request", log=True, ticks=ticks), Axis(latencies.axis, log=True), series, names_at_end=True,
    )  # fmt: skip


def against_page(run: Latencies, page: Latencies, precision: Precision, *, same_device: bool) -> Points | NotDrawn:
    """Return measured against published latency, with one line per model through its batch sizes."""
    name = f"measured-{page.suffix}-{precision}"
    series = lines(run, precision, {point: value.ms for point, value in page.values.items()})
    if not series:
        return NotDrawn(name, "no point is both measured and published")
    about = f"{run.about} {page.about} Each line runs from the smallest batch to the largest, which has the name."
    if absent := [short_title(model) for model in run.models if model not in page.models]:
        about += f" Not published: {', '.join(absent)}."
    if not same_device:
        about += " The devices differ: compare the order of the models, not their latencies."
    return Points(
        name, f"Latency measured against latency {page.qualifier}, {precision.upper()}", about,
        Axis(page.axis, log=True), Axis(run.axis, log=True), series, diagonal=same_device,
    )  # fmt: skip


def lines(latencies: Latencies, precision: Precision, xs: Mapping[PerfPoint, float]) -> tuple[Series, ...]:
    """Return one line per model through the points that have an x, labelled at the largest batch size."""
    series = []
    for model in latencies.models:
        mine = [p for p in latencies.values if (p.model, p.precision) == (model, precision) and p in xs]
        mine.sort(key=lambda point: point.batch_size)
        values = [(point, latencies.values[point], short_title(model) if point == mine[-1] else "") for point in mine]
        marks = tuple(Mark(xs[point], value.ms, label, value.stable) for point, value, label in values)
        if marks:
            series.append(Series(short_title(model), family(model), "solid", marks))
    return tuple(series)


def time_parts(stored: Stored, precision: Precision, batch_size: int) -> Bars | NotDrawn:
    """Return the parts of the client's mean latency, with one bar per model."""
    name = f"parts-{precision}-batch-{batch_size}"
    wanted = (precision, batch_size, min(stored.run.request.concurrencies))
    bars = [
        bar(result)
        for result in stored.results
        if result.kept and (result.point.precision, result.point.batch_size, result.point.concurrency) == wanted
    ]
    if not bars:
        return NotDrawn(name, "no such point was measured")
    title = f"Where a request's time goes at batch {batch_size}, {precision.upper()}"
    about = (
        f"{about_run(stored, marks=False)} The value at the end of a bar is the client's mean. perf_analyzer reports a "
        "negative network time as 0: then the bar is longer than its mean."
    )
    x, rest = Axis("Client's mean latency, ms"), Axis("Without compute, ms")
    return Bars(name, title, about, x, rest, COMPUTE_PART, tuple(part.label for part in PARTS), tuple(bars))


def bar(result: Result) -> Bar:
    """Return the bar of one point."""
    values = tuple((result.value_us(part) or 0) / 1000 for part in PARTS)
    mean_ms = (result.value_us(LATENCY) or 0) / 1000
    status = "" if result.status == "ok" else f" ({result.status})"
    return Bar(short_title(result.point.model), values, f"{mean_ms:.4g} ms{status}")


def short_title(model: str) -> str:
    """Return the title of a model, cut if it is too long for a label."""
    name = tables.title(model)
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
