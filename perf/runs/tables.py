"""Runs as tables, in the columns of the published ones; pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from generator.errors import printable
from generator.networks import NETWORKS
from generator.system.text import markdown
from perf.runs.metrics import COMPUTE, LATENCY, PARTS
from perf.runs.published import SOURCE
from perf.runs.types import PerfPoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from perf.runs.metrics import Metric
    from perf.runs.points import Result
    from perf.runs.published import Published
    from perf.runs.store import Stored
    from perf.runs.types import Model

    Cell = Callable[[PerfPoint], str]

TITLES = {network.name: network.title for network in NETWORKS}
SIZES = ("Models", "Crop Size", "Resize Short Size")
PROFILES = {
    "production": "the repository as it is",
    "published": "one server a batch size, for that batch alone, as the published tables were timed",
}


@dataclass(frozen=True)
class Table:
    """Rows under heads, their name, and what stands below; the first `words` columns are words, the others figures.

    A `<br>` in a head is a line's end, as the published tables have it; nothing else in it is markup.
    """

    heading: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    under: str
    words: int = 1

    @property
    def markdown(self) -> str:
        """The rows under their heads."""
        return markdown(self.heads, self.rows)


def latencies(stored: Stored, metric: Metric) -> Table:
    """Models down, precision by batch size across, milliseconds of one request."""
    results = {found.point: found for found in stored.results}
    heading = f"{metric.label}, ms, on {printable(stored.run.device.label)}"
    return grid(stored, heading, lambda point: cell(results.get(point), metric), measured_on(stored))


def grid(stored: Stored, heading: str, cell_of: Cell, under: str, unit: str = "ms") -> Table:
    """A table of that shape with any cells."""
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
    of = {(p.model, p.precision, p.batch_size, p.concurrency): p for p in run.points}
    rows = [
        (
            *model_cells(model),
            *(cell_of(of[key]) if (key := (model.name, *column)) in of else "-" for column in columns),
        )
        for model in run.models
    ]
    return Table(heading, (*SIZES, *heads), tuple(rows), under)


def published(figures: Published) -> Table:
    """A published table as the page has it: of our ten networks, all of them at 224 of 256 pixels."""
    columns = dict.fromkeys((point.precision, point.batch_size) for point in figures.latency_ms)
    heads = [f"{precision.upper()}<br>Batch Size={size}<br>(ms)" for precision, size in columns]
    rows = [
        (network.title, "224", "256", *(figures.latency_ms.get(PerfPoint(network.name, *c), "-") for c in columns))
        for network in NETWORKS
    ]
    return Table(on_page(figures), (*SIZES, *heads), tuple(rows), f"{SOURCE}.")


def reference(stored: Stored, published: Published) -> Table:
    """The published figures in the same cells, in their own decimals; a dash where the page has none."""
    return grid(stored, on_page(published), lambda point: published.latency_ms.get(point, "-"), f"{SOURCE}.")


def on_page(published: Published) -> str:
    """What a published table is called."""
    return f"Published, ms, on a {published.gpu.upper()}"


def parts(stored: Stored) -> Table:
    """Where a request's time goes: a row a point, microseconds."""
    heads = ("Models", "Precision", "Batch Size", "Concurrency", *(part.label for part in PARTS), LATENCY.label)
    rows = []
    for found in stored.results:
        values = [found.value_us(metric) for metric in (*PARTS, LATENCY)]
        cells = [found.status if value is None else f"{value:.0f}" for value in values]
        if found.status == "unstable" and found.kept:
            cells[-1] += " (unstable)"
        point = found.point
        sizes = (str(point.batch_size), str(point.concurrency))
        rows.append((title(point.model), point.precision.upper(), *sizes, *cells))
    heading = f"Parts of a request, µs, on {printable(stored.run.device.label)}"
    return Table(heading, heads, tuple(rows), measured_on(stored), words=2)


def beside_bare(stored: Stored) -> Table:
    """ONNX Runtime alone, in milliseconds, and how often as long the server takes: the median of the rounds' ratios."""
    heads = ("Models", "Batch Size", "Concurrency", "ONNX Runtime alone (ms)", "Server compute", "Client mean")
    rows = []
    for found in stored.results:
        point, bare = found.point, found.bare_us
        ratios = [found.over_bare(metric) for metric in (COMPUTE, LATENCY)]
        cells = ["-" if bare is None else f"{bare / 1000:.2f}"]
        cells += ["-" if ratio is None else f"{ratio:.3f} x" for ratio in ratios]
        rows.append((title(point.model), str(point.batch_size), str(point.concurrency), *cells))
    threads = sorted({repeat.bare.threads for repeat in stored.repeats if repeat.bare})
    heading = (
        f"ONNX Runtime alone, in turn with the server, on {', '.join(map(str, threads)) or 'no'} threads; "
        "and how often as long the server takes"
    )
    return Table(heading, heads, tuple(rows), measured_on(stored))


def cell(found: Result | None, metric: Metric) -> str:
    """A figure, or what became of the point."""
    if found is None:
        return "-"
    value = found.value_us(metric)
    if value is None:
        return found.status
    return f"{value / 1000:.2f}" + (" (unstable)" if found.status == "unstable" else "")


def model_cells(model: Model) -> tuple[str, ...]:
    """The columns that tell the model."""
    sizes = (model.crop_px, model.resize_short_px)
    return (title(model.name), *("-" if size is None else str(size) for size in sizes))


def title(name: str) -> str:
    """As the published tables write it; of any other model its own name."""
    return TITLES.get(name) or printable(name)


def measured_on(stored: Stored) -> str:
    """What a table was measured on, how, and when."""
    run, request = stored.run, stored.run.request
    shared = "" if request.shared_memory == "none" else f" through {request.shared_memory} shared memory"
    protocol = {"grpc": "gRPC", "http": "HTTP"}[request.protocol]
    concurrency = ", ".join(map(str, request.concurrencies))
    if request.concurrencies != (1,):
        concurrency += " (the counts are of each)"
    device = run.device.label if not (gpu := run.device.gpu) else f"{gpu.name}, driver {gpu.driver}"
    if run.device.governor:
        device += f", governor {run.device.governor}"
    tag = next((r.origin.image_tag for r in stored.repeats if r.origin and r.origin.image_tag), None)
    triton = next((r.origin.versions.triton for r in stored.repeats if r.origin), "?")
    server = f"{run.server}, Triton {triton}" + (f" (image {tag})" if tag else "")
    weights = ", ".join(sorted({model.weights for model in run.models}))
    return (
        f"Run {run.id}: {period(stored)}, on {printable(device)}; {server}. "
        f"perf_analyzer {run.analyzer} over {protocol}{shared} at concurrency {concurrency}: {run.plan} "
        f"({run.plan.name}); a figure is of the middle one of those three. "
        f"Profile {request.profile}: {PROFILES[request.profile]}. Weights: {printable(weights)}."
    )


def period(stored: Stored) -> str:
    """From when to when it was measured."""
    ends = [session.ended for session in stored.sessions] or [repeat.at for repeat in stored.repeats]
    began, ended = stored.run.began, max(ends, default=stored.run.began)
    return f"{began[:16].replace('T', ' ')} to {ended[11:16] if ended[:10] == began[:10] else ended[:16]} UTC"


def reasons(stored: Stored) -> list[str]:
    """Return a line per reason why points failed or did not settle, with the first of those points."""
    marked: dict[tuple[str, str], list[str]] = {}
    for found in stored.results:
        if found.status != "ok":
            marked.setdefault((found.status, found.reason), []).append(str(found.point))
    return [
        f"{status}: {', '.join(names[:3])}{f' and {len(names) - 3} more' if names[3:] else ''}: {reason}"
        for (status, reason), names in marked.items()
    ]
