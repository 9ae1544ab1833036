"""Start a server, wait until it is ready, stop it without leaving anything behind, and read its log."""

import http.client
import logging
import re
import signal
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from generator.errors import ServerFailed
from generator.server.ports import Ports
from generator.system.processes import Child

logger = logging.getLogger(__name__)

POLL_S = 0.1
STUB = "/triton_python_backend_stub"
INSTANCE = re.compile(r"_\d+_\d+$")
HTTP_TIMEOUT_S = 5.0
ANSWER_BYTES = 1 << 22
# E1124 05:33:11.212 4321 model_lifecycle.cc:642] "failed to load 'x' version 1: Invalid argument: …"
REFUSED_AT_POLL = re.compile(r"Poll failed for model directory '(?P<model>.+?)': (?P<reason>.+?)\"?$", re.DOTALL)
REFUSED = (
    re.compile(r"failed to load '(?P<model>.+?)' version -?\d+: (?P<reason>.+?)\"?$", re.DOTALL),
    re.compile(r"failed to load model '(?P<model>.+?)': (?P<reason>.+?)\"?$", re.DOTALL),
    REFUSED_AT_POLL,
)
RECORD = re.compile(r"^[EWIF]\d{4} \d\d:\d\d:\d\d\.\d+ \d+ \S+\] ", re.MULTILINE)
# The Python backend wraps the messages of our backend.
FROM_PYTHON = re.compile(r"^Internal: (?:TritonModelException: )?(?P<text>.*?)(?:\\n|\n)+At:(?:\\n|\n).*$", re.DOTALL)
PROTO_DETAIL = re.compile(
    r"^\[libprotobuf .*Error parsing text-format inference\.ModelConfig: (?P<detail>.+)$", re.MULTILINE
)


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
    stubs: tuple[tuple[psutil.Process, str], ...]

    def end(self) -> str | None:
        """Return how the server or the process of a model instance ended, or None while all run.

        If the process of a model instance dies, Triton stays READY, and the requests of the model fail.
        """
        status = self.child.status()
        if status is None:
            dead = [model for stub, model in self.stubs if not runs(stub)]
            return f"the process of {dead[0]} was killed or crashed" if dead else None
        if status < 0:  # the log has older errors, and none about this
            return f"Triton was killed by {signal.Signals(-status).name}"
        return f"Triton ended by itself with status {status}: {last_error(self.log.text())}"

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
                    raise ServerFailed(f"Triton did not start: {last_error(text)}", refusals(text))
                time.sleep(POLL_S)
            yield Server(engine, ports, server_log, child, stubs_of(child))
        finally:
            child.stop()
            server_log.update()


def stubs_of(child: Child) -> tuple[tuple[psutil.Process, str], ...]:
    """Return the process of each model instance of the Python backend, with the model's name."""
    found = []
    with suppress(psutil.Error):  # the server has ended
        for process in psutil.Process(child.pid).children(recursive=True):
            with suppress(psutil.Error):
                program, *words = process.cmdline()
                if program.endswith(STUB) and INSTANCE.search(words[-2]):  # such as `dpn92_0_0`
                    found.append((process, INSTANCE.sub("", words[-2])))
    return tuple(found)


def runs(process: psutil.Process) -> bool:
    """Return True if a process runs: one that has ended, but that its parent has not waited for, is a zombie."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def ready(ports: Ports) -> bool:
    """Return True if Triton and all its models are ready."""
    return http_answer(f"{ports.http_url}/v2/health/ready") is not None


def http_answer(url: str) -> bytes | None:
    """Return the start of the answer at `host:port/path`, or None without an answer of status 200."""
    try:
        with urllib.request.urlopen(f"http://{url}", timeout=HTTP_TIMEOUT_S) as answer:
            return bytes(answer.read(ANSWER_BYTES))
    except (OSError, http.client.HTTPException, ValueError):  # nothing answers, no HTTP, or an impossible host
        return None


def refusals(log: str) -> dict[str, str]:
    """Return the refused models in the order of the log, each with Triton's reason."""
    reasons: dict[str, str] = {}
    start, *records = RECORD.split(log)
    details = PROTO_DETAIL.findall(start)
    for record in records:  # a record may have several lines; the messages of protobuf precede their record
        lines = [line for line in record.splitlines() if not line.startswith("[libprotobuf ")]
        text = "\n".join(lines).strip().removeprefix('"')
        if match := next(filter(None, (pattern.search(text) for pattern in REFUSED)), None):
            reason = unwrapped(match["reason"])
            if match.re is REFUSED_AT_POLL and details and "failed to read text proto" in reason:
                reason = f"{reason} ({'; '.join(details)})"
            reasons.setdefault(match["model"], reason)
        details = PROTO_DETAIL.findall(record)
    return reasons


def unwrapped(reason: str) -> str:
    """Return a reason without the text that the Python backend puts around it."""
    reason = reason.strip().removesuffix(";").strip()
    match = FROM_PYTHON.match(reason)
    text = match["text"].strip() if match else reason
    # A failed warm-up repeats its error for each request of the batch.
    return re.sub(r"([^;]+)(?:; \1)+$", r"\1", text.removesuffix(";"))


def last_error(log: str) -> str:
    """Return the last error of Triton or docker."""
    # A host without a GPU has no NVML, which does not end the server.
    lines = [line for line in log.splitlines() if "NVML" not in line]
    errors = [line for line in lines if line.startswith(("E", "error:", "docker:"))]
    return RECORD.sub("", errors[-1]).strip('" ') if errors else "it gave no reason"
