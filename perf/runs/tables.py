"""Runs as tables, with the columns of the published tables; pure."""

import csv
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from generator.errors import printable
from generator.networks import NETWORKS
from generator.system.text import markdown
from generator.types import PRECISIONS
from perf.runs.store import Stored
from perf.runs.types import COMPUTE, LATENCY, METRICS, PARTS, Metric, PerfPoint

TITLES = {network.name: network.title for network in NETWORKS}
SOURCE = (
    "PaddleClas's page on DPN and DenseNet: TensorRT 8.0.3.4, one engine per batch size, "
    "mean of 2,000 predictor runs after 100 to warm up"
)
SIZES = ("Models", "Crop Size", "Resize Short Size")
PROFILES = {
    "production": "the repository as it is",
    "published": "one server per batch size, with models for that size only, as the published tables were measured",
}
MEDIAN = "each value is the median of the three fastest rounds"


@dataclass(frozen=True)
class Table:
    """Rows with their heads, a heading above and a text below; the first `words` columns are words, the others numbers.

    The only markup in a head is `<br>`, as in the published tables.
    """

    heading: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    under: str
    words: int = 1

    @property
    def markdown(self) -> str:
        """The heads and rows as Markdown."""
        return markdown(self.heads, self.rows)


def of_run(stored: Stored, metric_names: Collection[str]) -> list[Table]:
    """Return the table of each metric, the published one after its metric, and the one of ONNX Runtime alone."""
    made = []
    for metric in METRICS:
        if metric.name in metric_names:
            made.append(latencies(stored, metric))
            if metric == COMPUTE and published_ms(stored.run.device.name):
                made.append(reference(stored))
    return [*made, beside_bare(stored)] if stored.run.request.baseline else made


def latencies(stored: Stored, metric: Metric) -> Table:
    """Return the latency per request in ms, with a row per model and a column per precision and batch size."""
    cells = {}
    for result in stored.results:
        value, mark = result.value_us(metric), " (unstable)" if result.status == "unstable" else ""
        cells[result.point] = result.status if value is None else f"{value / 1000:.2f}{mark}"
    heading = f"{metric.label}, ms, on {printable(stored.run.device.label)}"
    return grid(stored, heading, cells.__getitem__, measured_on(stored))


def grid(stored: Stored, heading: str, cell_of: Callable[[PerfPoint], str], under: str, unit: str = "ms") -> Table:
    """Return a table of that shape with any cells."""
    run = stored.run
    columns = [
        (precision, size, concurrency)
        for precision in run.request.precisions
        for size in run.request.batch_sizes
        for concurrency in run.request.concurrencies
    ]
    heads = [
        f"{precision.upper()}<br>Batch Size={size}<br>"
        + (f"Concurrency={concurrency}<br>" if run.request.concurrencies != (1,) else "")
        + f"({unit})"
        for precision, size, concurrency in columns
    ]
    points = {(p.model, p.precision, p.batch_size, p.concurrency): p for p in run.points}
    rows = [
        (
            title(model.name),
            *("-" if size is None else str(size) for size in (model.crop_px, model.resize_short_px)),
            *(cell_of(points[key]) if (key := (model.name, *column)) in points else "-" for column in columns),
        )
        for model in run.models
    ]
    return Table(heading, (*SIZES, *heads), tuple(rows), under)


@cache
def published_ms(gpu: str) -> dict[PerfPoint, str]:
    """Return the published latencies of a GPU in ms with their decimals, empty if there are none.

    The README beside `latency.csv` names their source.
    """
    with (files("perf") / "reference" / "latency.csv").open() as file:
        return {
            PerfPoint(row["model"], precision, int(row["batch_size"])): row["latency_ms"]
            for row in csv.DictReader(file)
            for precision in PRECISIONS
            if (row["gpu"], row["precision"]) == (gpu, precision)
        }


def published(gpu: str) -> Table:
    """Return a published table as on the page: ten networks, all with a crop of 224 px from 256 px."""
    figures = published_ms(gpu)
    columns = dict.fromkeys((point.precision, point.batch_size) for point in figures)
    heads = [f"{precision.upper()}<br>Batch Size={size}<br>(ms)" for precision, size in columns]
    rows = [
        (network.title, "224", "256", *(figures.get(PerfPoint(network.name, *c), "-") for c in columns))
        for network in NETWORKS
    ]
    return Table(f"Published, ms, on a {gpu.upper()}", (*SIZES, *heads), tuple(rows), f"{SOURCE}.")


def reference(stored: Stored) -> Table:
    """Return the published values in the cells of a run, with the published decimals."""
    gpu = stored.run.device.name
    cells = published_ms(gpu)
    return grid(stored, f"Published, ms, on a {gpu.upper()}", lambda point: cells.get(point, "-"), f"{SOURCE}.")


def parts(stored: Stored) -> Table:
    """Return the parts of a request in µs, with a row per point."""
    heads = ("Models", "Precision", "Batch Size", "Concurrency", *(part.label for part in PARTS), LATENCY.label)
    rows = []
    for result in stored.results:
        values = [result.value_us(metric) for metric in (*PARTS, LATENCY)]
        cells = [result.status if value is None else f"{value:.0f}" for value in values]
        if result.status == "unstable" and result.kept:
            cells[-1] += " (unstable)"
        point = result.point
        sizes = (str(point.batch_size), str(point.concurrency))
        rows.append((title(point.model), point.precision.upper(), *sizes, *cells))
    heading = f"Parts of a request, µs, on {printable(stored.run.device.label)}"
    return Table(heading, heads, tuple(rows), measured_on(stored), words=2)


def beside_bare(stored: Stored) -> Table:
    """Return the time of ONNX Runtime alone in ms, and the server's times divided by it (the median of all rounds)."""
    heads = ("Models", "Batch Size", "Concurrency", "ONNX Runtime alone (ms)", "Server compute", "Client mean")
    rows = []
    for result in stored.results:
        point, bare = result.point, result.bare_us
        ratios = [result.over_bare(metric) for metric in (COMPUTE, LATENCY)]
        cells = ["-" if bare is None else f"{bare / 1000:.2f}"]
        cells += ["-" if ratio is None else f"{ratio:.3f} x" for ratio in ratios]
        rows.append((title(point.model), str(point.batch_size), str(point.concurrency), *cells))
    threads = sorted({repeat.bare.threads for repeat in stored.repeats if repeat.bare})
    heading = f"ONNX Runtime alone on {', '.join(map(str, threads)) or 'no'} threads, and the server's times over it"
    return Table(heading, heads, tuple(rows), measured_on(stored))


def title(name: str) -> str:
    """Return the name of a model in the published tables, or its own."""
    return TITLES.get(name) or printable(name)


def measured_on(stored: Stored) -> str:
    """Return the text below a table of a run: what was measured, on what, how and when."""
    run, request = stored.run, stored.run.request
    shared = "" if request.shared_memory == "none" else f" through {request.shared_memory} shared memory"
    protocol = {"grpc": "gRPC", "http": "HTTP"}[request.protocol]
    concurrency = ", ".join(map(str, request.concurrencies))
    if request.concurrencies != (1,):
        concurrency += " (request counts are multiplied by it)"
    device = run.device.label if not (gpu := run.device.gpu) else f"{gpu.name}, driver {gpu.driver}"
    if run.device.governor:
        device += f", governor {run.device.governor}"
    server = f"{run.server}, Triton {stored.triton}" + (f" (image {stored.image_tag})" if stored.image_tag else "")
    weights = ", ".join(sorted({model.weights for model in run.models}))
    return (
        f"Run {run.id}: {period(stored)}, on {printable(device)}; {server}. "
        f"perf_analyzer {run.analyzer} over {protocol}{shared} at concurrency {concurrency}: {run.plan} "
        f"({run.plan.name}); {MEDIAN}. "
        f"Profile {request.profile}: {PROFILES[request.profile]}. Weights: {printable(weights)}."
    )


def period(stored: Stored) -> str:
    """Return the times at which measuring began and ended."""
    ends = [session.ended for session in stored.sessions] or [repeat.at for repeat in stored.repeats]
    began, ended = stored.run.began, max(ends, default=stored.run.began)
    return f"{began[:16].replace('T', ' ')} to {ended[11:16] if ended[:10] == began[:10] else ended[:16]} UTC"


def reasons(stored: Stored) -> list[str]:
    """Return a line per reason why points failed or did not settle, with the first of those points."""
    marked: dict[tuple[str, str], list[str]] = {}
    for result in stored.results:
        if result.status != "ok":
            marked.setdefault((result.status, result.reason), []).append(str(result.point))
    return [
        f"{status}: {', '.join(names[:3])}{f' and {len(names) - 3} more' if names[3:] else ''}: {reason}"
        for (status, reason), names in marked.items()
    ]
