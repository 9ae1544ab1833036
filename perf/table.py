"""Runs as Markdown tables, in the columns of the published ones; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from generator.console import markdown
from generator.networks import NETWORKS
from perf.metrics import COMPUTE, LATENCY, PARTS
from perf.spec import PerfPoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from perf.metrics import Metric
    from perf.points import Result
    from perf.reference import Published
    from perf.spec import Model
    from perf.store import Stored

    Cell = Callable[[PerfPoint], str]

TITLES = {network.name: network.title for network in NETWORKS}
PROFILES = {
    "production": "the repository as it is",
    "published": "one server a batch size, for that batch alone, as the published tables were timed",
}


def latencies(stored: Stored, metric: Metric) -> str:
    """Models down, precision by batch size across, milliseconds of one request."""
    results = {found.point: found for found in stored.results}
    return grid(stored, lambda point: cell(results.get(point), metric))


def grid(stored: Stored, cell_of: Cell) -> str:
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
        + "(ms)"
        for precision, size, concurrency in columns
    ]
    of = {(p.model, p.precision, p.batch_size, p.concurrency): p for p in run.points}
    rows = [
        [
            *model_cells(model),
            *(cell_of(of[key]) if (key := (model.name, *column)) in of else "-" for column in columns),
        ]
        for model in run.models
    ]
    return markdown(["Models", "Crop Size", "Resize Short Size", *heads], rows)


def published(figures: Published) -> str:
    """A published table as the page has it: of our ten networks, all of them at 224 of 256 pixels."""
    columns = dict.fromkeys((point.precision, point.batch_size) for point in figures.latency_ms)
    heads = [f"{precision.upper()}<br>Batch Size={size}<br>(ms)" for precision, size in columns]
    rows = [
        [network.title, "224", "256", *(figures.latency_ms.get(PerfPoint(network.name, *c), "-") for c in columns)]
        for network in NETWORKS
    ]
    return markdown(["Models", "Crop Size", "Resize Short Size", *heads], rows)


def reference(stored: Stored, published: Published) -> str:
    """The published figures in the same cells, in their own decimals; a dash where the page has none."""
    return grid(stored, lambda point: published.latency_ms.get(point, "-"))


def parts(stored: Stored) -> str:
    """Where a request's time goes: a row a point, microseconds."""
    heads = ["Models", "Precision", "Batch Size", "Concurrency", *(part.label for part in PARTS), LATENCY.label]
    rows = []
    for found in stored.results:
        point = found.point
        first = [title(point.model), point.precision.upper(), str(point.batch_size), str(point.concurrency)]
        values = [found.value_us(metric) for metric in (*PARTS, LATENCY)]
        rows.append([*first, *(found.status if value is None else f"{value:.0f}" for value in values)])
        if found.status == "unstable" and found.kept:
            rows[-1][-1] += " (unstable)"
    return markdown(heads, rows)


def beside_bare(stored: Stored) -> str:
    """ONNX Runtime alone, in milliseconds, and how often as long the server takes: the median of the rounds' ratios."""
    heads = ["Models", "Batch Size", "Concurrency", "ONNX Runtime alone (ms)", "Server compute", "Client mean"]
    rows = []
    for found in stored.results:
        point, bare = found.point, found.bare_us
        rows.append([title(point.model), str(point.batch_size), str(point.concurrency)])
        if bare is None:
            rows[-1] += ["-", "-", "-"]
            continue
        ratios = [found.over_bare(metric) for metric in (COMPUTE, LATENCY)]
        rows[-1] += [f"{bare / 1000:.2f}", *("-" if ratio is None else f"{ratio:.3f} x" for ratio in ratios)]
    return markdown(heads, rows)


def cell(found: Result | None, metric: Metric) -> str:
    """A figure, or what became of the point."""
    if found is None:
        return "-"
    value = found.value_us(metric)
    if value is None:
        return found.status
    return f"{value / 1000:.2f}" + (" (unstable)" if found.status == "unstable" else "")


def model_cells(model: Model) -> list[str]:
    """The columns that tell the model."""
    sizes = (model.crop_px, model.resize_short_px)
    return [title(model.name), *("-" if size is None else str(size) for size in sizes)]


def title(name: str) -> str:
    """As the published tables write it; of any other model its own name, in which nothing is obeyed."""
    return TITLES.get(name) or plain(name)


def plain(text: str) -> str:
    """Text for a cell: no column ends in it, and a terminal obeys nothing in it."""
    shown = text if text.isprintable() else repr(text)[1:-1]
    return shown.replace("\\", "\\\\").replace("|", "\\|")


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
        f"Run {run.id}: {period(stored)}, on {plain(device)}; {server}. "
        f"perf_analyzer {run.analyzer} over {protocol}{shared} at concurrency {concurrency}: {run.plan} "
        f"({run.plan.name}); a figure is of the middle one of those three. "
        f"Profile {request.profile}: {PROFILES[request.profile]}. Weights: {plain(weights)}."
    )


def period(stored: Stored) -> str:
    """From when to when it was measured."""
    ends = [session.ended for session in stored.sessions] or [repeat.at for repeat in stored.repeats]
    began, ended = stored.run.began, max(ends, default=stored.run.began)
    return f"{began[:16].replace('T', ' ')} to {ended[11:16] if ended[:10] == began[:10] else ended[:16]} UTC"


def reasons(stored: Stored) -> list[str]:
    """A line for each point that has no figure, or one that is not stable."""
    return [f"{found.status}: {found.point}: {found.reason}" for found in stored.results if found.status != "ok"]
