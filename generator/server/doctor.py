"""Checks of this machine: can it build, serve and measure?"""

import os
import platform
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from generator.errors import EngineMissing, PortInUse
from generator.server.docker import engine
from generator.server.embedded.runtime import PERF_ANALYZER, runtime
from generator.server.gpus import gpu_names
from generator.server.ports import Ports, check_free
from generator.system.processes import try_run

TIMEOUT_S = 30
BUILD_PACKAGES = ("torch", "onnx", "onnxruntime", "onnxsim", "onnxscript", "numpy")
LOADER_FAILED = 127  # the dynamic loader's exit status if a shared library is missing
SHM_MB_PER_MODEL = 24  # two batches of 8 images and their answers, and a reserve
TEN_MODELS_MB = 2000


@dataclass(frozen=True)
class Row:
    """The result of one check; without a `needed` part, the tool cannot build, serve or measure."""

    subject: str
    ok: bool
    needed: bool
    detail: str
    hint: str = ""


def examine() -> tuple[Row, ...]:
    """Return the rows of all checks, in the order in which a user needs the parts."""
    docker, names = engine.engine_version(), gpu_names()
    free_mb = shutil.disk_usage(Path.cwd()).free // 10**6
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    machine = f"{len(os.sched_getaffinity(0))} processors, {memory_gb:.0f} GB of memory"
    python = (3, 11) <= sys.version_info[:2] <= (3, 12)
    return (
        row("python", python, platform.python_version(), "use Python 3.11"),
        packages(),
        embedded_engine(),
        shared_memory(),
        perf_analyzer(),
        row("serve, docker", bool(docker), f"engine {docker}" if docker else "no Docker engine answers", needed=False),
        row("NVIDIA GPU", bool(names), ", ".join(names) or "none: nothing runs on a GPU", needed=False),
        default_ports(),
        row("disk", free_mb >= TEN_MODELS_MB, f"{free_mb / 1000:.1f} GB free here", "ten models take about 1.6 GB",
            needed=False),
        row("machine", ok=True, detail=machine, needed=False),
    )  # fmt: skip


def row(subject: str, ok: bool, detail: str, hint: str = "", *, needed: bool = True) -> Row:  # noqa: FBT001
    """Return a row, with the hint only if the check failed."""
    return Row(subject, ok, needed, detail, "" if ok else hint)


def packages() -> Row:
    """Check the packages that `build` imports, without importing them."""
    versions: dict[str, str | None] = dict.fromkeys(BUILD_PACKAGES)
    for name in BUILD_PACKAGES:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    missing = [name for name, number in versions.items() if number is None]
    detail = ", ".join(f"{name} {number or 'missing'}" for name, number in versions.items())
    return row("build", not missing, detail, f"pip install {' '.join(missing)}")


def embedded_engine() -> Row:
    """Check that tritonserver and its Python stub find all their libraries."""
    subject = "serve, embedded"
    try:
        parts = runtime()
    except EngineMissing as error:
        return row(subject, ok=False, detail=str(error), hint=error.hint or "")
    stub = parts.backends / "python" / "triton_python_backend_stub"
    for program in ([str(parts.tritonserver), "--help"], [str(stub)]):
        status, last_line = attempt(program, parts.server_env)
        if status in (None, LOADER_FAILED):
            hint = "the stub needs Python's shared library: apt install libpython3.11, or a Python that has one"
            return row(subject, ok=False, detail=last_line, hint=hint)
    return row(subject, ok=True, detail="tritonserver 2.51.0 (24.10), CPU, 127.0.0.1 only")


def shared_memory() -> Row:
    """Check that /dev/shm has room for the tensors of ten models."""
    path = Path("/dev/shm")  # noqa: S108
    free_mb = shutil.disk_usage(path).free // 2**20 if path.is_dir() else 0
    hint = "ten models need 240 MB; start a container with --shm-size=1g"
    needed = free_mb < SHM_MB_PER_MODEL
    return row(str(path), free_mb >= 10 * SHM_MB_PER_MODEL, f"{free_mb} MB free", hint, needed=needed)


def perf_analyzer() -> Row:
    """Check that the perf_analyzer of tritonclient's wheel runs."""
    try:
        status, last_line = attempt([str(PERF_ANALYZER), "--version"], runtime().env)
    except EngineMissing as error:
        return row("perf", ok=False, detail=str(error), hint=error.hint or "")
    return row("perf", status == 0, last_line, "pip install 'tritonclient[grpc]==2.51.0'")


def default_ports() -> Row:
    """Check that the default ports of `serve` are free."""
    try:
        check_free(Ports())
    except PortInUse as error:
        return row("ports", ok=False, detail=str(error), hint=error.hint or "", needed=False)
    return row("ports", ok=True, detail="8000, 8001 and 8002 are free", needed=False)


def attempt(command: Sequence[str], env: Mapping[str, str]) -> tuple[int | None, str]:
    """Run a program and return its exit status, None if it cannot be run, and the last line of its output."""
    done = try_run(command, env=env, timeout_s=TIMEOUT_S)
    if done is None:
        return None, "it cannot be run"
    lines = (done.stdout + done.stderr).strip().splitlines()
    return done.returncode, lines[-1] if lines else f"it ended with status {done.returncode}"
