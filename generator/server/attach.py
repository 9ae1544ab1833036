"""The server that `infer` and `perf` talk to: one that runs already, else one of their own."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

from generator.errors import ServerUnreachable
from generator.server import engine_choice
from generator.server.ports import free_ports
from generator.server.probe import TritonClient

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from generator.repository.s3.url import S3Url
    from generator.server.docker.container import DockerOptions

logger = logging.getLogger(__name__)

DEFAULT_URL = "localhost:8001"


@contextmanager
def running_server(url: str | None) -> Iterator[TritonClient | None]:
    """Connect to the server at `url`, else to the one at localhost:8001, or yield None if none runs there.

    Raises:
        ServerUnreachable: nothing answers at the `url` that was given.
    """
    with TritonClient(url or DEFAULT_URL) as client:
        answers = client.answers()
        if url is not None and not answers:
            raise ServerUnreachable(url)
        yield client if answers else None


@contextmanager
def connected(
    url: str | None,
    repository: Path | S3Url,
    *,
    models: Sequence[str],
    options: DockerOptions | None = None,
) -> Iterator[TritonClient]:
    """Connect to the server at `url`, to the one at localhost:8001, or to one that is started for the context.

    Raises:
        ServerUnreachable: nothing answers at the `url` that was given.
        TritongenError: a server had to be started and did not start.
    """
    with running_server(url) as running:
        if running is not None:
            logger.info("attached to the Triton at %s", running.url)
            yield running
            return
    engine = engine_choice.choose("auto")
    ports = free_ports()
    logger.info("no Triton at %s: starting one of %s (%s engine)", DEFAULT_URL, repository, engine)
    with (
        engine_choice.start(engine, repository, ports=ports, models=models, options=options) as server,
        TritonClient(server.grpc_url) as client,
    ):
        yield client
