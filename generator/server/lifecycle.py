"""A server from its start to its end: wait until it is ready, and leave nothing of it behind."""

from __future__ import annotations

import logging
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
from generator.system.processes import Child

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from generator.server.ports import Ports

logger = logging.getLogger(__name__)

POLL_S = 0.1


class Log:
    """A server's log file, whose lines are logged as they come."""

    def __init__(self, path: Path, level: int) -> None:
        self.path = path
        self._level = level
        self._logged = 0

    def update(self) -> None:
        """Log the lines that have come since the last call."""
        if not logger.isEnabledFor(self._level):
            return
        with self.path.open("rb") as file:
            file.seek(self._logged)
            new, end, _ = file.read().rpartition(b"\n")
        self._logged += len(new) + len(end)
        for line in new.decode(errors="replace").splitlines():
            logger.log(self._level, "%s", line)

    def text(self) -> str:
        """All of it."""
        return self.path.read_text(errors="replace")


@dataclass(frozen=True)
class Server:
    """A running Triton of ours; every model is READY."""

    engine: str
    ports: Ports
    log: Log
    child: Child

    @property
    def grpc_url(self) -> str:
        """`host:port` for gRPC clients."""
        return self.ports.grpc_url


@contextmanager
def running(
    engine: str,
    command: Sequence[str],
    ports: Ports,
    env: Mapping[str, str] | None = None,
    log_level: int = logging.DEBUG,
) -> Iterator[Server]:
    """Start a server, wait until every model is READY, stop it when the context ends; its log is logged.

    Raises:
        ServerFailed: it ended before it was ready; the models that it refused are named, with its reasons.
    """
    with tempfile.TemporaryDirectory(prefix="tritongen-") as folder:
        written = Log(Path(folder) / "triton.log", log_level)
        with written.path.open("wb") as sink:
            child = Child(command, env=env, log=sink)
        try:
            wait_until_ready(child, ports, written)
            yield Server(engine, ports, written, child)
        finally:
            child.stop()
            written.update()


def wait_until_ready(child: Child, ports: Ports, written: Log) -> None:
    """Return when every model is READY, raise ServerFailed when the server ends first."""
    while not ready(ports):
        written.update()
        if child.status() is not None:
            text = written.text()
            raise ServerFailed(f"Triton did not start: {log.last_error(text)}", log.refusals(text))
        time.sleep(POLL_S)


def ready(ports: Ports) -> bool:
    """Whether Triton says that it and all its models are ready."""
    try:
        with urllib.request.urlopen(f"http://{ports.http_url}/v2/health/ready", timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False
