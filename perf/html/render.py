"""A run with its tables, charts and models as HTML; it reads the repository, and writes nothing."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import TYPE_CHECKING

from generator.errors import printable
from generator.system.templates import render, template_folder
from perf.charts.draw import bare_svg
from perf.charts.types import NotDrawn, description
from perf.html.inline_svg import inline
from perf.html.model_cards import cards
from perf.runs import compare
from perf.runs import published as reference
from perf.runs import tables as table
from perf.runs.metrics import COMPUTE, LATENCY, METRICS
from perf.runs.tables import Table, title

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from perf.charts.types import Chart
    from perf.html.model_cards import Card
    from perf.runs.compare import Comparison
    from perf.runs.store import Stored

TEMPLATE = "report.html.j2"
MARKED = {" (unstable)": "unstable", "failed": "failed", " slower": "slower", " faster": "faster"}


@dataclass(frozen=True)
class Drawn:
    """A chart on the page; `svg` is markup, and all of its own text is escaped in it."""

    title: str
    about: str
    svg: str


def html(
    stored: Stored, comparisons: Sequence[Comparison], previous: Stored | None, charts: Iterable[Chart | NotDrawn],
    repository: Path,
) -> str:  # fmt: skip
    """The whole file.

    Args:
        stored: the run.
        comparisons: what it stands beside.
        previous: a run of before that was found, not asked for.
        charts: what is drawn, and what is not.
        repository: where certificates are looked for.
    """
    charts, models = list(charts), cards(stored, repository)
    script = (template_folder() / "report.js").read_text()
    return render(
        TEMPLATE,
        run=stored.run,
        label=printable(stored.run.device.label),
        facts=facts(stored),
        notes=notes(stored, models),
        latencies=latencies(stored),
        parts=bare(table.parts(stored)),
        drawn=[drawn(chart) for chart in charts if not isinstance(chart, NotDrawn)],
        missing=[chart for chart in charts if isinstance(chart, NotDrawn)],
        comparisons=[compare.ratios(stored, comparison) for comparison in comparisons],
        previous=previous.run.id if previous else None,
        certificates=certificates(models),
        models=models,
        rounds=rounds(stored),
        kind=kind,
        sizes=table.SIZES[1:],
        style=(template_folder() / "report.css").read_text(),
        script=script,
        script_sha256=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        tritongen=version("tritongen"),
    )


def latencies(stored: Stored) -> list[Table]:
    """Each metric's table, the published one beside the metric that it is of, and ONNX Runtime alone."""
    tables = [bare(table.latencies(stored, metric)) for metric in METRICS]
    published = reference.published(stored.run.device.name)
    if published.latency_ms:
        tables.insert(METRICS.index(COMPUTE) + 1, table.reference(stored, published))
    if stored.run.request.baseline:
        tables.append(bare(table.beside_bare(stored)))
    return tables


def bare(shown: Table) -> Table:
    """Without what it was measured on, which the page says once."""
    return replace(shown, under="")


def drawn(chart: Chart) -> Drawn:
    """A chart as a figure."""
    svg = inline(bare_svg(chart), chart.name, chart.title, description(chart))
    return Drawn(chart.title, chart.about, svg)


def facts(stored: Stored) -> list[tuple[str, str]]:
    """What was measured, on what and how."""
    run, request = stored.run, stored.run.request
    device, origins = run.device, [repeat.origin for repeat in stored.repeats if repeat.origin]
    gpu = f"{device.gpu.name}, driver {device.gpu.driver}" if device.gpu else None
    versions = origins[0].versions if origins else None
    spent_s = sum(session.wall_s for session in stored.sessions)
    sittings = f", in {len(stored.sessions)} sittings" if len(stored.sessions) > 1 else ""
    rows = (
        ("Run", run.id),
        ("When", table.period(stored)),
        ("Device", device.label),
        ("GPU", gpu),
        ("CPU governor", device.governor),
        ("Server", f"{run.server}, Triton {versions.triton}" if versions else run.server),
        ("Image", next((origin.image_tag for origin in origins if origin.image_tag), None)),
        ("perf_analyzer", f"{run.analyzer}, {request.protocol}, shared memory: {request.shared_memory}"),
        ("Precision", ", ".join(request.precisions).upper()),
        ("Batch sizes", ", ".join(map(str, request.batch_sizes))),
        ("Concurrency", ", ".join(map(str, request.concurrencies))),
        ("Profile", f"{request.profile}: {table.PROFILES[request.profile]}"),
        ("Measurement", f"{run.plan.name}: {run.plan}; a figure is of the middle one of those three"),
        ("Time taken", f"{spent_s / 60:.1f} min{sittings}" if stored.sessions else None),
        ("Versions", versions and ", ".join(f"{k} {v}" for k, v in vars(versions).items() if v)),
    )
    return [(name, printable(value)) for name, value in rows if value]


def notes(stored: Stored, models: Iterable[Card]) -> list[str]:
    """What a reader has to know before a figure is taken for what it is not."""
    said = []
    random = [title(model.name) for model in stored.run.models if model.weights.startswith("random")]
    if random:
        said.append(f"Random weights: {', '.join(random)}. Latency is real; labels and accuracy mean nothing.")
    if stored.due:
        said.append("The run did not come to its end: some points have fewer rounds than they were to have.")
    said += [printable(reason) for reason in table.reasons(stored)]
    if stored.run.device.stated:
        said.append("The server is on another host: what it runs on is the user's word.")
    if stored.run.device.name == "cpu":
        said.append("Measured on a CPU: nothing here tells how fast a GPU is.")
    if stored.run.plan.requests < 100:  # noqa: PLR2004 (then the slowest one is above the 99th percentile)
        said.append(f"p99 of the {stored.run.plan.requests} requests of a round is the slowest of them.")
    without = {card.why: [other.name for other in models if other.why == card.why] for card in models if card.why}
    said += [f"No certificate of {', '.join(names)}: {why}." for why, names in without.items()]
    return said


def certificates(models: Sequence[Card]) -> Table:
    """All of them at a glance."""
    rows = tuple((card.name, dict(card.facts)["Weights"], card.why or "passed", card.worst) for card in models)
    heads = ("Models", "Weights", "Certificate", "Largest error")
    under = "The largest error of any batch against what the model was made from, over the largest logit."
    return Table("Certificates", heads, rows, under, words=3)


def rounds(stored: Stored) -> Table:
    """Every perf_analyzer process."""
    heads = ("Models", "Precision", "Began (UTC)", "Status", "Batch Size", "Concurrency", "Round", "Client mean (ms)",
             "Server compute (ms)")  # fmt: skip
    rows = []
    for found in stored.results:
        point = found.point
        for repeat in found.repeats:
            figures = [
                f"{metric.value_us(repeat.report) / 1000:.2f}" if repeat.report else "-"
                for metric in (LATENCY, COMPUTE)
            ]
            status = "kept" if repeat.report in found.kept else repeat.status
            way = (str(point.batch_size), str(point.concurrency), str(repeat.number))
            rows.append(
                (title(point.model), point.precision.upper(), repeat.at[:19].replace("T", " "), status, *way, *figures)
            )
    under = "Kept: one of the three fastest of its point, of which the middle one's figures are in the tables."
    return Table("Every round", heads, tuple(rows), under, words=4)


def kind(cell: str) -> str:
    """Classes for a cell that is marked."""
    return " ".join(name for mark, name in MARKED.items() if mark in cell)
