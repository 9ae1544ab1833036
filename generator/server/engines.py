"""Start a server with an engine of this machine, or attach to a server that runs."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Literal

from generator.config import targets
from generator.errors import ServerUnreachable, UnknownName
from generator.repository.s3.url import S3Url
from generator.repository.source import Source, opened
from generator.server.docker import engine as docker
from generator.server.docker.container import DockerOptions, docker_options
from generator.server.embedded import engine as embedded
from generator.server.gpus import gpu_name, gpu_names
from generator.server.lifecycle import Server
from generator.server.ports import Ports, free_ports
from generator.server.probe import TritonClient

logger = logging.getLogger(__name__)

DEFAULT_URL = "localhost:8001"
Engine = Literal["embedded", "docker"]


def choose(engine: str) -> Engine:
    """Return the given engine; `auto` is docker if Docker runs and there is an NVIDIA GPU, else embedded."""
    if engine == "auto":
        return "docker" if gpu_names() and docker.engine_version() else "embedded"
    return "docker" if engine == "docker" else "embedded"


def gpu_to_serve(repository: Path, precision: str | None = None, device: str | None = None) -> str | None:
    """Return the target of a GPU of this machine if the repository has configs for it, else None."""
    name = gpu_name(device or "0")
    target = targets.of_gpu(name) if name else None
    has_configs = target and any(repository.glob(f"*/configs/{target.name}-{precision or 'fp16'}.pbtxt"))
    return target.name if target and has_configs else None


@contextmanager
def start(
    engine: Engine,
    repository: Path | S3Url | Source,
    *,
    ports: Ports,
    models: Sequence[str] = (),
    options: DockerOptions | None = None,
) -> Iterator[Server]:
    """Start a server with an engine, and stop it when the context ends.

    Raises:
        UnknownName: the repository does not have a model.
        TritongenError: the server does not start.
    """
    with opened(repository) as source:
        folder = source.folder
        known = sorted(entry.name for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []
        if known and (unknown := [name for name in models if name not in known]):
            raise UnknownName("model", unknown[0], known)
        serving: AbstractContextManager[Server]
        if engine == "docker":
            options = options or docker_options(gpu_to_serve(folder))
            serving = docker.serve(source, ports=ports, models=models, options=options)
        else:
            serving = embedded.serve(source, ports=ports, models=models)
        with serving as server:
            yield server


@contextmanager
def running_server(url: str | None) -> Iterator[TritonClient | None]:
    """Connect to the server at `url`, else to the one at localhost:8001, or yield None if none runs there.

    Raises:
        ServerUnreachable: nothing answers at the given `url`.
    """
    with TritonClient(url or DEFAULT_URL) as client:
        answers = client.answers()
        if url is not None and not answers:
            raise ServerUnreachable(url, "nothing there answers Triton's gRPC")
        yield client if answers else None


@contextmanager
def connected(url: str | None, repository: Path | S3Url, *, models: Sequence[str]) -> Iterator[TritonClient]:
    """Connect to the server at `url`, to the one at localhost:8001, or to one that is started for the context.

    Raises:
        ServerUnreachable: nothing answers at the given `url`.
        TritongenError: the server that was needed did not start.
    """
    with running_server(url) as running:
        if running is not None:
            logger.info("attached to the Triton at %s", running.url)
            yield running
            return
    engine = choose("auto")
    logger.info("no Triton at %s: starting one of %s (%s engine)", DEFAULT_URL, repository, engine)
    with (
        start(engine, repository, ports=free_ports(), models=models) as server,
        TritonClient(server.grpc_url) as client,
    ):
        yield client
