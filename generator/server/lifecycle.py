"""A server from its start to its end: wait until it is ready, and leave nothing of it behind."""

from __future__ import annotations

import tempfile
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from generator.errors import ServerFailed
from generator.server import log
from generator.shell import Child

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from generator.spec import Ports

POLL_S = 0.1


@dataclass(frozen=True)
class Server:
    """A running Triton of ours; every model is READY."""

    engine: str
    ports: Ports
    log_file: Path
    child: Child

    @property
    def grpc_url(self) -> str:
        """`host:port` for gRPC clients."""
        return self.ports.grpc_url


@contextmanager
def running(
    engine: str, command: Sequence[str], ports: Ports, env: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """Start a server, wait until every model is READY, stop it when the context ends.

    Raises:
        ServerFailed: it ended before it was ready; the models that it refused are named, with its reasons.
    """
    with tempfile.TemporaryDirectory(prefix="tritongen-") as folder:
        log_file = Path(folder) / "triton.log"
        with log_file.open("wb") as sink:
            child = Child(command, env=env, log=sink)
        try:
            wait_until_ready(child, ports, log_file)
            yield Server(engine, ports, log_file, child)
        finally:
            child.stop()


def wait_until_ready(child: Child, ports: Ports, log_file: Path) -> None:
    """Return when every model is READY, raise ServerFailed when the server ends first."""
    while not ready(ports):
        if child.status() is not None:
            text = log_file.read_text(errors="replace")
            raise ServerFailed(f"Triton did not start: {log.last_error(text)}", log.refusals(text))
        time.sleep(POLL_S)


def ready(ports: Ports) -> bool:
    """Whether Triton says that it and all its models are ready."""
    try:
        with urllib.request.urlopen(f"http://{ports.http_url}/v2/health/ready", timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False
