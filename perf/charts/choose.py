"""Selection of the charts of a run and of the published tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from generator.config import targets
from perf.charts import accuracy, latency
from perf.runs.metrics import COMPUTE
from perf.runs.published import published

if TYPE_CHECKING:
    from generator.types import Precision
    from perf.charts.latency import Latencies
    from perf.charts.types import Chart, NotDrawn
    from perf.runs.metrics import Metric
    from perf.runs.store import Stored


def run_charts(stored: Stored, metrics: Sequence[Metric]) -> list[Chart | NotDrawn]:
    """Return every chart of a run, with the latency charts in each metric.

    The run is compared with the published table of its GPU, or with all published tables if its device has none. A run
    without a network of those tables is compared with nothing.
    """
    request, models = stored.run.request, [model.name for model in stored.run.models]
    own = published(stored.run.device.name)
    pages = [latency.from_table(own)] if own.latency_ms else published_latencies()
    if not any(model in accuracy.KNOWN for model in models):
        pages = []
    compute = latency.measured(stored, COMPUTE)  # the published tables timed it
    return [
        *latency_charts([latency.measured(stored, metric) for metric in metrics], request.precisions),
        *(latency.time_parts(stored, name, size) for name in request.precisions for size in request.batch_sizes),
        *(
            latency.against_page(compute, page, name, same_device=bool(own.latency_ms))
            for page in pages
            for name in request.precisions
        ),
        *accuracy.against_costs(models),
        *(chart for page in pages for chart in latency_charts([page], page.precisions)),
    ]


def published_charts(gpus: Sequence[str]) -> list[Chart | NotDrawn]:
    """Return the charts of the published tables of some GPUs, or of all if none is named."""
    pages = published_latencies(gpus)
    models = dict.fromkeys(model for page in pages for model in page.models)
    charts = [chart for page in pages for chart in latency_charts([page], page.precisions)]
    return [*accuracy.against_costs(list(models)), *charts]


def published_latencies(gpus: Sequence[str] = ()) -> list[Latencies]:
    """Return the published latencies of some GPUs, or of all if none is named."""
    names = [target.name for target in targets.TARGETS if target.published and (not gpus or target.name in gpus)]
    return [latency.from_table(published(name)) for name in names]


def latency_charts(latencies: Sequence[Latencies], precisions: Iterable[Precision]) -> list[Chart | NotDrawn]:
    """Return the charts against accuracy and against batch size."""
    return [
        chart(values, precision)
        for precision in precisions
        for values in latencies
        for chart in (latency.against_top1, latency.against_batch)
    ]
