"""The results of points, and the order in which points are measured; pure.

Interference only ever adds to a latency: another program or another tenant of the machine makes a round slower, never
faster. So the value of a point is the median of its three fastest rounds, which must agree. A round visits every
point before the next round begins, so that a slow spell does not decide the value of one point.
"""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from perf.runs.types import Metric, PerfPoint, Plan, Repeat, Report, Status

KEPT = 3
KNOWN = 3  # estimates rest on at least so many rounds


@dataclass(frozen=True)
class Result:
    """A point with its rounds; `kept` are the reports of its three fastest rounds, the fastest first."""

    point: PerfPoint
    repeats: tuple[Repeat, ...]
    kept: tuple[Report, ...]
    status: Status
    reason: str = ""

    def value_us(self, metric: Metric) -> int | None:
        """Return the value of the median round: all metrics come from one round, so that parts add up."""
        return metric.value_us(self.kept[len(self.kept) // 2]) if self.kept else None

    @property
    def spread(self) -> float | None:
        """Difference of the slowest and the fastest kept round in the client's mean: 0.03 is 3 %."""
        if not self.kept:
            return None
        return self.kept[-1].latency_us / max(1, self.kept[0].latency_us) - 1

    def over_bare(self, metric: Metric) -> float | None:
        """Return the server's time over ONNX Runtime's in the same round, as the median of all rounds."""
        ratios = [metric.value_us(r.report) / max(1, r.bare.avg_us) for r in self.repeats if r.report and r.bare]
        return statistics.median(ratios) if ratios else None

    @property
    def bare_us(self) -> float | None:
        """Median of the three fastest rounds of ONNX Runtime alone."""
        bare = sorted(repeat.bare.avg_us for repeat in self.repeats if repeat.bare)
        return statistics.median(bare[:KEPT]) if bare else None


def result(point: PerfPoint, repeats: Iterable[Repeat], plan: Plan) -> Result:
    """Return the result of a point's rounds."""
    repeats = tuple(sorted(repeats, key=lambda repeat: repeat.number))
    if bad := next((repeat for repeat in repeats if repeat.status != "ok"), None):
        return Result(point, repeats, (), bad.status, bad.reason)
    if not repeats:
        return Result(point, (), (), "failed", "it was not measured: the run did not come to its end")
    reports = sorted((r.report for r in repeats if r.report), key=lambda report: report.latency_us)
    found = Result(point, repeats, tuple(reports[:KEPT]), "ok")
    if len(repeats) < plan.least_rounds:
        why = f"only {len(repeats)} of at least {plan.least_rounds} rounds"
    elif (found.spread or 0) > plan.agreement:
        why = f"its three fastest rounds of {len(repeats)} are {found.spread:.1%} apart, more than {plan.agreement:.0%}"
    else:
        return found
    return Result(point, repeats, found.kept, "unstable", why)


def results(points: Iterable[PerfPoint], repeats: Iterable[Repeat], plan: Plan) -> tuple[Result, ...]:
    """Return the result of each point, in the order of the points."""
    by_point: dict[PerfPoint, list[Repeat]] = {point: [] for point in points}
    for repeat in repeats:
        by_point[repeat.point].append(repeat)
    return tuple(result(point, mine, plan) for point, mine in by_point.items())


def finished(found: Result, plan: Plan) -> bool:
    """Return true for a point that needs no more rounds: it settled, failed, or had the most rounds of the plan."""
    done = len(found.repeats)
    if any(repeat.status != "ok" for repeat in found.repeats):
        return True
    if done < plan.least_rounds or span_s(found) < plan.least_span_s:
        return False
    return done >= plan.most_rounds or found.status == "ok"


def next_due(results: Iterable[Result], plan: Plan, seconds_left: float | None = None) -> Result | None:
    """Return the point that is measured next, None if nothing is due.

    Without a time limit all points get their next round in turn. With one, each point gets one round at any cost.
    After that a point gets another only if its last round would fit in the time left: first points with fewer than
    the least rounds, then the point with the largest spread.
    """
    due = [found for found in results if not finished(found, plan)]
    if seconds_left is not None:
        due = [found for found in due if not found.repeats or found.repeats[-1].seconds <= seconds_left]

    def order(found: Result) -> tuple[int, float]:
        if seconds_left is None or len(found.repeats) < plan.least_rounds:
            return len(found.repeats), 0.0
        return plan.least_rounds, -(found.spread or 0.0)

    return min(due, key=order, default=None)


def seconds_due(results: Sequence[Result], plan: Plan) -> float | None:
    """Estimate how many seconds the rounds take that are still due, None while too little is known.

    A point settles when three of its rounds lie within the agreement of its fastest, so the share of rounds that do,
    over all points, tells how many more it needs. A round takes as long as the point's last one. If the points
    measured in the current round were faster or slower than in the round before, the others are taken to be so too.
    """
    measured = [found for found in results if found.kept]
    due = [found for found in results if not finished(found, plan)]
    rounds = sum(len(found.repeats) - 1 for found in measured)
    if not all(found.repeats for found in due) or rounds < min(KNOWN, len(measured)):
        return None
    near = {found.point: near_fastest(found, plan) for found in measured}
    share = (sum(near.values()) - len(near) + 4) / (rounds + 8)  # a half before anything is known
    newest = max((len(found.repeats) for found in measured), default=0)
    pairs = [found.repeats[-2:] for found in measured if len(found.repeats) == newest > 1]
    ratios = [new.seconds / max(old.seconds, 0.001) for old, new in pairs]
    drift = statistics.median(ratios) if len(ratios) >= KNOWN else 1.0
    seconds = 0.0
    for found in due:
        done = len(found.repeats)
        more = max((KEPT - near[found.point]) / share, plan.least_rounds - done)
        more = max(1, min(more, plan.most_rounds - done))
        seconds += more * found.repeats[-1].seconds * (drift if done < newest else 1)
    return max([seconds, *(plan.least_span_s - span_s(found) for found in due)])


def near_fastest(found: Result, plan: Plan) -> int:
    """Count the rounds of a point that lie within the plan's agreement of its fastest."""
    most_us = found.kept[0].latency_us * (1 + plan.agreement)
    return sum(repeat.report is not None and repeat.report.latency_us <= most_us for repeat in found.repeats)


def span_s(found: Result) -> float:
    """Return the seconds from the beginning of a point's first round to that of its last."""
    begun = [datetime.fromisoformat(repeat.at) for repeat in found.repeats]
    return (max(begun) - min(begun)).total_seconds()
