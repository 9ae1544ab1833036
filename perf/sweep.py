"""From what was asked to a list of measurements: one server a precision, one perf_analyzer process a point."""

from __future__ import annotations

import fnmatch
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from generator import networks
from generator.errors import BadOption, TritongenError, UnknownName
from generator.server import engines, probe
from generator.server.connect import running_server
from generator.server.container import docker_options
from generator.server.embedded import check_repository
from generator.server.ports import free_ports
from perf import device as devices
from perf.analyzer import measure
from perf.results import PerfPoint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from generator.spec import Precision, ServedModel
    from perf.analyzer import Plan
    from perf.results import Measurement

    Say = Callable[[str], None]


@dataclass(frozen=True)
class Request:
    """What a sweep measures on one device."""

    device: str
    precisions: tuple[Precision, ...]
    models: tuple[str, ...]
    batch_sizes: tuple[int, ...]
    repository: Path
    url: str | None
    # Whether every model must take every batch size; else it is measured at those it takes.
    exact: bool = True


@dataclass(frozen=True)
class Sweep:
    """The measurements of one device, and what they were made on."""

    device: str
    device_label: str
    server: str
    models: tuple[ServedModel, ...]
    precisions: tuple[Precision, ...]
    batch_sizes: tuple[int, ...]
    measurements: tuple[Measurement, ...]


@dataclass(frozen=True)
class Variant:
    """A server that serves one precision."""

    url: str
    started: bool
    models: tuple[ServedModel, ...]
    device_label: str


def sweep(request: Request, plan: Plan, *, say: Say, on_point: Callable[[int, int, str], None]) -> Sweep:
    """Measure every point; one that fails is kept with its reason and the rest goes on.

    Args:
        request: what is measured.
        plan: how long each point is.
        say: told of the servers.
        on_point: told, before each point, how many are done, how many there are, and which is next.

    Raises:
        WrongDevice: the server runs on something else than asked.
        TritongenError: there is no server to measure.
    """
    measurements: list[Measurement] = []
    total = 0
    for precision in request.precisions:
        with variant(request, precision, say) as served:
            points = [
                (PerfPoint(model.name, precision, batch_size), model)
                for model in served.models
                for batch_size in batch_sizes_of(request, model)
            ]
            total = total or len(points) * len(request.precisions)
            for point, model in points:
                on_point(len(measurements), total, f"{point.model} {precision} batch {point.batch_size}")
                measurements.append(measure(point, model, served.url, plan))
    on_point(len(measurements), total, "")
    return Sweep(
        device=request.device,
        device_label=served.device_label,
        server="a Triton started for this" if served.started else f"the Triton at {served.url}",
        models=served.models,
        precisions=request.precisions,
        batch_sizes=request.batch_sizes,
        measurements=tuple(measurements),
    )


@contextmanager
def variant(request: Request, precision: Precision, say: Say) -> Iterator[Variant]:
    """A server of that precision: the one named or at localhost:8001 if it is one, else one of our own."""
    url = running_server(request.url)
    if url is not None:
        names = choose(request.models, probe.ready_models(url), f"the server at {url}")
        models = tuple(probe.served_model(url, name) for name in names)
        label = devices.describe_served(request.device, models[0], url)
        if all(model.precision == precision for model in models):
            say(f"attached to the Triton at {url}")
            yield Variant(url, started=False, models=models, device_label=label)
            return
        if request.url is not None:
            raise TritongenError(
                f"the server at {url} does not serve {precision.upper()}, which the table asks for",
                f"start it with --model-config-name={request.device}-{precision}",
            )
    devices.check_startable(request.device)
    with started(request, precision, say) as served:
        yield served


@contextmanager
def started(request: Request, precision: Precision, say: Say) -> Iterator[Variant]:
    """A server of our own on free ports, with the models that are measured."""
    check_repository(request.repository)
    there = sorted(folder.name for folder in request.repository.iterdir() if folder.is_dir())
    names = choose(request.models, there, str(request.repository))
    on_gpu = request.device != devices.CPU
    engine = engines.choose("docker" if on_gpu else "embedded")
    options = docker_options(request.device, precision) if on_gpu else None
    say(f"no Triton serves what is measured: starting one of {request.repository} ({engine} engine) for this command")
    with engines.start(
        engine, request.repository, ports=free_ports(), models=names, options=options, say=say
    ) as server:
        models = tuple(probe.served_model(server.grpc_url, name) for name in names)
        label = devices.describe_served(request.device, models[0], server.grpc_url)
        yield Variant(server.grpc_url, started=True, models=models, device_label=label)


def choose(patterns: Sequence[str], there: Iterable[str], where: str) -> tuple[str, ...]:
    """The models that names, globs or `all` stand for, in the order of the published tables.

    Raises:
        UnknownName: a pattern matches none of the models that are there.
    """
    there = list(there)
    chosen: set[str] = set()
    for pattern in patterns:
        wanted = "*" if pattern.lower() == "all" else pattern.lower()
        matched = [name for name in there if fnmatch.fnmatchcase(name.lower(), wanted)]
        if not matched:
            raise UnknownName(f"model in {where}", pattern, there)
        chosen.update(matched)
    order = {network.name: place for place, network in enumerate(networks.NETWORKS)}
    return tuple(sorted(chosen, key=lambda name: (order.get(name, len(order)), name)))


def batch_sizes_of(request: Request, model: ServedModel) -> Sequence[int]:
    """The batch sizes that the model takes.

    Raises:
        BadOption: one that was asked for is larger than the model's largest.
    """
    largest = max(1, model.max_batch_size)
    if not request.exact:
        return [size for size in request.batch_sizes if size <= largest]
    for size in request.batch_sizes:
        if not 1 <= size <= largest:
            hint = f"`tritongen build --max-batch-size {size}` builds one that takes it"
            raise BadOption("--batch-sizes", size, f"{model.name} takes batches of 1 to {largest}", hint)
    return request.batch_sizes
