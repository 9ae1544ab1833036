"""Checks of requests before a run, and the stored runs that a request or another run relates to."""

import logging
import math
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Any

from generator.config import targets
from generator.errors import BadValue, RunUnreadable, UsageError
from perf.measure import device as devices
from perf.measure import servers
from perf.measure.analyzer import Analyzer, find
from perf.measure.sweep import Step, Sweep
from perf.runs import store, tables
from perf.runs.store import Stored
from perf.runs.types import Profile, Protocol, Request, SharedMemory

logger = logging.getLogger(__name__)


def check(request: Request, others: Iterable[str]) -> None:
    """Raise UsageError if options contradict each other or the device."""
    if "published" in others:
        check_published(request.device)
    if request.shared_memory == "cuda" and request.device == devices.CPU:
        raise BadValue("shared_memory", "cuda", "there is no GPU to share memory with", "use `shared_memory=system`")
    if request.shared_memory != "none" and request.url and not devices.is_local(request.url):
        why = "the server is on another host"
        raise BadValue("shared_memory", request.shared_memory, why, "use `shared_memory=none`")
    if request.http_url and (request.protocol != "http" or request.url is None):
        raise BadValue("http_url", request.http_url, "needs `url` and `protocol=http`")
    if request.image_tag:
        if request.device == devices.CPU:
            raise BadValue("image_tag", request.image_tag, "the CPU is served by the embedded engine")
        for precision in request.precisions:
            targets.check_tag(targets.find(request.device), precision, request.image_tag)
    if request.baseline and request.device != devices.CPU:
        raise BadValue("baseline", "true", f"ONNX Runtime alone runs on the CPU, not on a {request.device.upper()}")


def check_compared(*, fail_above: float | None, others: Collection[str], metrics: Collection[str]) -> None:
    """Raise UsageError if there is nothing to compare with, or not in the given metrics."""
    if fail_above is not None and not math.isfinite(fail_above):
        raise BadValue("fail_above", fail_above, "not a ratio", "1.10 is 10 % slower")
    if fail_above is not None and not others:
        raise BadValue("fail_above", fail_above, "there is no run to compare with", "name one with `compare`")
    if "published" in others and "compute" not in metrics:
        raise UsageError(
            f"`compare=published` needs `metric=compute`, not {', '.join(metrics)}",
            "the published tables timed the predictor's run alone",
        )


def check_published(device: str) -> None:
    """Raise UsageError if there is no published table of a device."""
    if not tables.published_ms(device):
        why = f"the page has no table of a {device.upper()}"
        raise UsageError(why, "the page has V100 FP32, T4 FP16 and T4 FP32")


def readable(root: Path, device: str | None) -> Iterator[Stored]:
    """Read the runs of a device, or of all, the newest first; a file that is not a run is skipped."""
    for path in store.paths(root, device):
        with suppress(RunUnreadable):
            yield store.read(path)


def newest_like(root: Path, wanted: Request, given: Collection[str]) -> Stored | None:
    """Return the newest run whose request agrees in the given fields, in any order and letter case."""

    def normal(value: object) -> object:
        return sorted(str(entry).lower() for entry in value) if isinstance(value, tuple) else value

    for run in readable(root, wanted.device if "device" in given else None):
        if all(normal(getattr(run.run.request, name)) == normal(getattr(wanted, name)) for name in given):
            return run
    return None


def previous(root: Path, stored: Stored) -> Stored | None:
    """Return the newest run before this one on the same device that has points in common with it."""
    this, others = stored.run, readable(root, stored.run.device.name)
    before = (other for other in others if other.run.began < this.began and other.run.device.label == this.device.label)
    return next((other for other in before if set(other.run.points) & set(this.points)), None)


def about(run: Stored | None) -> str:
    """Describe the run that is resumed."""
    if run is None:
        return "there is no run like this to resume: a new one begins"
    if run.due:
        return f"resuming run {run.run.id}, which has {len(run.repeats)} rounds"
    marked = sum(found.status != "ok" for found in run.results)
    more = f"; {marked} of its points are marked: a new run measures all again" if marked else ""
    return f"run {run.run.id} is complete: nothing is measured{more}"


def requests(
    *,
    gpus: Iterable[str],
    models: Iterable[str],
    precisions: Iterable[str],
    batch_sizes: Iterable[int],
    concurrencies: Iterable[int],
    repository: str | Path,
    **same: Any,  # noqa: ANN401 (further fields of Request)
) -> list[Request]:
    """Return a request per device: the given ones, else the device of this machine."""
    names = tuple(dict.fromkeys(name.lower() for name in models))
    if not names:
        raise BadValue("models", "", "no model is named", "`models=all` selects every model")
    return [
        Request(
            device=device,
            precisions=devices.precisions_of(device, tuple(precisions)),
            models=names,
            batch_sizes=tuple(dict.fromkeys(batch_sizes)),
            concurrencies=tuple(dict.fromkeys(concurrencies)),
            repository=str(repository),
            **same,
        )
        for device in dict.fromkeys([gpu.lower() for gpu in gpus] or [devices.default_device()])
    ]


def measured(
    wanted: list[Request],
    results: Path,
    program: Path | None,
    patience_s: float,
    time_limit_s: float | None,
    given: set[str] | None,
    progress: Callable[[], AbstractContextManager[Callable[[Step], None]]],
) -> list[Stored]:
    """Measure a run per request: a new one or, if fields are `given`, the newest that has the same in them."""
    path, version = find(program)
    before = [None if given is None else newest_like(results, request, given) for request in wanted]
    for request, run in zip(wanted, before, strict=True):
        if run is None or run.due:
            servers.check_servable(run.run.request if run else request)
    runs = []
    for request, run in zip(wanted, before, strict=True):
        if given is not None:
            logger.info("%s", about(run))
        if run is not None and not run.due:
            runs.append(run)
            continue
        of = run.run.request if run else request
        analyzer = Analyzer(path, version, of.protocol, of.shared_memory, patience_s)
        with progress() as on_step:
            runs.append(Sweep(of, analyzer, results, run.path if run else None, time_limit_s, on_step).run())
    return runs


def measure(
    models: str | Iterable[str] = "all",
    *,
    gpu: str | None = None,
    precisions: Iterable[str] = (),
    batch_sizes: Iterable[int] = (1, 4, 8),
    concurrencies: Iterable[int] = (1,),
    profile: Profile = "production",
    measurement: str = "standard",
    protocol: Protocol = "grpc",
    shared_memory: SharedMemory = "none",
    baseline: bool = False,
    repository: str | Path = "model_repository",
    url: str | None = None,
    http_url: str | None = None,
    image_tag: str | None = None,
    results: str | Path = "perf/results",
    time_limit_s: float | None = None,
    patience_s: float = 300.0,
    on_step: Callable[[Step], None] = lambda _step: None,
) -> Stored:
    """Measure served models with perf_analyzer and return the stored run.

    Args:
        models: names, glob patterns or `all`, of the models that the server has.
        gpu: the device that the server must run on: v100, t4 or cpu. Default: the GPU of this machine, else cpu.
        precisions: fp16, fp32; by default those of the published table of the device.
        batch_sizes: images per request.
        concurrencies: requests that are sent at the same time.
        profile: `production` measures the repository as it is, `published` as the published tables were measured.
        measurement: the number of requests per round: quick or standard.
        protocol: grpc or http.
        shared_memory: how tensors reach a server on this host: none, system or cuda.
        baseline: also measure each model in ONNX Runtime alone.
        repository: the model repository to serve if no Triton runs.
        url: `host:port` of a server's gRPC. Default: the server at localhost:8001, else one that is started.
        http_url: `host:port` of that server's HTTP.
        image_tag: the release of the tritonserver image that is started on a GPU.
        results: the folder of the stored runs.
        time_limit_s: every point is measured once; then measuring ends after this time.
        patience_s: a perf_analyzer is stopped if the server has answered nothing for so long.
        on_step: called before each round of a point.

    Raises:
        UsageError: options contradict each other or the device; nothing was measured.
        WrongDevice: the server runs on another device.
        TritongenError: there is no server to measure, or the run cannot be written.
    """
    (request,) = requests(
        gpus=[gpu] if gpu else [], models=[models] if isinstance(models, str) else models, precisions=precisions,
        batch_sizes=batch_sizes, concurrencies=concurrencies, repository=repository, profile=profile,
        measurement=measurement, protocol=protocol, shared_memory=shared_memory, baseline=baseline, url=url,
        http_url=http_url, image_tag=image_tag, exact=True,
    )  # fmt: skip
    check(request, ())
    (run,) = measured([request], Path(results), None, patience_s, time_limit_s, None, lambda: nullcontext(on_step))
    return run
