"""The order of rounds, time limits and the time left, with a clock that only the rounds advance."""

import os
import random
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from perf_runs import repeat, run

from perf.command import duration_s, marked
from perf.measure.servers import Variant
from perf.measure.sweep import Step, Sweep
from perf.output import describe
from perf.runs import points, store
from perf.runs.types import COMPUTE, PLANS, PerfPoint

PLAN = PLANS["production", "quick"]
BEGUN = datetime(2026, 11, 24, 10, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _no_fsync(monkeypatch):
    """Thousands of rounds need not reach the disk one by one."""
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)


class Simulation(Sweep):
    """A sweep whose rounds take the seconds and have the latency that functions of a point and a round say."""

    def __init__(self, tmp_path, seconds, latency_us, *, time_limit_s=None, now=0.0):
        figures = {(f"net{number}", "fp32", size): [] for number in range(6) for size in (1, 4, 8)}
        self.stored, self.now, self.steps = store.begin(tmp_path, run(figures).run), now, []
        super().__init__(self.stored.run.request, None, tmp_path, clock=lambda: self.now, on_step=self.keep)
        self.seconds, self.latency_us, self.deadline = seconds, latency_us, time_limit_s

    def keep(self, step):
        """Keep a step with its time."""
        self.steps.append((self.now, step))

    def one_round(self, point, number, _plan, _served, _baseline):
        """Advance the clock instead of measuring."""
        at = (BEGUN + timedelta(seconds=self.now)).strftime("%Y-%m-%dT%H:%M:%SZ")
        seconds = self.seconds(point, number)
        self.now += seconds
        made = repeat(point, number, self.latency_us(point, number))
        return type(made)(**{**vars(made), "seconds": seconds, "at": at})

    def measure(self):
        """Measure until nothing is due, and return the points."""
        with store.writing(self.stored.path) as writer:
            self.rounds(writer, Variant("fp32"), served=None)
            self.stored = writer.stored
        return self.stored.results


def cost(point):
    """Seconds of a round: the networks and the batch sizes are far apart, as the real ones are."""
    return (1 + int(point.model[3:])) * point.batch_size / 4 + 1


def quiet(_point, number):
    """Rounds that agree: three are enough."""
    return 30000 + 100 * number


def never(_point, number):
    """Rounds that never agree: each is faster by far than the one before, so every point needs the most rounds."""
    return 300000 - 30000 * number


def noisy(seed):
    """Rounds that differ by up to 30 %: most points need more than three."""
    rng = random.Random(seed)  # noqa: S311 (noise)
    return lambda _point, _number: int(30000 * (1 + 0.3 * rng.random()))


def uneven(seed, first=1.0):
    """Rounds that take up to a fifth more or less; those of the first visit are longer by a factor."""
    rng = random.Random(seed)  # noqa: S311 (noise)
    return lambda point, number: cost(point) * rng.uniform(0.8, 1.2) * (first if number == 1 else 1)


LATENCIES = {"quiet": lambda: quiet, "never": lambda: never, "noisy": lambda: noisy(1)}


@pytest.mark.parametrize("limit_s", [None, 400, 700])
@pytest.mark.parametrize("first", [1, 4, 0.3])
@pytest.mark.parametrize("latency", LATENCIES)
def test_the_time_left_is_right_within_a_factor_of_two(tmp_path, latency, first, limit_s):
    """It holds if the start is slow or fast, if points need the most rounds, and if a limit ends the run.

    It is shown from the fourth round after the first visit on. One point may need a round or two more or fewer.
    """
    simulation = Simulation(tmp_path, uneven(3, first), LATENCIES[latency](), time_limit_s=limit_s)
    simulation.measure()
    end, slack_s = simulation.now, 2 * max(map(cost, simulation.stored.run.points))
    known = [(now, step.seconds_left) for now, step in simulation.steps if step.seconds_left is not None]
    for now, left_s in known:
        assert (end - now) / 2 - slack_s <= left_s <= 2 * (end - now) + slack_s, (now, left_s, end)
    assert len(known) == len(simulation.steps) - len(simulation.stored.run.points) - points.KNOWN


def test_totals_do_not_grow(tmp_path):
    """The place in a round never exceeds the points, and their number stays."""
    simulation = Simulation(tmp_path, uneven(1), noisy(1))
    simulation.measure()
    steps = [step for _, step in simulation.steps]
    assert {step.points for step in steps} == {18}
    for one, two in pairwise(steps):
        assert (one.round, one.place) < (two.round, two.place) <= (PLAN.most_rounds, 18)


def test_a_limit_that_is_too_short(tmp_path):
    """Every point is measured once all the same, and marked; nothing more is measured."""
    found = Simulation(tmp_path, uneven(1), quiet, time_limit_s=1).measure()
    assert {len(one.repeats) for one in found} == {1}
    assert {(one.status, one.reason) for one in found} == {("unstable", "only 1 of at least 3 rounds")}
    assert all(one.value_us(COMPUTE) for one in found)


def test_a_limit_is_spent_where_it_helps(tmp_path):
    """Each point gets the least rounds; then the points that did not settle, the one with the largest spread first."""

    def latency_us(point, number):
        spread = {"net1": 0.1, "net4": 0.5, "net5": 0.2}.get(point.model, 0) if point.batch_size == 4 else 0
        return int(30000 * (1 + spread * (8 - number)))

    simulation = Simulation(tmp_path, lambda _point, _number: 10, latency_us, time_limit_s=18 * 3 * 10 + 125)
    found = simulation.measure()
    after = [(step.point.model, step.round) for _, step in simulation.steps[18 * 3 :]]
    assert after == [*(("net4", number) for number in range(4, 9)), *(("net5", number) for number in range(4, 9)),
                     ("net1", 4), ("net1", 5)]  # fmt: skip
    assert sum(one.status == "unstable" for one in found) == 3
    assert simulation.deadline - 10 < simulation.now <= simulation.deadline


def test_rounds_that_do_not_fit_are_not_begun(tmp_path):
    """The limit holds, but for the first round of each point: short rounds fill what is left."""
    simulation = Simulation(tmp_path, lambda point, _number: cost(point), never, time_limit_s=200)
    simulation.measure()
    assert 200 - min(map(cost, simulation.stored.run.points)) < simulation.now <= 200


def test_a_run_with_a_limit_goes_on(tmp_path):
    """What the limit left is due; with more time all points settle, and no round is measured twice."""
    short = Simulation(tmp_path, uneven(1), quiet, time_limit_s=1)
    short.measure()
    longer = Simulation(tmp_path, uneven(2), quiet, now=short.now, time_limit_s=10000)
    longer.stored = short.stored
    assert len(short.stored.due) == 18
    assert {(one.status, len(one.repeats)) for one in longer.measure()} == {("ok", 3)}
    assert longer.stored.due == ()


@pytest.mark.parametrize(
    ("seconds_left", "later_servers", "words"),
    [
        (None, 1, ""),
        (7.4, 0, ", about 7 s left"),
        (300.0, 0, ", about 5 min left"),
        (89.0, 2, ", about 89 s left on this server, 2 more to come"),
    ],
)
def test_a_step_in_words(seconds_left, later_servers, words):
    """The time left is of one server: nothing is known of a server that was not measured yet."""
    step = Step(PerfPoint("dpn92", "fp32", 8), 2, 5, 30, seconds_left, later_servers)
    assert describe(step) == f"dpn92 fp32 batch 8, round 2{words}"


@pytest.mark.parametrize("text", ["90", "0s", "2x", "-1m", "1e9s", "", "9" * 400 + "h"])
def test_a_limit_that_is_no_duration(tritongen, text):
    """A number with its unit: one sentence."""
    ran = tritongen("perf", "--time-limit", text)
    assert (ran.status, ran.stdout) == (2, "")
    assert f"{text!r} is not a duration, such as 90s, 2m or 1h" in ran.stderr


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("2m", 120), ("1.5H", 5400)])
def test_a_limit_in_units(text, seconds):
    """Seconds, minutes, hours."""
    assert duration_s(None, None, text) == seconds


OK, UNSETTLED, FAILED = [30000] * 3, [30000, 40000, 50000], ("failed", "perf_analyzer ended with 99: refused")


@pytest.mark.parametrize(
    ("rows", "strict", "status"),
    [
        ([OK, OK], True, 0),
        ([OK, UNSETTLED], False, 0),
        ([OK, UNSETTLED], True, 1),
        ([OK, FAILED], False, 1),
        ([UNSETTLED, FAILED], True, 1),
    ],
)
def test_the_exit_status(caplog, rows, strict, status):
    """A point that failed makes it 1; one that did not settle does with --strict only, and is counted in a sentence."""
    measured = run({("densenet121", "fp32", size): row for size, row in zip((1, 4), rows, strict=True)})
    with caplog.at_level("INFO"):
        assert marked([measured], strict=strict) == status
    assert ("1 of 2 points did not settle" in caplog.text) == (UNSETTLED in rows)
