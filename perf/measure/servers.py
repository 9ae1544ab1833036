"""The servers that are measured: one that runs already, else one that is started."""

import logging
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from generator.errors import BadValue, ServerUnreachable, TritongenError, UnknownName
from generator.networks import NETWORKS
from generator.repository.source import of_folder
from generator.server import engines
from generator.server.docker.container import DockerOptions, docker_options
from generator.server.lifecycle import Server
from generator.server.ports import free_ports
from generator.server.probe import ServedModel, TritonClient, http_answers
from generator.system.files import digest_of_folder
from generator.system.text import matching
from generator.types import Precision
from perf.measure import device as devices
from perf.measure import static_repository
from perf.runs.types import Device, Origin, PerfPoint, Request, Versions

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Variant:
    """The models of one server: their precision and, in the published profile, their one batch size."""

    precision: Precision
    static_batch: int | None = None

    def holds(self, point: PerfPoint) -> bool:
        """Return true if a point is measured on this server."""
        return point.precision == self.precision and self.static_batch in (None, point.batch_size)


@dataclass(frozen=True)
class Serving:
    """A server that serves a variant. `own` is None for one that was running.

    `largest` has the largest batch size of each model in the user's configs if a server of the published profile serves
    copies for one batch size.
    """

    label: str
    client: TritonClient
    analyzer_url: str
    models: tuple[ServedModel, ...]
    device: Device
    triton: str
    engine: str | None = None
    image_tag: str | None = None
    own: Server | None = None
    model_digest: dict[str, str] = field(default_factory=dict)
    largest: dict[str, int] = field(default_factory=dict)

    def death(self) -> str | None:
        """Return how the server ended, None if it runs."""
        if self.own is None:
            return None if self.client.answers() else f"no Triton at {self.client.url} any more"
        return self.own.end()

    def origin(self, model: ServedModel, analyzer: str) -> Origin:
        """Return the origin of a measurement on this server."""
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
    """Return the servers that a run needs, in the order in which they are started."""
    # From the smallest batch size, which every model takes.
    sizes = sorted(request.batch_sizes) if request.profile == "published" else (None,)
    return tuple(Variant(precision, size) for precision in request.precisions for size in sizes)


def check_servable(request: Request) -> None:
    """Raise TritongenError if it is known, before a server is started, that none can be measured."""
    with engines.running_server(request.url) as running:
        if running:
            return
    devices.check_startable(request.device)
    of_folder(Path(request.repository)).check()
    models_of(request)


@contextmanager
def serving(request: Request, variant: Variant) -> Iterator[Serving]:
    """Serve a variant: by the server at the request's URL or at localhost:8001 if that serves it, else by a new one.

    Raises:
        WrongDevice: the server runs, or would run, on another device than the requested one.
        TritongenError: there is no server to measure.
    """
    with engines.running_server(request.url) as running:
        if running and (attached := attach(request, variant, running)):
            yield attached
            return
    devices.check_startable(request.device)
    with started(request, variant) as own:
        yield own


def attach(request: Request, variant: Variant, client: TritonClient) -> Serving | None:
    """Attach to a running server; None if it serves another variant and the request does not name it."""
    url = client.url
    names = choose(request.models, client.ready_models(), f"the server at {url}")
    models = tuple(map(client.served_model, names))
    host, _, port = url.rpartition(":")
    # Triton's own ports are HTTP, gRPC and metrics, in this order.
    device = devices.describe_served(request.device, models[0], url, f"{host}:{int(port) + 1}")
    for model in models:
        if model.precision == variant.precision and variant.static_batch in (None, model.static_batch):
            continue
        if request.url is None:
            return None
        if model.precision != variant.precision:
            why = f"{variant.precision.upper()}, which the table needs"
            hint = f"start it with Triton's option --model-config-name={request.device}-{variant.precision}"
        else:
            why = f"{model.name} for batches of {variant.static_batch} alone, which the published profile measures"
            hint = "without `url`, perf starts servers of such models itself; `profile=production` measures yours"
        raise TritongenError(f"the server at {url} does not serve {why}", hint)
    analyzer_url = url
    if request.protocol == "http":
        analyzer_url = request.http_url or f"{host}:{int(port) - 1}"
        if not http_answers(analyzer_url):
            hint = "`http_url` names its HTTP address"
            raise ServerUnreachable(analyzer_url, "nothing there answers Triton's HTTP", hint)
    logger.info("attached to the Triton at %s", url)
    return Serving(f"the Triton at {url}", client, analyzer_url, models, device, client.server_version())


@contextmanager
def started(request: Request, variant: Variant) -> Iterator[Serving]:
    """Start a server on free ports, with the models that are measured."""
    repository = Path(request.repository)
    of_folder(repository).check()
    names = models_of(request)
    options = own_options(request, variant) if request.device != devices.CPU else None
    config_name = options.variant if options else None
    engine = engines.choose("docker" if options else "embedded")
    what = f"a Triton of {repository} ({engine} engine)"
    largest = {}
    with ExitStack() as stack:
        served = repository
        if size := variant.static_batch:
            configs = static_repository.configs(repository, names, config_name)
            largest = {name: max(1, config.max_batch_size) for name, config in configs.items()}
            check_batches(request, largest)
            names = tuple(name for name in names if largest[name] >= size)
            configs = {name: configs[name] for name in names}
            what += f", {variant.precision.upper()}, for batches of {size} alone"
            served = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tritongen-perf-")))
            served.chmod(0o755)  # a container's user reads it
            static_repository.write(repository.resolve(), served, configs, config_name, size)
        logger.info("starting %s for this run", what)
        server = stack.enter_context(engines.start(engine, served, ports=free_ports(), models=names, options=options))
        client = stack.enter_context(TritonClient(server.grpc_url))
        models = tuple(map(client.served_model, names))
        yield Serving(
            label=f"a Triton started for this ({engine} engine)",
            client=client,
            analyzer_url=server.grpc_url if request.protocol == "grpc" else server.ports.http_url,
            models=models,
            largest=largest,
            device=devices.describe_served(request.device, models[0], server.grpc_url, server.ports.metrics_url),
            triton=client.server_version(),
            engine=engine,
            image_tag=options.tag if options else None,
            own=server,
            model_digest={model.name: digest_of_folder(served / model.name / model.version) for model in models},
        )


def own_options(request: Request, variant: Variant) -> DockerOptions:
    """Return the options of the container that serves a variant."""
    index = devices.index_of(request.device)
    device, client_shm = None if index is None else str(index), request.shared_memory != "none"
    return docker_options(request.device, variant.precision, request.image_tag, device=device, client_shm=client_shm)


def models_of(request: Request) -> tuple[str, ...]:
    """Return the requested models of the repository."""
    repository = Path(request.repository)
    folders = sorted(folder.name for folder in repository.iterdir() if folder.is_dir())
    return choose(request.models, folders, str(repository))


def choose(patterns: Sequence[str], available: Iterable[str], where: str) -> tuple[str, ...]:
    """Return the models that names, globs or `all` select, in the order of the published tables.

    Raises:
        UnknownName: a pattern matches no model.
        TritongenError: there are no models.
    """
    available = list(available)
    if not available:
        raise TritongenError(f"{where} has no model ready")
    chosen: set[str] = set()
    for pattern in patterns:
        if not (matched := matching(pattern, available)):
            raise UnknownName(f"model in {where}", pattern, available)
        chosen.update(matched)
    order = [network.name for network in NETWORKS if network.name in chosen]
    return (*order, *sorted(chosen.difference(order)))


def check_batches(request: Request, largest: dict[str, int]) -> None:
    """Raise BadValue if a batch size was given that a model does not take."""
    for name, most in largest.items():
        for size in request.batch_sizes if request.exact else ():
            if size > most:
                hint = f"`tritongen build` makes one that takes it with `max_batch_size={size}`"
                raise BadValue("batch_sizes", size, f"{name} takes batches of 1 to {most}", hint)
