"""The server that a variant is measured on: the one that is named or runs already, else one of our own."""

from __future__ import annotations

import logging
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from generator import networks
from generator.errors import BadValue, ServerUnreachable, TritongenError, UnknownName
from generator.repository.source import of_folder
from generator.server import engine_choice, log
from generator.server.attach import running_server
from generator.server.docker.container import docker_options
from generator.server.ports import free_ports
from generator.server.probe import TritonClient, http_answers
from generator.system.files import digest_of_folder
from generator.system.text import matching
from perf.measure import device as devices
from perf.measure import static_repository
from perf.runs.types import Origin, Versions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from generator.server.docker.container import DockerOptions
    from generator.server.lifecycle import Server
    from generator.server.served_model import ServedModel
    from generator.types import Precision
    from perf.runs.types import Device, PerfPoint, Request

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Variant:
    """What one server serves: a precision and, in the published profile, one batch."""

    precision: Precision
    static_batch: int | None = None

    def holds(self, point: PerfPoint) -> bool:
        """Whether the point is measured on it."""
        return point.precision == self.precision and self.static_batch in (None, point.batch_size)


@dataclass(frozen=True)
class Serving:
    """A server that serves a variant. `own` is None for one that ran already.

    `largest` is the largest batch of each model: the published profile's servers take one batch each, and speak of
    no other.
    """

    label: str
    client: TritonClient
    analyzer_url: str
    models: tuple[ServedModel, ...]
    largest: dict[str, int]
    device: Device
    triton: str
    engine: str | None = None
    image_tag: str | None = None
    own: Server | None = None
    model_digest: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """The address of its gRPC."""
        return self.client.url

    def model(self, name: str) -> ServedModel | None:
        """One of the models."""
        return next((model for model in self.models if model.name == name), None)

    def death(self) -> str | None:
        """What became of the server, if it is no more."""
        if self.own is None:
            return None if self.client.answers() else f"no Triton at {self.url} any more"
        status = self.own.child.status()
        if status is None:
            return None
        said = log.last_error(self.own.log.text())
        return f"Triton ended with {status}" + (f": {said}" if said else "")

    def answered(self, name: str) -> int:
        """How many requests of a model were answered so far."""
        return self.client.requests_answered(name)

    def origin(self, model: ServedModel, analyzer: str) -> Origin:
        """What makes a measurement on it."""
        return Origin(
            device=self.device,
            versions=Versions(
                tritongen=version("tritongen"),
                perf_analyzer=analyzer,
                triton=self.triton,
                python=sys.version.split()[0],
                onnxruntime=version("onnxruntime") if self.engine == "embedded" else None,
            ),
            server=self.label,
            image_tag=self.image_tag,
            model_digest=self.model_digest.get(model.name),
            config_sha256=model.config_sha256,
        )


def variants(request: Request) -> tuple[Variant, ...]:
    """The servers that a run needs, in turn."""
    if request.profile == "production":
        return tuple(Variant(precision) for precision in request.precisions)
    # From the smallest batch on, which every model takes.
    return tuple(Variant(precision, size) for precision in request.precisions for size in sorted(request.batch_sizes))


def check_servable(request: Request) -> None:
    """Raise TritongenError where it is known, before any server is started, that none can be measured."""
    with running_server(request.url) as running:
        if running is not None:
            return
    devices.check_startable(request.device)
    of_folder(Path(request.repository)).check()
    models_of(request)


@contextmanager
def serving(request: Request, variant: Variant) -> Iterator[Serving]:
    """A server of that variant: the one named or at localhost:8001 if it is one, else one of our own.

    Raises:
        WrongDevice: it runs, or would run, on something else than asked.
        TritongenError: there is no server to measure.
    """
    with running_server(request.url) as running:
        if running is not None and (attached := attach(request, variant, running)):
            yield attached
            return
    devices.check_startable(request.device)
    with started(request, variant) as own:
        yield own


def attach(request: Request, variant: Variant, client: TritonClient) -> Serving | None:
    """The server that runs already; None where it serves another variant and was not named by the user."""
    url = client.url
    names = choose(request.models, client.ready_models(), f"the server at {url}")
    models = tuple(map(client.served_model, names))
    device = devices.describe_served(request.device, models[0], url, metrics_of(url))
    if wrong := next((model for model in models if not serves(model, variant)), None):
        if request.url is None:
            return None
        if wrong.precision != variant.precision:
            why = f"{variant.precision.upper()}, which the table asks for"
            hint = f"start it with --model-config-name={request.device}-{variant.precision}"
        else:
            why = f"{wrong.name} for batches of {variant.static_batch} alone, which the published profile measures"
            hint = "without `url`, perf starts servers of such models itself; `profile=production` measures yours"
        raise TritongenError(f"the server at {url} does not serve {why}", hint)
    logger.info("attached to the Triton at %s", url)
    return Serving(
        label=f"the Triton at {url}",
        client=client,
        analyzer_url=url if request.protocol == "grpc" else http_of(request, url),
        models=models,
        largest={model.name: max(1, model.max_batch_size) for model in models},
        device=device,
        triton=client.server_version(),
    )


def serves(model: ServedModel, variant: Variant) -> bool:
    """Whether a model is served as the variant has it."""
    return model.precision == variant.precision and variant.static_batch in (None, model.static_batch)


@contextmanager
def started(request: Request, variant: Variant) -> Iterator[Serving]:
    """A server of our own on free ports, with the models that are measured."""
    repository = Path(request.repository)
    of_folder(repository).check()
    names = models_of(request)
    largest = largest_batches(request, variant) if variant.static_batch else {}
    if variant.static_batch:
        check_batches(request, largest)
        names = tuple(name for name in names if largest[name] >= variant.static_batch)
    on_gpu = request.device != devices.CPU
    engine = engine_choice.choose("docker" if on_gpu else "embedded")
    options = own_options(request, variant) if on_gpu else None
    what = f"a Triton of {repository} ({engine} engine)"
    if variant.static_batch:
        what += f", {variant.precision.upper()}, for batches of {variant.static_batch} alone"
    logger.info("starting %s for this run", what)
    ports = free_ports()
    with (
        repository_of(request, variant, names, options.variant if options else None) as served,
        engine_choice.start(engine, served, ports=ports, models=names, options=options) as server,
        TritonClient(server.grpc_url) as client,
    ):
        models = tuple(map(client.served_model, names))
        yield Serving(
            label=f"a Triton started for this ({engine} engine)",
            client=client,
            analyzer_url=server.grpc_url if request.protocol == "grpc" else server.ports.http_url,
            models=models,
            largest=largest or {model.name: max(1, model.max_batch_size) for model in models},
            device=devices.describe_served(request.device, models[0], server.grpc_url, server.ports.metrics_url),
            triton=client.server_version(),
            engine=engine,
            image_tag=options.tag if options else None,
            own=server,
            model_digest={model.name: digest_of_folder(served / model.name / model.version) for model in models},
        )


def own_options(request: Request, variant: Variant) -> DockerOptions:
    """The container of a variant."""
    index = devices.index_of(request.device)
    return docker_options(
        request.device,
        variant.precision,
        request.image_tag,
        device=None if index is None else str(index),
        client_shm=request.shared_memory != "none",
    )


@contextmanager
def repository_of(request: Request, variant: Variant, names: Sequence[str], config_name: str | None) -> Iterator[Path]:
    """The repository as it is; in the published profile a working copy with models for one batch."""
    repository = Path(request.repository)
    if variant.static_batch is None:
        yield repository
        return
    with tempfile.TemporaryDirectory(prefix="tritongen-perf-") as folder:
        copy = Path(folder)
        copy.chmod(0o755)  # a container's user reads it
        static_repository.write(repository.resolve(), copy, names, config_name, variant.static_batch)
        yield copy


def largest_batches(request: Request, variant: Variant) -> dict[str, int]:
    """The largest batch of each model that was asked for, as the user's configs have it."""
    name = own_options(request, variant).variant if request.device != devices.CPU else None
    return static_repository.largest_batches(Path(request.repository), models_of(request), name)


def models_of(request: Request) -> tuple[str, ...]:
    """The models that were asked for, of those in the repository."""
    repository = Path(request.repository)
    there = sorted(folder.name for folder in repository.iterdir() if folder.is_dir())
    return choose(request.models, there, str(repository))


def choose(patterns: Sequence[str], there: Iterable[str], where: str) -> tuple[str, ...]:
    """The models that names, globs or `all` stand for, in the order of the published tables.

    Raises:
        UnknownName: a pattern matches none of the models that are there.
        TritongenError: there are none.
    """
    there = list(there)
    if not there:
        raise TritongenError(f"{where} has no model ready")
    chosen: set[str] = set()
    for pattern in patterns:
        matched = matching(pattern, there)
        if not matched:
            raise UnknownName(f"model in {where}", pattern, there)
        chosen.update(matched)
    order = {network.name: place for place, network in enumerate(networks.NETWORKS)}
    return tuple(sorted(chosen, key=lambda name: (order.get(name, len(order)), name)))


def http_of(request: Request, url: str) -> str:
    """The HTTP address of a running server: the one given, else the port before gRPC's, as Triton's own are.

    Raises:
        ServerUnreachable: nothing answers there.
    """
    host, _, port = url.rpartition(":")
    http_url = request.http_url or f"{host}:{int(port) - 1}"
    if not http_answers(http_url):
        raise ServerUnreachable(http_url, "nothing there answers Triton's HTTP", "`http_url` names its HTTP address")
    return http_url


def metrics_of(url: str) -> str:
    """Where a running server's metrics are: the port after gRPC's, as Triton's own are."""
    host, _, port = url.rpartition(":")
    return f"{host}:{int(port) + 1}"


def check_batches(request: Request, largest: dict[str, int]) -> None:
    """Raise BadValue where a batch size was asked for that a model does not take."""
    for name, most in largest.items():
        for size in request.batch_sizes if request.exact else ():
            if size > most:
                hint = f"`tritongen build --max-batch-size {size}` builds one that takes it"
                raise BadValue("batch_sizes", size, f"{name} takes batches of 1 to {most}", hint)
