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
from generator.system.processes import Child

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from generator.server.ports import Ports

POLL_S = 0.1


class Log:
    """A server's log as it grows; what is new goes to `show`."""

    def __init__(self, path: Path, show: Callable[[str], None] | None) -> None:
        self.path = path
        self._show = show
        self._shown = 0

    def update(self) -> None:
        """Show what has come since the last time."""
        if self._show is None:
            return
        with self.path.open("rb") as file:
            file.seek(self._shown)
            new = file.read()
        self._shown += len(new)
        if new:
            self._show(new.decode(errors="replace"))

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
    show_log: Callable[[str], None] | None = None,
) -> Iterator[Server]:
    """Start a server, wait until every model is READY, stop it when the context ends; `show_log` is given its log.

    Raises:
        ServerFailed: it ended before it was ready; the models that it refused are named, with its reasons.
    """
    with tempfile.TemporaryDirectory(prefix="tritongen-") as folder:
        written = Log(Path(folder) / "triton.log", show_log)
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
