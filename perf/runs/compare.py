"""Two sets of figures side by side: a ratio and a verdict a cell, and what all of them come to; pure.

A difference is shown where the kept rounds of one side all lie beyond all of the other's, and the ratio is beyond what
rounds of one side may differ by.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from generator.errors import printable
from perf.runs import published as reference
from perf.runs import tables
from perf.runs.metrics import COMPUTE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from perf.runs.metrics import Metric
    from perf.runs.published import Published
    from perf.runs.store import Stored
    from perf.runs.tables import Table
    from perf.runs.types import PerfPoint

Verdict = Literal["slower", "faster", "no difference shown"]
VERDICTS: tuple[Verdict, ...] = ("slower", "faster", "no difference shown")
AGREE = 0.10


@dataclass(frozen=True)
class Figure:
    """A latency and the range of what it rests on, in milliseconds."""

    value_ms: float
    low_ms: float
    high_ms: float


@dataclass(frozen=True)
class Side:
    """One of two sets; `agreement` is what its rounds may differ by."""

    label: str
    figures: Mapping[PerfPoint, Figure]
    agreement: float


@dataclass(frozen=True)
class Cell:
    """A point in both: this over the other."""

    point: PerfPoint
    ratio: float
    verdict: Verdict


@dataclass(frozen=True)
class Comparison:
    """This beside the other: the cells of both, those that the other has not, and what limits the comparison."""

    this: str
    other: str
    metric: Metric
    cells: tuple[Cell, ...]
    missing: tuple[PerfPoint, ...]
    notes: tuple[str, ...]

    @property
    def geometric_mean(self) -> float | None:
        """Of the ratios; None where there are none."""
        ratios = [cell.ratio for cell in self.cells]
        return math.exp(sum(map(math.log, ratios)) / len(ratios)) if ratios else None

    @property
    def agreeing(self) -> int:
        """How many cells are within 10 % of each other."""
        return sum(max(cell.ratio, 1 / cell.ratio) <= 1 + AGREE for cell in self.cells)

    def count(self, verdict: Verdict) -> int:
        """How many cells have it."""
        return sum(cell.verdict == verdict for cell in self.cells)

    def above(self, limit: float) -> tuple[Cell, ...]:
        """The cells that are shown slower, by more than the limit."""
        return tuple(cell for cell in self.cells if cell.verdict == "slower" and cell.ratio > limit)


def with_published(stored: Stored, published: Published) -> Comparison:
    """A run beside the published table of its GPU, in server compute: what the published tables timed."""
    figures = {point: Figure(float(ms), float(ms), float(ms)) for point, ms in published.latency_ms.items()}
    other = Side(f"the published {published.gpu.upper()} table", figures, 0.0)
    return compare(side(stored, COMPUTE), other, COMPUTE, notes_of_published(stored, published))


def with_run(stored: Stored, other: Stored, metric: Metric) -> Comparison:
    """A run beside another."""
    return compare(side(stored, metric), side(other, metric), metric, notes_of_runs(stored, other))


def side(stored: Stored, metric: Metric) -> Side:
    """A run's figures."""
    figures = {}
    for found in stored.results:
        value, ends = found.value_us(metric), found.range_us(metric)
        if value and ends:
            figures[found.point] = Figure(value / 1000, ends[0] / 1000, ends[1] / 1000)
    return Side(f"run {stored.run.id}", figures, stored.run.plan.agreement)


def compare(this: Side, other: Side, metric: Metric, notes: tuple[str, ...]) -> Comparison:
    """Cell by cell."""
    agreement = max(this.agreement, other.agreement)
    both = [point for point in this.figures if point in other.figures]
    cells = (judged(point, this.figures[point], other.figures[point], agreement) for point in both)
    missing = tuple(point for point in this.figures if point not in other.figures)
    return Comparison(this.label, other.label, metric, tuple(cells), missing, notes)


def judged(point: PerfPoint, this: Figure, other: Figure, agreement: float) -> Cell:
    """One cell's ratio, and whether it shows a difference."""
    ratio = this.value_ms / other.value_ms
    verdict: Verdict = "no difference shown"
    if this.low_ms > other.high_ms and ratio > 1 + agreement:
        verdict = "slower"
    elif this.high_ms < other.low_ms and ratio < 1 / (1 + agreement):
        verdict = "faster"
    return Cell(point, ratio, verdict)


def notes_of_published(stored: Stored, published: Published) -> tuple[str, ...]:
    """What keeps a run from being like the published figures."""
    run, gpu = stored.run, published.gpu.upper()
    notes = [f"Published: {reference.SOURCE}. Their spread is not known."]
    absent = [name.upper() for name in run.request.precisions if name not in published.precisions]
    if absent:
        notes.append(f"The page has no {gpu} {', '.join(absent)}.")
    if run.request.profile != "published":
        notes.append(
            "Not like for like: the published figures are of an engine for each batch size. "
            "`--profile published` measures so."
        )
    if run.plan.requests < 2000:  # noqa: PLR2004 (the page's)
        notes.append(f"A round here is {run.plan.requests} requests; the page's figures are of 2,000.")
    return tuple(notes)


def notes_of_runs(stored: Stored, other: Stored) -> tuple[str, ...]:
    """In what two runs differ besides their figures."""
    this, that = stored.run, other.run
    rows = (
        ("measured on", this.device.label, that.device.label),
        ("the profile", this.request.profile, that.request.profile),
        ("the measurement", this.plan.name, that.plan.name),
        ("the protocol", this.request.protocol, that.request.protocol),
        ("shared memory", this.request.shared_memory, that.request.shared_memory),
        ("the server", triton_of(stored), triton_of(other)),
    )
    notes = [f"They differ in {what}: {one}, and {two}." for what, one, two in rows if one != two]
    changed = [name for name, digest in hashes(stored).items() if hashes(other).get(name, digest) != digest]
    if changed:
        notes.append(f"The model's bytes are others: {', '.join(map(printable, changed))}.")
    return tuple(notes)


def triton_of(stored: Stored) -> str:
    """The version, and the image."""
    origins = [repeat.origin for repeat in stored.repeats if repeat.origin]
    return f"Triton {origins[0].versions.triton} {origins[0].image_tag or ''}".strip() if origins else "?"


def hashes(stored: Stored) -> dict[str, str]:
    """The bytes of each model, where they are known."""
    known = [(r.point.model, r.origin.model_digest) for r in stored.repeats if r.origin]
    return {name: digest for name, digest in known if digest}


def ratios(stored: Stored, comparison: Comparison) -> Table:
    """Ratios in the shape of the run's table."""
    of = {cell.point: cell for cell in comparison.cells}
    unstable = {found.point for found in stored.results if found.status == "unstable"}

    def shown(point: PerfPoint) -> str:
        cell = of.get(point)
        if cell is None:
            return "-"
        verdict = f" {cell.verdict}" if cell.verdict in ("slower", "faster") else ""
        return f"{cell.ratio:.2f}{verdict}" + (" (unstable)" if point in unstable else "")

    heading = f"{comparison.metric.label}: {comparison.this} over {comparison.other}"
    return tables.grid(stored, heading, shown, summary(comparison), unit="ratio")


def summary(comparison: Comparison) -> str:
    """What all cells come to, in words."""
    mean = comparison.geometric_mean
    if mean is None:
        return f"{comparison.other} has none of these cells."
    counts = ", ".join(f"{verdict}: {comparison.count(verdict)}" for verdict in VERDICTS)
    agree = f"{comparison.agreeing} of {len(comparison.cells)} cells agree within {AGREE:.0%}"
    lines = [f"{agree}; geometric mean of the ratios {mean:.3f}; {counts}."]
    if comparison.missing:
        listed = ", ".join(map(str, comparison.missing[:4])) + (", …" if len(comparison.missing) > 4 else "")  # noqa: PLR2004
        lines.append(f"Not in {comparison.other}: {len(comparison.missing)} ({listed}).")
    return " ".join([*lines, *comparison.notes])
