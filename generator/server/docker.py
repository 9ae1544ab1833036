"""The docker engine: NVIDIA's tritonserver image on one GPU."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from generator import targets
from generator.cache import cache_home
from generator.errors import EngineMissing, OutputFailed
from generator.server.embedded import check_repository
from generator.server.lifecycle import running
from generator.server.ports import LOOPBACK, check_free
from generator.shell import run
from generator.spec import Ports, Precision

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from generator.server.lifecycle import Server
    from generator.targets import Target

IMAGE = "nvcr.io/nvidia/tritonserver"
TIMEOUT_S = 20


@dataclass(frozen=True)
class DockerOptions:
    """What decides a docker line. Without a target the container serves `config.pbtxt`."""

    target: Target | None = None
    precision: Precision = "fp16"
    tag: str = targets.DEFAULT_TAG
    device: str = "0"


def docker_options(gpu: str | None, precision: str | None, tag: str | None) -> DockerOptions:
    """The options of a call, its image tag held to the GPU's window.

    Raises:
        UsageError: an unknown GPU, or an image that cannot run this precision on it.
    """
    if gpu is None:
        tag = tag or targets.DEFAULT_TAG
        targets.check_release(tag)
        return DockerOptions(tag=tag)
    target = targets.find(gpu)
    chosen: Precision = "fp32" if precision == "fp32" else "fp16"
    tag = tag or target.default_tag
    targets.check_tag(target, chosen, tag)
    return DockerOptions(target, chosen, tag)


def command(
    repository: Path, cache: Path, ports: Ports, options: DockerOptions, *, models: Sequence[str] = ()
) -> list[str]:
    """The whole `docker run` line; pure."""
    line = [
        "docker", "run", "--rm", "--init",
        # One GPU a container: before 25.04 TensorRT runs on device 0 whatever the instance says.
        "--gpus", f'"device={options.device}"',
        "--shm-size=1g", "--ulimit", "memlock=-1", "--ulimit", "stack=67108864",
        "-p", f"{LOOPBACK}:{ports.http}:8000",
        "-p", f"{LOOPBACK}:{ports.grpc}:8001",
        "-p", f"{LOOPBACK}:{ports.metrics}:8002",
        "-v", f"{repository.resolve()}:/models:ro",
        "-v", f"{cache}:/cache",
        f"{IMAGE}:{options.tag}-py3",
        "tritonserver",
        "--model-repository=/models",
        "--strict-readiness=true",
        "--exit-on-error=true",
    ]  # fmt: skip
    if options.target:
        line.append(f"--model-config-name={options.target.name}-{options.precision}")
    if models:
        line += ["--model-control-mode=explicit", *(f"--load-model={name}" for name in models)]
    return line


@contextmanager
def serve(
    repository: str | Path,
    *,
    options: DockerOptions,
    models: Sequence[str] = (),
    ports: Ports | None = None,
) -> Iterator[Server]:
    """Run the container for as long as the context lasts; every model is READY when it begins.

    The first start of an image on a GPU builds TensorRT engines, which takes minutes.

    Raises:
        EngineMissing: no Docker engine answers.
        RepositoryNotFound, PortInUse, ServerFailed: as for the embedded engine.
    """
    check_engine()
    repository, ports = Path(repository), ports or Ports()
    check_repository(repository)
    check_free(ports)
    cache = cache_folder(options)
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputFailed(cache, error) from error
    with running("docker", command(repository, cache, ports, options, models=models), ports) as server:
        yield server


def cache_folder(options: DockerOptions) -> Path:
    """Where engines are kept: an engine is valid for one TensorRT and one kind of GPU."""
    return cache_home() / "tensorrt" / f"{options.tag}-{options.target.name if options.target else 'gpu'}"


def engine_version() -> str | None:
    """The version of the Docker engine that answers, or None."""
    try:
        done = run(["docker", "version", "--format", "{{.Server.Version}}"], timeout_s=TIMEOUT_S)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.status == 0 else None


def check_engine() -> None:
    """Raise EngineMissing unless a Docker engine answers."""
    if engine_version() is None:
        raise EngineMissing(
            "docker",
            "no Docker engine answers",
            "--print shows the line for a machine that has one; --engine embedded needs no Docker",
        )
