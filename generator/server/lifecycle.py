"""Start a server, wait until it is ready, and stop it without leaving anything behind."""

from __future__ import annotations

import logging
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from generator.errors import ServerFailed
from generator.server import log
from generator.system.processes import Child

if TYPE_CHECKING:
    from generator.server.ports import Ports

logger = logging.getLogger(__name__)

POLL_S = 0.1


class Log:
    """The log file of a server, whose new lines are logged on demand."""

    def __init__(self, path: Path, level: int) -> None:
        self.path = path
        self._level = level
        self._logged = 0

    def update(self) -> None:
        """Log the complete lines that were written since the last call."""
        if not logger.isEnabledFor(self._level):
            return
        with self.path.open("rb") as file:
            file.seek(self._logged)
            new, end, _ = file.read().rpartition(b"\n")
        self._logged += len(new) + len(end)
        for line in new.decode(errors="replace").splitlines():
            logger.log(self._level, "%s", line)

    def text(self) -> str:
        """Return the whole log."""
        return self.path.read_text(errors="replace")


@dataclass(frozen=True)
class Server:
    """A running Triton that this program started; every model is READY."""

    engine: str
    ports: Ports
    log: Log
    child: Child

    @property
    def grpc_url(self) -> str:
        """Return the `host:port` for gRPC clients."""
        return self.ports.grpc_url


@contextmanager
def running(
    engine: str,
    command: Sequence[str],
    ports: Ports,
    env: Mapping[str, str] | None = None,
    log_level: int = logging.DEBUG,
) -> Iterator[Server]:
    """Start a server, wait until every model is READY, and stop it when the context ends; log its log.

    Raises:
        ServerFailed: the server ended before it was ready; the error has the refused models and the reasons.
    """
    with tempfile.TemporaryDirectory(prefix="tritongen-") as folder:
        server_log = Log(Path(folder) / "triton.log", log_level)
        with server_log.path.open("wb") as sink:
            child = Child(command, env=env, log=sink)
        try:
            while not ready(ports):
                server_log.update()
                if child.status() is not None:
                    text = server_log.text()
                    raise ServerFailed(f"Triton did not start: {log.last_error(text)}", log.refusals(text))
                time.sleep(POLL_S)
            yield Server(engine, ports, server_log, child)
        finally:
            child.stop()
            server_log.update()


def ready(ports: Ports) -> bool:
    """Return True if Triton and all its models are ready."""
    try:
        with urllib.request.urlopen(f"http://{ports.http_url}/v2/health/ready", timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False
