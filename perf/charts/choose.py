"""Which charts there are of a run, and of the published tables; pure, but for the counting of FLOPs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from generator.config import targets
from perf.charts import accuracy, latency
from perf.runs import published as reference
from perf.runs.metrics import COMPUTE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from generator.types import Precision
    from perf.charts.latency import Latencies
    from perf.charts.types import Chart, NotDrawn
    from perf.runs.metrics import Metric
    from perf.runs.published import Published
    from perf.runs.store import Stored


def of_run(stored: Stored, metrics: Sequence[Metric]) -> list[Chart | NotDrawn]:
    """Every chart of a run: each latency chart in each metric, and beside it the published one.

    Beside a GPU that the page has a table of stands that table, beside any other device all of them; beside networks of
    which it has none, nothing.
    """
    models = [model.name for model in stored.run.models]
    mine = [latency.measured(stored, metric) for metric in metrics]
    own = reference.published(stored.run.device.name)
    there = any(model in accuracy.KNOWN for model in models)
    pages = list(map(latency.of_page, [own] if own.latency_ms else tables())) if there else []
    return [
        *latencies(mine, stored.run.request.precisions),
        *parts(stored),
        *beside_pages(stored, pages, same_device=bool(own.latency_ms)),
        *accuracy.against_costs(models),
        *published(pages),
    ]


def of_pages(gpus: Sequence[str]) -> list[Chart | NotDrawn]:
    """The published charts themselves, of some GPUs or of all."""
    pages = [latency.of_page(table) for table in tables() if not gpus or table.gpu in gpus]
    models = dict.fromkeys(model for page in pages for model in page.models)
    return [*accuracy.against_costs(list(models)), *published(pages)]


def tables() -> list[Published]:
    """Those of every GPU that the page has."""
    return [reference.published(target.name) for target in targets.TARGETS if target.published]


def latencies(sets: Iterable[Latencies], precisions: Iterable[Precision]) -> Iterator[Chart | NotDrawn]:
    """Against accuracy and against batch size, precision by precision."""
    for precision in precisions:
        for found in sets:
            yield latency.against_top1(found, precision)
            yield latency.against_batch(found, precision)


def published(pages: Iterable[Latencies]) -> Iterator[Chart | NotDrawn]:
    """The same of each page, in what it has."""
    for page in pages:
        yield from latencies([page], page.precisions)


def parts(stored: Stored) -> Iterator[Chart | NotDrawn]:
    """Where the time goes, a chart a precision and batch size."""
    for precision in stored.run.request.precisions:
        for size in stored.run.request.batch_sizes:
            yield latency.where_it_goes(stored, precision, size)


def beside_pages(stored: Stored, pages: Sequence[Latencies], *, same_device: bool) -> Iterator[Chart | NotDrawn]:
    """Measured against published, in server compute, which is what the page timed."""
    compute = latency.measured(stored, COMPUTE)
    for page in pages:
        for precision in stored.run.request.precisions:
            yield latency.against_page(compute, page, precision, same_device=same_device)
