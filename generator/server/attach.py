"""The server that `infer` and `perf` talk to: one that runs already, else one of their own."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

from generator.server import engine_choice, probe
from generator.server.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from generator.repository.s3.url import S3Url
    from generator.server.docker.container import DockerOptions

logger = logging.getLogger(__name__)

DEFAULT_URL = "localhost:8001"


def running_server(url: str | None) -> str | None:
    """The server to attach to: the one named, else the one at localhost:8001 where it answers.

    Raises:
        ServerUnreachable: nothing answers at the `url` that was given.
    """
    if url is not None:
        probe.check_answers(url)
        return url
    return DEFAULT_URL if probe.answers(DEFAULT_URL) else None


@contextmanager
def connected(
    url: str | None,
    repository: Path | S3Url,
    *,
    models: Sequence[str],
    options: DockerOptions | None = None,
) -> Iterator[str]:
    """`host:port` of the server at `url`, of the one at localhost:8001, or of one started for the context.

    Raises:
        ServerUnreachable: nothing answers at the `url` that was given.
        TritongenError: a server had to be started and did not start.
    """
    there = running_server(url)
    if there is not None:
        logger.info("attached to the Triton at %s", there)
        yield there
    else:
        engine = engine_choice.choose("auto")
        ports = free_ports()
        logger.info("no Triton at %s: starting one of %s (%s engine)", DEFAULT_URL, repository, engine)
        with engine_choice.start(engine, repository, ports=ports, models=models, options=options) as server:
            yield server.grpc_url
