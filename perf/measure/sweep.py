"""From what was asked to a stored run: on each server rounds over its points, one perf_analyzer process a point."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from generator.errors import TritongenError
from generator.server.client import preprocessing_of
from perf.measure import onnxruntime_baseline
from perf.measure.analyzer import Outcome, measure
from perf.measure.plans import PLANS
from perf.measure.servers import check_batches, serving, variants
from perf.runs import points, store
from perf.runs.types import Model, PerfPoint, Repeat, Run, Session

if TYPE_CHECKING:
    from collections.abc import Callable

    from generator.server.served_model import ServedModel
    from perf.measure.analyzer import Analyzer
    from perf.measure.servers import Serving, Variant
    from perf.runs.store import Stored, Writer
    from perf.runs.types import Bare, Request

    # Told, before each point, of the run and of what comes next.
    OnPoint = Callable[[Stored, PerfPoint], None]

logger = logging.getLogger(__name__)


@dataclass
class Sitting:
    """The run that is measured, once it is begun, and where the time goes, in seconds."""

    path: Path | None
    begun: float = field(default_factory=time.monotonic)
    servers_s: float = 0.0
    analyzer_s: float = 0.0
    bare_s: float = 0.0

    def session(self) -> Session:
        """As it is stored."""
        wall_s = time.monotonic() - self.begun
        times = (wall_s, self.servers_s, self.analyzer_s, self.bare_s)
        return Session(utc(), *(round(seconds, 3) for seconds in times))


def sweep(
    request: Request, analyzer: Analyzer, root: Path, *, resumed: Path | None = None, on_point: OnPoint
) -> Stored:
    """Measure every point of a run that is due; one that fails is kept with its reason and the rest goes on.

    Args:
        request: what is measured; of a resumed run, what it was.
        analyzer: perf_analyzer.
        root: the folder of results.
        resumed: the file of a run that did not come to its end.
        on_point: told before each point.

    Raises:
        WrongDevice: the server runs on something else than asked.
        TritongenError: there is no server to measure, or the run cannot be written.
    """
    store.check_writable(root / request.device)
    sitting = Sitting(resumed)
    try:
        for variant in variants(request):
            while sitting.path is None or due(store.read(sitting.path), variant):
                one_server(request, variant, analyzer, root, sitting, on_point)
    except KeyboardInterrupt:
        if sitting.path is not None:
            logger.info("what was measured is kept in %s; the run can be resumed", sitting.path)
        raise
    assert sitting.path is not None  # noqa: S101 (there is one variant at least)
    with store.writing(sitting.path) as writer:
        writer.add(sitting.session())
        return writer.stored


def one_server(
    request: Request, variant: Variant, analyzer: Analyzer, root: Path, sitting: Sitting, on_point: OnPoint
) -> None:  # fmt: skip
    """Measure on one server what it serves, until nothing is due or it dies; the first begins the run."""
    begun = time.monotonic()
    try:
        with serving(request, variant) as served:
            sitting.path = sitting.path or store.begin(root, new_run(request, analyzer, served)).path
            check_same_device(store.read(sitting.path).run, served)
            sitting.servers_s += time.monotonic() - begun
            with store.writing(sitting.path) as writer:
                rounds(writer, variant, served, analyzer, sitting, on_point)
            begun = time.monotonic()
        sitting.servers_s += time.monotonic() - begun
    except TritongenError as error:
        if sitting.path is None or not sitting.servers_s:
            raise  # the first server: nothing was done
        # The run has begun: what this server was to be asked is marked, and the next one is.
        with store.writing(sitting.path) as writer:
            give_up(writer, variant, str(error))


def rounds(
    writer: Writer, variant: Variant, served: Serving, analyzer: Analyzer, sitting: Sitting, on_point: OnPoint
) -> None:
    """Every round that is due on one server; returns early where a server of our own died."""
    run = writer.stored.run
    beside = onnxruntime_baseline.Baseline(Path(run.request.repository)) if run.request.baseline else None
    while now := due(writer.stored, variant):
        for point in now:
            on_point(writer.stored, point)
            repeat = one_round(point, writer.stored.next_round(point), run, served, analyzer, beside, sitting)
            writer.add(repeat)
            if repeat.status != "ok" and served.own and served.death():
                return


def check_same_device(run: Run, served: Serving) -> None:
    """Raise TritongenError where a resumed run began on another device."""
    if served.device.label != run.device.label:
        raise TritongenError(
            f"run {run.id} was begun on {run.device.label}, and this server runs on {served.device.label}",
            "without `resume` a new run is begun",
        )


def one_round(
    point: PerfPoint, number: int, run: Run, served: Serving, analyzer: Analyzer,
    beside: onnxruntime_baseline.Baseline | None, sitting: Sitting,
) -> Repeat:  # fmt: skip
    """One perf_analyzer process, and in turn with it the same in ONNX Runtime alone."""
    at, model = utc(), served.model(point.model)
    bare: Bare | None = None
    if model is None:
        outcome = Outcome("failed", (), reason=f"{served.label} does not serve it")
    elif (died := served.death()) is not None:
        outcome = Outcome("failed", (), reason=died)
    else:
        outcome = measure(analyzer, point, model, served.analyzer_url, run.plan, lambda: served.answered(model.name))
        sitting.analyzer_s += outcome.seconds
        if beside and outcome.status == "ok":
            begun = time.monotonic()
            bare = beside.measure(point, model, run.plan)
            sitting.bare_s += time.monotonic() - begun
    reason = outcome.reason
    if outcome.status != "ok" and (died := served.death()) and died not in reason:
        reason = f"{died} ({reason})"
    return Repeat(
        point, number, outcome.status, at, round(outcome.seconds, 3), outcome.command, outcome.report, reason, bare,
        served.origin(model, analyzer.version) if model else None,
    )  # fmt: skip


def due(stored: Stored, variant: Variant) -> tuple[PerfPoint, ...]:
    """The points of one variant that want one more round now."""
    mine = [point for point in stored.run.points if variant.holds(point)]
    repeats = [repeat for repeat in stored.repeats if variant.holds(repeat.point)]
    return points.due(mine, repeats, stored.run.plan)


def give_up(writer: Writer, variant: Variant, why: str) -> None:
    """Mark what a server that did not start was to be asked."""
    while now := due(writer.stored, variant):
        for point in now:
            writer.add(Repeat(point, writer.stored.next_round(point), "failed", utc(), 0.0, (), reason=why))


def new_run(request: Request, analyzer: Analyzer, served: Serving) -> Run:
    """The first line of a run.

    Raises:
        UsageError: a batch size that a model does not take; a baseline that cannot be.
    """
    check_batches(request, served.largest)
    if request.baseline:
        for model in served.models:
            onnxruntime_baseline.check(Path(request.repository), model)
    wanted = tuple(
        PerfPoint(name, precision, size, concurrency)
        for name in (model.name for model in served.models)
        for precision in request.precisions
        for size in request.batch_sizes
        if size <= served.largest[name]
        for concurrency in request.concurrencies
    )
    return Run(
        id=store.new_id(),
        began=utc(),
        request=request,
        plan=PLANS[request.profile, request.measurement],
        points=wanted,
        models=tuple(map(described, served.models)),
        device=served.device,
        server=served.label,
        analyzer=analyzer.version,
    )


def described(model: ServedModel) -> Model:
    """A model as tables show it."""
    preprocessing = preprocessing_of(model)
    return Model(
        name=model.name,
        crop_px=preprocessing.crop_px if preprocessing else None,
        resize_short_px=preprocessing.resize_short_px if preprocessing else None,
        weights=model.parameters.get("tritongen.weights", "not stated"),
    )


def utc() -> str:
    """Now, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
