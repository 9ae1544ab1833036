"""What this machine can do, found by trying: each check is a function that returns one row."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from generator.errors import EngineMissing, PortInUse
from generator.server.docker import engine
from generator.server.embedded.runtime import PERF_ANALYZER, runtime
from generator.server.gpus import gpu_names
from generator.server.ports import Ports, check_free
from generator.system.processes import Finished, run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TIMEOUT_S = 30
BUILD_PACKAGES = ("torch", "onnx", "onnxruntime", "onnxsim", "onnxscript", "numpy")
LOADER_FAILED = 127  # the dynamic loader's exit status when a shared library is missing
SHM_MB_A_MODEL = 24  # two batches of 8 images and their answers, with room
TEN_MODELS_MB = 2000


@dataclass(frozen=True)
class Row:
    """One finding: `needed` is what the tool cannot do without."""

    subject: str
    ok: bool
    needed: bool
    detail: str
    hint: str = ""


def examine() -> tuple[Row, ...]:
    """All rows, in the order in which a user needs the parts."""
    return (
        python(), packages(), embedded_engine(), shared_memory(), perf_analyzer(), docker_engine(), gpus(),
        default_ports(), disk(), processor(),
    )  # fmt: skip


def python() -> Row:
    """The version, of those that tritongen is for."""
    fits = (3, 11) <= sys.version_info[:2] <= (3, 12)
    return Row("python", fits, needed=True, detail=platform.python_version(), hint="" if fits else "use Python 3.11")


def packages() -> Row:
    """What `build` imports."""
    found = {name: installed(name) for name in BUILD_PACKAGES}
    missing = [name for name, there in found.items() if there is None]
    detail = ", ".join(f"{name} {there or 'missing'}" for name, there in found.items())
    return Row(
        "build",
        not missing,
        needed=True,
        detail=detail,
        hint=f"pip install {' '.join(missing)}" if missing else "",
    )


def embedded_engine() -> Row:
    """Whether tritonserver and its Python stub find all their libraries."""
    try:
        parts = runtime()
    except EngineMissing as error:
        return Row("serve, embedded", ok=False, needed=True, detail=str(error), hint=error.hint or "")
    stub = parts.backends / "python" / "triton_python_backend_stub"
    for program in ([str(parts.tritonserver), "--help"], [str(stub)]):
        done = attempt(program, parts.env)
        if done is None or done.status == LOADER_FAILED:
            return Row(
                "serve, embedded", ok=False, needed=True, detail=last_line(done),
                hint="the stub needs Python's shared library: apt install libpython3.11, or a Python that has one",
            )  # fmt: skip
    return Row("serve, embedded", ok=True, needed=True, detail="tritonserver 2.51.0 (24.10), CPU, 127.0.0.1 only")


def shared_memory() -> Row:
    """Room in /dev/shm for the tensors of ten models."""
    path = Path("/dev/shm")  # noqa: S108
    free_mb = shutil.disk_usage(path).free // 2**20 if path.is_dir() else 0
    fits = free_mb >= 10 * SHM_MB_A_MODEL
    return Row(
        str(path), fits, needed=free_mb < SHM_MB_A_MODEL, detail=f"{free_mb} MB free",
        hint="" if fits else "ten models want 240 MB; in a container, --shm-size=1g",
    )  # fmt: skip


def perf_analyzer() -> Row:
    """Whether the one in tritonclient's wheel runs."""
    try:
        done = attempt([str(PERF_ANALYZER), "--version"], runtime().env)
    except EngineMissing as error:
        return Row("perf", ok=False, needed=True, detail=str(error), hint=error.hint or "")
    works = done is not None and done.status == 0
    return Row(
        "perf", works, needed=True, detail=last_line(done),
        hint="" if works else "pip install 'tritonclient[grpc]==2.51.0'",
    )  # fmt: skip


def docker_engine() -> Row:
    """Whether a Docker engine answers."""
    found = engine.engine_version()
    detail = f"engine {found}" if found else "no Docker engine answers"
    return Row("serve, docker", found is not None, needed=False, detail=detail)


def gpus() -> Row:
    """What nvidia-smi names."""
    names = gpu_names()
    return Row("NVIDIA GPU", bool(names), needed=False, detail=", ".join(names) or "none: what needs one is not run")


def default_ports() -> Row:
    """Whether `serve` may have its ports."""
    try:
        check_free(Ports())
    except PortInUse as error:
        return Row("ports", ok=False, needed=False, detail=str(error), hint=error.hint or "")
    return Row("ports", ok=True, needed=False, detail="8000, 8001 and 8002 are free")


def disk() -> Row:
    """Room for ten models in the working directory."""
    free_mb = shutil.disk_usage(Path.cwd()).free // 10**6
    fits = free_mb >= TEN_MODELS_MB
    return Row(
        "disk", fits, needed=False, detail=f"{free_mb / 1000:.1f} GB free here",
        hint="" if fits else "ten models take about 1.6 GB",
    )  # fmt: skip


def processor() -> Row:
    """Processors and memory that this process may use."""
    cores = len(os.sched_getaffinity(0))
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return Row("machine", ok=True, needed=False, detail=f"{cores} processors, {memory_gb:.0f} GB of memory")


def installed(package: str) -> str | None:
    """Its version, without importing it."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def attempt(command: Sequence[str], env: Mapping[str, str]) -> Finished | None:
    """Run a program for its own word; None where it cannot be run."""
    try:
        return run(command, env=env, timeout_s=TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        return None


def last_line(done: Finished | None) -> str:
    """The last thing a program said."""
    if done is None:
        return "it cannot be run"
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[-1] if lines else f"it ended with status {done.status}"
