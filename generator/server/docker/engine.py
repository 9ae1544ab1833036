"""The docker engine: NVIDIA's tritonserver image, run for as long as a context lasts."""

from __future__ import annotations

import logging
import os
import stat
import subprocess
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from generator.config import targets
from generator.errors import BadValue, EngineMissing, RepositoryNotFound, TritongenError
from generator.repository.s3.url import SCHEME
from generator.repository.source import opened
from generator.server.docker import engine_cache
from generator.server.docker.container import USER_ID, container, docker_run
from generator.server.gpus import gpu_name, gpu_names
from generator.server.lifecycle import running
from generator.server.ports import Ports, check_free, on_address
from generator.server.served_configs import check_variant, served_configs, without_variant
from generator.system.processes import run

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from generator.repository.s3.url import S3Url
    from generator.repository.source import Source
    from generator.server.docker.container import Container, DockerOptions
    from generator.server.lifecycle import Server
    from generator.server.served_configs import ServedConfig

logger = logging.getLogger(__name__)

TIMEOUT_S = 20
STOP_GRACE_S = 30


@contextmanager
def serve(
    repository: str | Path | S3Url | Source,
    *,
    options: DockerOptions,
    models: Sequence[str] = (),
    ports: Ports | None = None,
    log_level: int = logging.DEBUG,
) -> Iterator[Server]:
    """Run the container for as long as the context lasts; every model is READY when it begins.

    The first start of an image on a GPU builds TensorRT engines, which takes minutes; how many, and how long the
    last start took, is logged. The container's log is logged at `log_level`.

    Raises:
        EngineMissing: no Docker engine answers.
        BadValue: no model has the variant of this GPU and precision.
        OutputFailed: the folder for engines cannot be made.
        RepositoryNotFound, PortInUse, ServerFailed: as for the embedded engine.
    """
    ports = on_address(ports or Ports(), options.address)
    with opened(repository) as source:
        of, configs = planned(source, ports, options, models=models)
    check_mountable(of)
    check_engine()
    check_no_container(of.name)
    check_free(ports)
    cache = engine_cache.folder(options)
    missing = engine_cache.missing_engines(cache, configs) if cache else []
    for word in notes(of, options, configs, cache, missing):
        logger.info(word)
    begun = time.monotonic()
    with stopped_at_the_end(of.name), running("docker", docker_run(of), ports, log_level=log_level) as server:
        if cache:
            engine_cache.remember_start(cache, time.monotonic() - begun, len(missing))
        yield server


def planned(
    source: Source, ports: Ports, options: DockerOptions, *, models: Sequence[str] = ()
) -> tuple[Container, tuple[ServedConfig, ...]]:
    """The container of a repository and the configs that it will read; the folder for its engines is made.

    Raises:
        TritongenError: as `serve` does, but for the Docker engine and the ports.
    """
    source.check()
    check_variant(source, options.variant, "gpu")
    if source.remote:
        check_reachable(source)
    else:
        check_readable(source.folder)
    configs = served_configs(source.folder, options.variant, models)
    cache = engine_cache.folder(options)
    if cache:
        engine_cache.prepare(cache)
    uses_cache = any(config.response_cache for config in configs)
    repository = source.address if source.remote else source.folder.resolve()
    return container(repository, cache, ports, options, models=models, response_cache=uses_cache), configs


def notes(
    of: Container, options: DockerOptions, configs: Sequence[ServedConfig], cache: Path | None, missing: list[str]
) -> Iterator[str]:
    """What a user should know before the start."""
    if of.variables and of.variables[0] not in os.environ:
        yield f"{of.variables[0]} is not set: the container has no credentials for S3 but a role of its host"
    if options.variant and (others := without_variant(configs)):
        yield f"without configs/{options.variant}.pbtxt, so by config.pbtxt: {', '.join(others)}"
    if cache:
        yield f"{engine_cache.expectation(cache, missing)} ({cache})"
    elif options.gpu:
        yield "config.pbtxt keeps TensorRT engines in the container: every start builds them. `gpu` keeps them"


@contextmanager
def stopped_at_the_end(name: str) -> Iterator[None]:
    """Stop the container when the context ends; the docker client that was started may not be there to do it."""
    try:
        yield
    finally:
        with suppress(FileNotFoundError, subprocess.TimeoutExpired):
            run(["docker", "stop", "-t", str(STOP_GRACE_S), name], timeout_s=STOP_GRACE_S + TIMEOUT_S)


def check_no_container(name: str) -> None:
    """Raise TritongenError where there is a container of this name: a `serve` that was killed leaves it."""
    found = run(["docker", "ps", "--all", "--quiet", "--filter", f"name=^{name}$"], timeout_s=TIMEOUT_S)
    if found.status == 0 and found.stdout.strip():
        raise TritongenError(f"there is a container {name} already", f"`docker rm --force {name}` ends and removes it")


def check_gpu(options: DockerOptions) -> None:
    """Raise BadValue where this machine's GPU is another than the target; where none is named, Docker will say."""
    names = gpu_names()
    if not names or not options.gpu or options.device.startswith("MIG"):
        return
    name = gpu_name(options.device)
    if name is None:
        raise BadValue("device", options.device, f"this machine has no such GPU: {', '.join(names)}")
    if options.target and options.target != targets.of_gpu(name):
        hint = "leave `gpu` out; `print_only` and `compose` write for another machine"
        raise BadValue("gpu", options.target.name, f"GPU {options.device} of this machine is {name}", hint)


def check_mountable(of: Container) -> None:
    """Raise TritongenError where a path has a colon, which ends it in docker's -v."""
    for mount in of.mounts:
        if ":" in mount.source:
            raise TritongenError(
                f"docker cannot mount {mount.source}: it has a colon",
                "move it; `compose` accepts such a path",
            )


def check_reachable(source: Source) -> None:
    """Raise BadValue where the repository is in an S3 on this host's loopback: a container has its own."""
    host = urlsplit(source.address.removeprefix(SCHEME)).hostname
    if host == "localhost" or (host or "").startswith("127."):
        why = f"{host} is another host inside the container"
        hint = "have the S3 server listen on an address of this host, and name that"
        raise BadValue("repository", source.named, why, hint)


def check_readable(repository: Path) -> None:
    """Raise RepositoryNotFound where the container's user cannot read the repository."""
    for path in (repository, *repository.rglob("*")):
        with suppress(FileNotFoundError):  # a broken link, which Triton will name
            if not path.resolve().is_relative_to(repository.resolve()):
                why = f"{path} leads out of it, and the container sees no other folder"
                raise RepositoryNotFound(repository, why, "copy what it leads to into the repository")
            found = path.stat()
            wanted = stat.S_IROTH | (stat.S_IXOTH if path.is_dir() else 0)
            if found.st_uid != USER_ID and found.st_mode & wanted != wanted:
                raise RepositoryNotFound(
                    repository,
                    f"the container's user {USER_ID} cannot read {path}",
                    f"chmod -R o+rX {repository}",
                )


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
            "`engine=embedded` needs no Docker; `print_only` shows the command for a machine that has it",
        )
