"""What a point's rounds come to, and which points are due another; pure.

Interference only ever adds to a latency: another program or another tenant of the machine makes a round slower, none
makes it faster. So a figure rests on the three fastest of a point's rounds, which must agree, and is that of the
middle one. A round visits every point before the next begins, so that a slow spell does not make one point's figure.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from perf.runs.metrics import Metric
    from perf.runs.types import PerfPoint, Plan, Repeat, Report, Status

KEPT = 3


@dataclass(frozen=True)
class Result:
    """A point with its rounds; `kept` are the reports of the three fastest, in order; empty where there is none."""

    point: PerfPoint
    repeats: tuple[Repeat, ...]
    kept: tuple[Report, ...]
    status: Status
    reason: str = ""

    def value_us(self, metric: Metric) -> int | None:
        """That of the middle one of the kept rounds: all metrics are of one round, so that parts add up."""
        return metric.value_us(self.kept[len(self.kept) // 2]) if self.kept else None

    def range_us(self, metric: Metric) -> tuple[int, int] | None:
        """The least and the most of the kept rounds."""
        values = [metric.value_us(report) for report in self.kept]
        return (min(values), max(values)) if values else None

    @property
    def spread(self) -> float | None:
        """How much slower the slowest of the kept rounds was than the fastest, in the client's mean: 0.03 is 3 %."""
        return spread(self.kept) if self.kept else None

    def over_bare(self, metric: Metric) -> float | None:
        """The server's over ONNX Runtime's mean, in the same round, which a slow spell slows both: the median."""
        ratios = [metric.value_us(r.report) / max(1, r.bare.avg_us) for r in self.repeats if r.report and r.bare]
        return statistics.median(ratios) if ratios else None

    @property
    def bare_us(self) -> float | None:
        """The median of ONNX Runtime alone, over the three fastest of its own rounds."""
        bare = sorted(repeat.bare.avg_us for repeat in self.repeats if repeat.bare)
        return statistics.median(bare[:KEPT]) if bare else None


def result(point: PerfPoint, repeats: Sequence[Repeat], plan: Plan) -> Result:
    """What the rounds of one point come to."""
    repeats = tuple(sorted(repeats, key=lambda repeat: repeat.number))
    for repeat in repeats:
        if repeat.status != "ok":
            return Result(point, repeats, (), repeat.status, repeat.reason)
    reports = fastest(repeats)
    if not reports:
        return Result(point, (), (), "failed", "it was not measured: the run did not come to its end")
    if len(repeats) < plan.least_rounds:
        done = f"{len(repeats)} of {plan.least_rounds} rounds"
        return Result(
            point, repeats, reports, "unstable", f"only {done} were measured: the run did not come to its end"
        )
    apart = spread(reports)
    if apart > plan.agreement:
        why = f"its three fastest rounds of {len(repeats)} are {apart:.1%} apart, more than {plan.agreement:.0%}"
        return Result(point, repeats, reports, "unstable", why)
    return Result(point, repeats, reports, "ok")


def results(points: Iterable[PerfPoint], repeats: Iterable[Repeat], plan: Plan) -> tuple[Result, ...]:
    """What each point's rounds come to, in the order of the points."""
    of: dict[PerfPoint, list[Repeat]] = {point: [] for point in points}
    for repeat in repeats:
        of[repeat.point].append(repeat)
    return tuple(result(point, mine, plan) for point, mine in of.items())


def due(points: Iterable[PerfPoint], repeats: Iterable[Repeat], plan: Plan) -> tuple[PerfPoint, ...]:
    """The points that want one more round now: those with the fewest rounds of all that are not finished."""
    open_points = [found for found in results(points, repeats, plan) if not finished(found, plan)]
    fewest = min((len(found.repeats) for found in open_points), default=0)
    return tuple(found.point for found in open_points if len(found.repeats) == fewest)


def finished(found: Result, plan: Plan) -> bool:
    """Whether nothing more is measured of it: it settled, failed, or had its rounds."""
    done = len(found.repeats)
    if any(repeat.status != "ok" for repeat in found.repeats):
        return True
    if done < plan.least_rounds or span_s(found.repeats) < plan.least_span_s:
        return False
    return done >= plan.most_rounds or found.status == "ok"


def span_s(repeats: Sequence[Repeat]) -> float:
    """From the beginning of the first round to that of the last."""
    begun = [datetime.fromisoformat(repeat.at) for repeat in repeats]
    return (max(begun) - min(begun)).total_seconds()


def fastest(repeats: Iterable[Repeat]) -> tuple[Report, ...]:
    """The reports of the three fastest rounds, the fastest first."""
    reports = sorted((r.report for r in repeats if r.report), key=lambda report: report.latency_us)
    return tuple(reports[:KEPT])


def spread(reports: Sequence[Report]) -> float:
    """The slowest over the fastest, less one."""
    latencies = [report.latency_us for report in reports]
    return max(latencies) / max(1, min(latencies)) - 1
