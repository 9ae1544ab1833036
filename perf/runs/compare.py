"""Comparison of two sets of latencies: a ratio and a verdict per point, and a summary; pure.

A point is slower or faster if all kept rounds of one side lie beyond all of the other's, and the ratio exceeds the
agreement that rounds of one side must reach.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from statistics import geometric_mean
from typing import Literal, get_args

from generator.errors import printable
from perf.runs import tables
from perf.runs.store import Stored
from perf.runs.tables import Table
from perf.runs.types import COMPUTE, METRICS, Metric, PerfPoint

Verdict = Literal["slower", "faster", "no difference shown"]
AGREE = 0.10


@dataclass(frozen=True)
class Latency:
    """A latency and the range of its kept rounds, in milliseconds."""

    value_ms: float
    low_ms: float
    high_ms: float


Latencies = Mapping[PerfPoint, Latency]


@dataclass(frozen=True)
class Cell:
    """A point that both sides have, and the ratio of the run to the other side."""

    point: PerfPoint
    ratio: float
    verdict: Verdict


@dataclass(frozen=True)
class Comparison:
    """A comparison of a run with another side: the common points, those that the other lacks, and what limits it."""

    other: str
    metric: Metric
    cells: tuple[Cell, ...]
    missing: tuple[PerfPoint, ...]
    notes: tuple[str, ...]

    @property
    def geometric_mean(self) -> float | None:
        """The geometric mean of the ratios, None without cells."""
        return geometric_mean(cell.ratio for cell in self.cells) if self.cells else None

    @property
    def agreeing(self) -> int:
        """The number of cells whose sides differ by at most 10 %."""
        return sum(max(cell.ratio, 1 / cell.ratio) <= 1 + AGREE for cell in self.cells)

    def above(self, limit: float) -> tuple[Cell, ...]:
        """Return the slower cells whose ratio exceeds the limit."""
        return tuple(cell for cell in self.cells if cell.verdict == "slower" and cell.ratio > limit)


def comparisons(stored: Stored, others: Iterable[Stored | None], metric_names: Collection[str]) -> list[Comparison]:
    """Compare a run with others in each metric, and with the published table for None."""
    found = []
    for other in others:
        if other is None:
            found.append(with_published(stored))
        else:
            found += [with_run(stored, other, metric) for metric in METRICS if metric.name in metric_names]
    return found


def with_published(stored: Stored) -> Comparison:
    """Compare a run with the published table of its GPU in server compute, the metric of that table."""
    gpu = stored.run.device.name
    page = {point: Latency(*[float(ms)] * 3) for point, ms in tables.published_ms(gpu).items()}
    label, agreement = f"the published {gpu.upper()} table", stored.run.plan.agreement
    return compare(latencies(stored, COMPUTE), page, agreement, label, COMPUTE, notes_of_published(stored))


def with_run(stored: Stored, other: Stored, metric: Metric) -> Comparison:
    """Compare two runs."""
    agreement, label = max(stored.run.plan.agreement, other.run.plan.agreement), f"run {other.run.id}"
    this, that = latencies(stored, metric), latencies(other, metric)
    return compare(this, that, agreement, label, metric, notes_of_runs(stored, other))


def latencies(stored: Stored, metric: Metric) -> Latencies:
    """Return the latency of each point of a run that has a value."""
    found = {}
    for result in stored.results:
        if value := result.value_us(metric):
            kept = [metric.value_us(report) / 1000 for report in result.kept]
            found[result.point] = Latency(value / 1000, min(kept), max(kept))
    return found


def compare(
    this: Latencies, other: Latencies, agreement: float, label: str, metric: Metric, notes: tuple[str, ...]
) -> Comparison:
    """Compare latencies with the other ones, which have a label; rounds of one side may differ by `agreement`."""
    cells = tuple(judged(point, this[point], other[point], agreement) for point in this if point in other)
    missing = tuple(point for point in this if point not in other)
    return Comparison(label, metric, cells, missing, notes)


def judged(point: PerfPoint, this: Latency, other: Latency, agreement: float) -> Cell:
    """Return the ratio and the verdict of a point."""
    ratio = this.value_ms / other.value_ms
    verdict: Verdict = "no difference shown"
    if this.low_ms > other.high_ms and ratio > 1 + agreement:
        verdict = "slower"
    elif this.high_ms < other.low_ms and ratio < 1 / (1 + agreement):
        verdict = "faster"
    return Cell(point, ratio, verdict)


def notes_of_published(stored: Stored) -> tuple[str, ...]:
    """Return the differences between a run and the published measurements."""
    run, gpu = stored.run, stored.run.device.name
    notes = [f"Published: {tables.SOURCE}. Their spread is unknown."]
    known = {point.precision for point in tables.published_ms(gpu)}
    if absent := [name.upper() for name in run.request.precisions if name not in known]:
        notes.append(f"No {', '.join(absent)} was published for the {gpu.upper()}.")
    if run.request.profile != "published":
        notes.append(
            "Not like for like: the published latencies were measured with one engine per batch size, as in the "
            "published profile."
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
        ("the server", *(f"Triton {run.triton} {run.image_tag or ''}".strip() for run in (stored, other))),
    )
    notes = [f"The runs differ in {what}: {one} and {two}." for what, one, two in rows if one != two]
    changed = [name for name, digest in hashes(stored).items() if hashes(other).get(name, digest) != digest]
    if changed:
        notes.append(f"The model files differ: {', '.join(map(printable, changed))}.")
    return tuple(notes)


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

    heading = f"{comparison.metric.label}: run {stored.run.id} over {comparison.other}"
    return tables.grid(stored, heading, shown, summary(comparison), unit="ratio")


def summary(comparison: Comparison) -> str:
    """Return a summary of all cells in words."""
    mean = comparison.geometric_mean
    if mean is None:
        return f"{comparison.other} has none of these points."
    verdicts = Counter(cell.verdict for cell in comparison.cells)
    counts = ", ".join(f"{verdict}: {verdicts[verdict]}" for verdict in get_args(Verdict))
    agree = f"{comparison.agreeing} of {len(comparison.cells)} cells agree within {AGREE:.0%}"
    lines = [f"{agree}; geometric mean of the ratios {mean:.3f}; {counts}."]
    if comparison.missing:
        listed = ", ".join(map(str, comparison.missing[:4])) + (", …" if len(comparison.missing) > 4 else "")  # noqa: PLR2004
        lines.append(f"Not in {comparison.other}: {len(comparison.missing)} ({listed}).")
    return " ".join([*lines, *comparison.notes])
