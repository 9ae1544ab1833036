"""Measuring a run: on each server, rounds over its points, with one perf_analyzer process per point and round."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from generator.errors import TritongenError
from generator.server.client import preprocessing_of
from generator.server.probe import ServedModel
from perf.measure import onnxruntime_baseline
from perf.measure.analyzer import Analyzer, Outcome, measure
from perf.measure.servers import Serving, Variant, check_batches, serving, variants
from perf.runs import points, store
from perf.runs.store import Stored, Writer
from perf.runs.types import PLANS, Bare, Model, PerfPoint, Plan, Repeat, Request, Run, Session

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Step:
    """The point that is measured next; `place` is its place among the `points` of its server in this round.

    `seconds_left` is an estimate for this server, None while too little is known; so many `later_servers` follow.
    """

    point: PerfPoint
    round: int
    place: int
    points: int
    seconds_left: float | None
    later_servers: int


@dataclass
class Sweep:
    """One call that measures a run: a new one, or the rest of the one at `path`.

    Args:
        request: what is measured; that of the run if there is one.
        root: the folder of results.
        path: the file of a run that is not complete; set when a new run begins.
        time_limit_s: every point gets a round; then measuring ends after this time at the latest.
        on_step: is told before each round of a point.
    """

    request: Request
    analyzer: Analyzer
    root: Path
    path: Path | None = None
    time_limit_s: float | None = None
    on_step: Callable[[Step], None] = lambda _step: None
    clock: Callable[[], float] = time.monotonic
    # Set while measuring: the end of the current server's share of the time limit, and where the time went.
    deadline: float | None = field(default=None, init=False)
    analyzer_s: float = field(default=0.0, init=False)
    bare_s: float = field(default=0.0, init=False)
    rounds_s: float = field(default=0.0, init=False)

    def run(self) -> Stored:
        """Measure every point that is due. A point that fails is kept with its reason, and the rest goes on.

        Raises:
            WrongDevice: the server runs on another device than the one requested.
            TritongenError: there is no server to measure, or the run cannot be written.
        """
        store.check_writable(self.root / self.request.device)
        begun, servers = self.clock(), variants(self.request)
        try:
            for number, variant in enumerate(servers):
                if self.time_limit_s is not None:  # the servers that are left share the time that is left
                    left_s = begun + self.time_limit_s - self.clock()
                    self.deadline = self.clock() + left_s / (len(servers) - number)
                while not self.path or self.next_result(store.read(self.path), variant):
                    if not self.one_server(variant, len(servers) - number - 1):
                        break
        except KeyboardInterrupt:
            if self.path:
                logger.info("what was measured is kept in %s; the run can be resumed", self.path)
            raise
        assert self.path  # noqa: S101 (there is at least one variant)
        wall_s = self.clock() - begun
        times = (wall_s, wall_s - self.rounds_s, self.analyzer_s, self.bare_s)
        with store.writing(self.path) as writer:
            writer.add(Session(utc(), *(round(seconds, 3) for seconds in times)))
            return writer.stored

    def one_server(self, variant: Variant, later_servers: int) -> bool:
        """Measure on one server, and return true if it died; the first server begins the run."""
        try:
            with serving(self.request, variant) as served:
                self.path = self.path or store.begin(self.root, self.new_run(served)).path
                with store.writing(self.path) as writer:
                    check_same_device(writer.stored.run, served)
                    return self.rounds(writer, variant, served, later_servers)
        except TritongenError as error:
            if not self.path or not self.rounds_s:
                raise
            # The run goes on with the next server; what this one was to measure is marked.
            with store.writing(self.path) as writer:
                for found in results(writer.stored, variant):
                    if not points.finished(found, writer.stored.run.plan):
                        number = len(found.repeats) + 1
                        writer.add(Repeat(found.point, number, "failed", utc(), 0.0, (), reason=str(error)))
            return False

    def rounds(self, writer: Writer, variant: Variant, served: Serving, later_servers: int = 0) -> bool:
        """Measure what is due on a server, and return true if a server of our own died."""
        baseline = onnxruntime_baseline.Baseline(Path(self.request.repository)) if self.request.baseline else None
        while found := self.next_result(writer.stored, variant):
            begun, number = self.clock(), len(found.repeats) + 1
            self.on_step(self.step(writer.stored, variant, found.point, number, later_servers))
            repeat = self.one_round(found.point, number, writer.stored.run.plan, served, baseline)
            writer.add(repeat)
            self.rounds_s += self.clock() - begun
            if repeat.status != "ok" and served.own and served.death():
                return True
        return False

    def next_result(self, stored: Stored, variant: Variant) -> points.Result | None:
        """Return the point that a server measures next, with its rounds so far."""
        left_s = None if self.deadline is None else self.deadline - self.clock()
        return points.next_due(results(stored, variant), stored.run.plan, left_s)

    def step(self, stored: Stored, variant: Variant, point: PerfPoint, number: int, later_servers: int) -> Step:
        """Return what is shown before a round."""
        mine, plan = results(stored, variant), stored.run.plan
        past = sum(points.finished(found, plan) or len(found.repeats) >= number for found in mine)
        left_s = points.seconds_due(mine, plan)
        if left_s is not None:
            if self.analyzer_s:  # the estimate is of perf_analyzer's time, and a round takes more
                left_s *= self.rounds_s / self.analyzer_s
            if self.deadline is not None:
                left_s = min(left_s, max(0.0, self.deadline - self.clock()))
        return Step(point, number, past + 1, len(mine), left_s, later_servers)

    def one_round(
        self, point: PerfPoint, number: int, plan: Plan, served: Serving, baseline: onnxruntime_baseline.Baseline | None
    ) -> Repeat:
        """Run perf_analyzer once, then the baseline, if there is one, on the same point."""
        at, model = utc(), next((model for model in served.models if model.name == point.model), None)
        bare: Bare | None = None
        if model is None:
            outcome = Outcome("failed", (), reason=f"{served.label} does not serve it")
        elif (died := served.death()) is not None:
            outcome = Outcome("failed", (), reason=died)
        else:
            answered = partial(served.client.requests_answered, model.name)
            outcome = measure(self.analyzer, point, model, served.analyzer_url, plan, answered)
            self.analyzer_s += outcome.seconds
            if baseline and outcome.status == "ok":
                begun = self.clock()
                bare = baseline.measure(point, model, plan)
                self.bare_s += self.clock() - begun
        reason = outcome.reason
        if outcome.status != "ok" and (died := served.death()) and died not in reason:
            reason = f"{died} ({reason})"
        origin = served.origin(model, self.analyzer.version) if model else None
        return Repeat(
            point, number, outcome.status, at, round(outcome.seconds, 3), outcome.command, outcome.report, reason,
            bare, origin,
        )  # fmt: skip

    def new_run(self, served: Serving) -> Run:
        """Return the first line of a run, or raise BadValue if a model cannot be measured as requested."""
        request = self.request
        largest = served.largest or {model.name: max(1, model.max_batch_size) for model in served.models}
        check_batches(request, largest)
        if request.baseline:
            for model in served.models:
                onnxruntime_baseline.check(Path(request.repository), model)
        wanted = tuple(
            PerfPoint(name, precision, size, concurrency)
            for name in (model.name for model in served.models)
            for precision in request.precisions
            for size in request.batch_sizes
            if size <= largest[name]
            for concurrency in request.concurrencies
        )
        return Run(
            id=f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}",
            began=utc(),
            request=request,
            plan=PLANS[request.profile, request.measurement],
            points=wanted,
            models=tuple(map(table_model, served.models)),
            device=served.device,
            server=served.label,
            analyzer=self.analyzer.version,
        )


def results(stored: Stored, variant: Variant) -> list[points.Result]:
    """Return the results of the points that a server measures."""
    return [found for found in stored.results if variant.holds(found.point)]


def check_same_device(run: Run, served: Serving) -> None:
    """Raise TritongenError if a resumed run was begun on another device."""
    if run.device.label != served.device.label:
        why = f"run {run.id} was begun on {run.device.label}, and this server runs on {served.device.label}"
        raise TritongenError(why, "without `resume` a new run is begun")


def table_model(model: ServedModel) -> Model:
    """Return a model as tables show it."""
    preprocessing = preprocessing_of(model)
    sizes = (preprocessing.crop_px, preprocessing.resize_short_px) if preprocessing else ()
    return Model(model.name, model.parameters.get("tritongen.weights", "not stated"), *sizes)


def utc() -> str:
    """Return the time in UTC, to the second."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
