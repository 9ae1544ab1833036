"""The content of every chart: latencies, measured or published, and top-1 accuracy; pure, apart from counting FLOPs."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from generator.config import targets
from generator.errors import printable
from generator.networks import NETWORKS
from generator.networks.types import Counts, Family, Published
from generator.types import PRECISIONS, Precision
from perf.charts.types import FAMILIES, Bar, Bars, Chart, Mark, NotDrawn, Points, Series
from perf.runs import tables
from perf.runs.store import Stored
from perf.runs.types import COMPUTE, LATENCY, METRICS, PARTS, Metric, PerfPoint

KNOWN = {network.name: network for network in NETWORKS}
BATCH = 4  # of the published chart of accuracy against latency
LONGEST_NAME = 24


class Value(NamedTuple):
    """A value on an axis, and whether it is stable: its rounds agreed."""

    number: float
    stable: bool = True


BY_FORMULA = "by a formula that leaves out most of each grouped convolution."
# Costs of a network: the name and the words of a chart, and the value from the published figures and our counts.
COSTS: tuple[tuple[str, str, str, str, Callable[[Published, Counts], float]], ...] = (
    ("top1-flops", "FLOPs", "GFLOPs per image, counted",
     "FLOPs counted from the network; a multiply-add counts as two.", lambda _, counted: counted.flops / 1e9),
    ("top1-flops-published", "FLOPs as published", "GFLOPs per image, as published",
     f"FLOPs as published, {BY_FORMULA}", lambda page, _: page.flops_g),
    ("top1-params", "parameters", "Million parameters, counted",
     "Parameters counted from the network.", lambda _, counted: counted.parameters / 1e6),
    ("top1-params-published", "parameters as published", "Million parameters, as published",
     f"Parameters as published, {BY_FORMULA}", lambda page, _: page.params_m),
)  # fmt: skip


@dataclass(frozen=True)
class Latencies:
    """The latencies in ms of a run in one metric and at one concurrency, or a published table.

    Chart names end with `suffix`, chart titles with `qualifier`; an axis has the label `axis`.
    """

    suffix: str
    qualifier: str
    axis: str
    about: str
    values: Mapping[PerfPoint, Value]

    @property
    def precisions(self) -> list[Precision]:
        """The precisions that have values."""
        return [name for name in PRECISIONS if any(point.precision == name for point in self.values)]

    @property
    def models(self) -> tuple[str, ...]:
        """The models, in the order of the values."""
        return tuple(dict.fromkeys(point.model for point in self.values))

    def chart(self, name: str, title: str, precision: Precision) -> tuple[str, str]:
        """Return the whole name and title of a chart of these values."""
        titles = filter(None, (title, precision.upper(), self.qualifier))
        return "-".join(filter(None, (name, precision, self.suffix))), ", ".join(titles)


def run_charts(stored: Stored, metric_names: Collection[str]) -> list[Chart | NotDrawn]:
    """Return every chart of a run, with the latency charts in each metric.

    The run is compared with the published table of its GPU, or with all published tables if its device has none. A run
    without a network of those tables is compared with nothing.
    """
    request, models = stored.run.request, [model.name for model in stored.run.models]
    same_device = bool(tables.published_ms(stored.run.device.name))
    pages = published_latencies([stored.run.device.name] if same_device else ())
    if not any(model in KNOWN for model in models):
        pages = []
    compute = measured(stored, COMPUTE)  # the published tables timed it
    return [
        *latency_charts([measured(stored, m) for m in METRICS if m.name in metric_names], request.precisions),
        *(time_parts(stored, name, size) for name in request.precisions for size in request.batch_sizes),
        *(against_page(compute, page, name, same_device=same_device) for page in pages for name in request.precisions),
        *against_costs(models),
        *page_charts(pages),
    ]


def published_charts(gpus: Sequence[str]) -> list[Chart | NotDrawn]:
    """Return the charts of the published tables of some GPUs, or of all if none is named."""
    pages = published_latencies(gpus)
    return [*against_costs(list(dict.fromkeys(model for page in pages for model in page.models))), *page_charts(pages)]


def published_latencies(gpus: Sequence[str]) -> list[Latencies]:
    """Return the published latencies of some GPUs, or of all if none is named."""
    return [
        Latencies(
            f"published-{target.name}",
            f"as published for the {target.title}",
            f"Latency as published, ms, on a {target.title}",
            f"Published, on a {target.title}: {tables.SOURCE}.",
            {point: Value(float(ms)) for point, ms in tables.published_ms(target.name).items()},
        )
        for target in targets.TARGETS
        if target.published and (not gpus or target.name in gpus)
    ]


def page_charts(pages: Iterable[Latencies]) -> list[Chart | NotDrawn]:
    """Return the latency charts of published tables in the precisions that each has."""
    return [chart for page in pages for chart in latency_charts([page], page.precisions)]


def latency_charts(latencies: Sequence[Latencies], precisions: Iterable[Precision]) -> list[Chart | NotDrawn]:
    """Return the charts against accuracy and against batch size."""
    return [
        chart(values, precision)
        for precision in precisions
        for values in latencies
        for chart in (against_top1, against_batch)
    ]


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


def against_costs(models: Collection[str]) -> list[Points | NotDrawn]:
    """Return one chart of top-1 accuracy per row of COSTS."""
    counted = [(network, network.published, network.count()) for network in NETWORKS if network.name in models]
    charts = []
    for name, cost, axis, about, value in COSTS:
        values = {network.name: Value(value(page, counts)) for network, page, counts in counted if page}
        charts.append(against(name, f"Top-1 accuracy against {cost}", about, axis, values, models))
    return charts


def against_top1(latencies: Latencies, precision: Precision) -> Points | NotDrawn:
    """Return top-1 accuracy against the latency at batch 4, like the published chart."""
    title = f"Top-1 accuracy against latency at batch {BATCH}"
    name, title = latencies.chart(f"top1-latency-batch-{BATCH}", title, precision)
    values = {
        point.model: value
        for point, value in latencies.values.items()
        if (point.precision, point.batch_size) == (precision, BATCH)
    }
    if not values:
        return NotDrawn(name, f"there is no {precision.upper()} latency at batch {BATCH}")
    return against(name, title, latencies.about, latencies.axis, values, values)


def against(
    name: str, title: str, about: str, axis: str, values: Mapping[str, Value], models: Iterable[str]
) -> Points | NotDrawn:
    """Return a chart of top-1 against a value of each model, with one line per family."""
    marks: dict[Family, list[Mark]] = {}
    for network in NETWORKS:
        if network.name in values and network.published:
            value, stable = values[network.name]
            mark = Mark(value, network.published.top1, network.title, stable)
            marks.setdefault(network.definition.family, []).append(mark)
    if not marks:
        return NotDrawn(name, "none of the models has a published accuracy")
    series = (
        Series(style.label, key, "dotted", tuple(sorted(marks[key], key=lambda mark: mark.x)))
        for key, style in FAMILIES.items()
        if key in marks
    )
    absent = [printable(model) for model in models if model not in KNOWN]
    about = f"{about} Accuracy as published by PaddleClas, for its weights."
    if absent:
        about += f" Left out, without a published accuracy: {', '.join(absent)}."
    return Points(name, title, about, axis, "Top-1 accuracy, as published", tuple(series))


def against_batch(latencies: Latencies, precision: Precision) -> Points | NotDrawn:
    """Return latency against batch size, with one line per model."""
    name, title = latencies.chart("latency-batch", "Latency against batch size", precision)
    series = lines(latencies, precision, {point: point.batch_size for point in latencies.values})
    ticks = tuple(sorted({mark.x for one in series for mark in one.marks}))
    if len(ticks) < 2:  # noqa: PLR2004 (the ends of a line)
        return NotDrawn(name, f"there are no {precision.upper()} latencies at two batch sizes")
    about, x, y = latencies.about, "Images per request", latencies.axis
    return Points(name, title, about, x, y, series, log=True, x_ticks=ticks, names_at_end=True)


def against_page(run: Latencies, page: Latencies, precision: Precision, *, same_device: bool) -> Points | NotDrawn:
    """Return measured against published latency, with one line per model through its batch sizes."""
    name = f"measured-{page.suffix}-{precision}"
    series = lines(run, precision, {point: value.number for point, value in page.values.items()})
    if not series:
        return NotDrawn(name, "no point is both measured and published")
    about = f"{run.about} {page.about} Each line runs from the smallest batch to the largest, which has the name."
    if absent := [short_title(model) for model in run.models if model not in page.models]:
        about += f" Not published: {', '.join(absent)}."
    if not same_device:
        about += " The devices differ: compare the order of the models, not their latencies."
    title = f"Latency measured against latency {page.qualifier}, {precision.upper()}"
    return Points(name, title, about, page.axis, run.axis, series, log=True, diagonal=same_device)


def lines(latencies: Latencies, precision: Precision, xs: Mapping[PerfPoint, float]) -> tuple[Series, ...]:
    """Return one line per model through the points that have an x, labelled at the largest batch size."""
    series = []
    for model in latencies.models:
        mine = [p for p in latencies.values if (p.model, p.precision) == (model, precision) and p in xs]
        mine.sort(key=lambda point: point.batch_size)
        values = [(point, latencies.values[point], short_title(model) if point == mine[-1] else "") for point in mine]
        if values:
            marks = tuple(Mark(xs[point], value.number, label, value.stable) for point, value, label in values)
            family = KNOWN[model].definition.family if model in KNOWN else "other"
            series.append(Series(short_title(model), family, "solid", marks))
    return tuple(series)


def time_parts(stored: Stored, precision: Precision, batch_size: int) -> Bars | NotDrawn:
    """Return the parts of the client's mean latency, with one bar per model."""
    name = f"parts-{precision}-batch-{batch_size}"
    wanted = (precision, batch_size, min(stored.run.request.concurrencies))
    bars = []
    for result in stored.results:
        point = result.point
        if result.kept and (point.precision, point.batch_size, point.concurrency) == wanted:
            *values, mean = ((result.value_us(part) or 0) / 1000 for part in (*PARTS, LATENCY))
            status = "" if result.status == "ok" else f" ({result.status})"
            bars.append(Bar(short_title(point.model), tuple(values), f"{mean:.4g} ms{status}"))
    if not bars:
        return NotDrawn(name, "no such point was measured")
    title = f"Where a request's time goes at batch {batch_size}, {precision.upper()}"
    about = (
        f"{about_run(stored, marks=False)} The value at the end of a bar is the client's mean. perf_analyzer reports a "
        "negative network time as 0: then the bar is longer than its mean."
    )
    return Bars(name, title, about, tuple(bars))


def short_title(model: str) -> str:
    """Return the title of a model, cut if it is too long for a label."""
    name = tables.title(model)
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
