"""Which engine serves: docker where Docker answers and an NVIDIA GPU is there, else embedded."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from generator.errors import UnknownName
from generator.repository.source import opened
from generator.server.docker import engine as docker
from generator.server.docker.container import docker_options
from generator.server.embedded import engine as embedded
from generator.server.gpus import gpu_names, this_gpu

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from generator.repository.s3.url import S3Url
    from generator.repository.source import Source
    from generator.server.docker.container import DockerOptions
    from generator.server.lifecycle import Server
    from generator.server.ports import Ports

Engine = Literal["embedded", "docker"]
ENGINES = ("auto", "embedded", "docker")


def choose(engine: str) -> Engine:
    """What `auto` is on this machine; the other names are themselves."""
    if engine == "auto":
        return "docker" if gpu_names() and docker.engine_version() else "embedded"
    return "docker" if engine == "docker" else "embedded"


def gpu_to_serve(repository: Path, precision: str | None = None, device: str = "0") -> str | None:
    """This machine's GPU where it is a target that the repository has configs for; else `config.pbtxt` is served."""
    gpu = this_gpu(device)
    there = gpu and any(repository.glob(f"*/configs/{gpu}-{precision or 'fp16'}.pbtxt"))
    return gpu if there else None


def check_there(folder: Path, models: Sequence[str]) -> None:
    """Raise UnknownName for a model that the folder has not: Triton would say that it cannot start."""
    there = sorted(entry.name for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []
    for name in models:
        if there and name not in there:
            raise UnknownName("model", name, there)


@contextmanager
def start(
    engine: Engine,
    repository: Path | S3Url | Source,
    *,
    ports: Ports,
    models: Sequence[str] = (),
    options: DockerOptions | None = None,
) -> Iterator[Server]:
    """A server of that engine, for as long as the context lasts."""
    with opened(repository) as source:
        check_there(source.folder, models)
        serving: AbstractContextManager[Server]
        if engine == "docker":
            options = options or docker_options(gpu_to_serve(source.folder))
            serving = docker.serve(source, ports=ports, models=models, options=options)
        else:
            serving = embedded.serve(source, ports=ports, models=models)
        with serving as server:
            yield server
