"""Comparison of two sets of latencies: a ratio and a verdict per point, and a summary; pure.

A point is slower or faster if all kept rounds of one side lie beyond all of the other's, and the ratio exceeds the
agreement that rounds of one side must reach.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from generator.errors import printable
from perf.runs import published as reference
from perf.runs import tables
from perf.runs.metrics import COMPUTE, METRICS

if TYPE_CHECKING:
    from perf.runs.metrics import Metric
    from perf.runs.published import Published
    from perf.runs.store import Stored
    from perf.runs.tables import Table
    from perf.runs.types import PerfPoint

Verdict = Literal["slower", "faster", "no difference shown"]
VERDICTS: tuple[Verdict, ...] = ("slower", "faster", "no difference shown")
AGREE = 0.10


@dataclass(frozen=True)
class Latency:
    """A latency and the range of its kept rounds, in milliseconds."""

    value_ms: float
    low_ms: float
    high_ms: float


@dataclass(frozen=True)
class Side:
    """One side of a comparison; its rounds may differ by `agreement`."""

    label: str
    latencies: Mapping[PerfPoint, Latency]
    agreement: float


@dataclass(frozen=True)
class Cell:
    """A point of both sides, and the ratio of this side to the other."""

    point: PerfPoint
    ratio: float
    verdict: Verdict


@dataclass(frozen=True)
class Comparison:
    """A comparison of two sides: the cells of both, the points that the other lacks, and notes on what limits it."""

    this: str
    other: str
    metric: Metric
    cells: tuple[Cell, ...]
    missing: tuple[PerfPoint, ...]
    notes: tuple[str, ...]

    @property
    def geometric_mean(self) -> float | None:
        """The geometric mean of the ratios, None without cells."""
        ratios = [cell.ratio for cell in self.cells]
        return math.exp(sum(map(math.log, ratios)) / len(ratios)) if ratios else None

    @property
    def agreeing(self) -> int:
        """The number of cells whose sides differ by at most 10 %."""
        return sum(max(cell.ratio, 1 / cell.ratio) <= 1 + AGREE for cell in self.cells)

    def count(self, verdict: Verdict) -> int:
        """Return the number of cells with a verdict."""
        return sum(cell.verdict == verdict for cell in self.cells)

    def above(self, limit: float) -> tuple[Cell, ...]:
        """Return the slower cells whose ratio exceeds the limit."""
        return tuple(cell for cell in self.cells if cell.verdict == "slower" and cell.ratio > limit)


def comparisons(stored: Stored, others: Iterable[Stored | None], metric_names: Collection[str]) -> list[Comparison]:
    """Compare a run with others in each metric, and with the published table for None."""
    found = []
    for other in others:
        if other is None:
            found.append(with_published(stored, reference.published(stored.run.device.name)))
        else:
            found += [with_run(stored, other, metric) for metric in METRICS if metric.name in metric_names]
    return found


def with_published(stored: Stored, published: Published) -> Comparison:
    """Compare a run with the published table of its GPU in server compute, the metric of that table."""
    latencies = {point: Latency(*[float(ms)] * 3) for point, ms in published.latency_ms.items()}
    other = Side(f"the published {published.gpu.upper()} table", latencies, 0.0)
    return compare(side(stored, COMPUTE), other, COMPUTE, notes_of_published(stored, published))


def with_run(stored: Stored, other: Stored, metric: Metric) -> Comparison:
    """Compare two runs."""
    return compare(side(stored, metric), side(other, metric), metric, notes_of_runs(stored, other))


def side(stored: Stored, metric: Metric) -> Side:
    """Return a run as a side of a comparison."""
    latencies = {
        result.point: Latency(value / 1000, ends[0] / 1000, ends[1] / 1000)
        for result in stored.results
        if (value := result.value_us(metric)) and (ends := result.range_us(metric))
    }
    return Side(f"run {stored.run.id}", latencies, stored.run.plan.agreement)


def compare(this: Side, other: Side, metric: Metric, notes: tuple[str, ...]) -> Comparison:
    """Compare the points of two sides."""
    agreement = max(this.agreement, other.agreement)
    both = [point for point in this.latencies if point in other.latencies]
    cells = (judged(point, this.latencies[point], other.latencies[point], agreement) for point in both)
    missing = tuple(point for point in this.latencies if point not in other.latencies)
    return Comparison(this.label, other.label, metric, tuple(cells), missing, notes)


def judged(point: PerfPoint, this: Latency, other: Latency, agreement: float) -> Cell:
    """Return the ratio and the verdict of a point."""
    ratio = this.value_ms / other.value_ms
    verdict: Verdict = "no difference shown"
    if this.low_ms > other.high_ms and ratio > 1 + agreement:
        verdict = "slower"
    elif this.high_ms < other.low_ms and ratio < 1 / (1 + agreement):
        verdict = "faster"
    return Cell(point, ratio, verdict)


def notes_of_published(stored: Stored, published: Published) -> tuple[str, ...]:
    """Return the differences between a run and the published measurements."""
    run, gpu = stored.run, published.gpu.upper()
    notes = [f"Published: {reference.SOURCE}. Their spread is unknown."]
    absent = [name.upper() for name in run.request.precisions if name not in published.precisions]
    if absent:
        notes.append(f"No {', '.join(absent)} was published for the {gpu}.")
    if run.request.profile != "published":
        notes.append(
            "Not like for like: the published latencies were measured with one engine per batch size, as by "
            "`--profile published`."
        )
    if run.plan.requests < 2000:  # noqa: PLR2004 (as published)
        notes.append(f"A round is {run.plan.requests} requests here, and 2,000 in the published measurements.")
    return tuple(notes)


def notes_of_runs(stored: Stored, other: Stored) -> tuple[str, ...]:
    """Return the differences between the conditions of two runs."""
    this, that = stored.run, other.run
    rows = (
        ("the device", this.device.label, that.device.label),
        ("the profile", this.request.profile, that.request.profile),
        ("the measurement", this.plan.name, that.plan.name),
        ("the protocol", this.request.protocol, that.request.protocol),
        ("shared memory", this.request.shared_memory, that.request.shared_memory),
        ("the server", triton_of(stored), triton_of(other)),
    )
    notes = [f"The runs differ in {what}: {one} and {two}." for what, one, two in rows if one != two]
    changed = [name for name, digest in hashes(stored).items() if hashes(other).get(name, digest) != digest]
    if changed:
        notes.append(f"The model files differ: {', '.join(map(printable, changed))}.")
    return tuple(notes)


def triton_of(stored: Stored) -> str:
    """Return the Triton version and image of a run."""
    origins = [repeat.origin for repeat in stored.repeats if repeat.origin]
    return f"Triton {origins[0].versions.triton} {origins[0].image_tag or ''}".strip() if origins else "?"


def hashes(stored: Stored) -> dict[str, str]:
    """Return the digest of the files of each model, if it is known."""
    known = [(r.point.model, r.origin.model_digest) for r in stored.repeats if r.origin]
    return {name: digest for name, digest in known if digest}


def ratios(stored: Stored, comparison: Comparison) -> Table:
    """Return the ratios in a table like that of the run."""
    cells = {cell.point: cell for cell in comparison.cells}
    unstable = {result.point for result in stored.results if result.status == "unstable"}

    def shown(point: PerfPoint) -> str:
        cell = cells.get(point)
        if cell is None:
            return "-"
        verdict = f" {cell.verdict}" if cell.verdict in ("slower", "faster") else ""
        return f"{cell.ratio:.2f}{verdict}" + (" (unstable)" if point in unstable else "")

    heading = f"{comparison.metric.label}: {comparison.this} over {comparison.other}"
    return tables.grid(stored, heading, shown, summary(comparison), unit="ratio")


def summary(comparison: Comparison) -> str:
    """Return a summary of all cells in words."""
    mean = comparison.geometric_mean
    if mean is None:
        return f"{comparison.other} has none of these points."
    counts = ", ".join(f"{verdict}: {comparison.count(verdict)}" for verdict in VERDICTS)
    agree = f"{comparison.agreeing} of {len(comparison.cells)} cells agree within {AGREE:.0%}"
    lines = [f"{agree}; geometric mean of the ratios {mean:.3f}; {counts}."]
    if comparison.missing:
        listed = ", ".join(map(str, comparison.missing[:4])) + (", …" if len(comparison.missing) > 4 else "")  # noqa: PLR2004
        lines.append(f"Not in {comparison.other}: {len(comparison.missing)} ({listed}).")
    return " ".join([*lines, *comparison.notes])
