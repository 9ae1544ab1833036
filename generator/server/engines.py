"""Which engine serves: docker where Docker answers and an NVIDIA GPU is there, else embedded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from generator.server import docker, embedded
from generator.server.gpus import gpu_names

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from generator.server.docker import DockerOptions
    from generator.server.lifecycle import Server
    from generator.spec import Ports

Engine = Literal["embedded", "docker"]
ENGINES = ("auto", "embedded", "docker")


def choose(engine: str) -> Engine:
    """What `auto` is on this machine; the other names are themselves."""
    if engine == "auto":
        return "docker" if gpu_names() and docker.engine_version() else "embedded"
    return "docker" if engine == "docker" else "embedded"


def start(
    engine: Engine,
    repository: Path,
    *,
    ports: Ports,
    models: Sequence[str] = (),
    options: DockerOptions | None = None,
) -> AbstractContextManager[Server]:
    """A server of that engine, for as long as the context lasts."""
    if engine == "docker":
        return docker.serve(repository, ports=ports, models=models, options=options or docker.DockerOptions())
    return embedded.serve(repository, ports=ports, models=models)
