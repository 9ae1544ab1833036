"""The docker engine: NVIDIA's tritonserver image, run until a context ends."""

import logging
import os
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from generator.config import targets
from generator.errors import BadValue, EngineMissing, RepositoryNotFound, TritongenError
from generator.repository.s3.url import SCHEME, S3Url
from generator.repository.source import Source, opened
from generator.server.docker import engine_cache
from generator.server.docker.container import USER_ID, Container, DockerOptions, docker_run, make_container
from generator.server.gpus import gpu_name, gpu_names
from generator.server.lifecycle import Server, running
from generator.server.ports import Ports, check_free, on_address
from generator.server.served_configs import check_variant, served_configs, variant_notes
from generator.system.processes import run, try_run

logger = logging.getLogger(__name__)

TIMEOUT_S = 20
STOP_GRACE_S = 30


@dataclass(frozen=True)
class Plan:
    """A container for a repository, the folder of its engines, and what the user should know before the start."""

    container: Container
    cache: Path | None
    missing_engines: list[str]
    notes: tuple[str, ...]


@contextmanager
def serve(
    repository: str | Path | S3Url | Source,
    *,
    options: DockerOptions,
    models: Sequence[str] = (),
    ports: Ports | None = None,
    log_level: int = logging.DEBUG,
) -> Iterator[Server]:
    """Run the container until the context ends; every model is READY when the context begins.

    The first start of an image on a GPU builds TensorRT engines, which takes minutes. Their number and the duration
    of the last start are logged, and the container's log is logged at `log_level`.

    Raises:
        EngineMissing: no Docker engine answers.
        BadValue: no model has the variant of this GPU and precision, or this machine has another GPU.
        OutputFailed: the folder for engines cannot be made.
        RepositoryNotFound, PortInUse, ServerFailed: as for the embedded engine.
    """
    ports = on_address(ports or Ports(), options.address)
    check_engine()
    check_gpu(options)
    with opened(repository) as source:
        planned = plan(source, ports, options, models=models)
    container = planned.container
    check_mountable(container)
    check_no_container(container.name)
    check_free(ports)
    for note in planned.notes:
        logger.info(note)
    begin = time.monotonic()
    try:
        with running("docker", docker_run(container), ports, log_level=log_level) as server:
            if planned.cache:
                seconds = time.monotonic() - begin
                engine_cache.remember_start(planned.cache, seconds, len(planned.missing_engines))
            yield server
    finally:  # the end of the docker client does not always stop the container
        stop = ["docker", "stop", "-t", str(STOP_GRACE_S), container.name]
        try_run(stop, timeout_s=STOP_GRACE_S + TIMEOUT_S)


def plan(source: Source, ports: Ports, options: DockerOptions, *, models: Sequence[str] = ()) -> Plan:
    """Plan the container of a repository, and make the folder for its engines.

    Raises:
        TritongenError: as `serve` does, except for the Docker engine and the ports.
    """
    source.check()
    check_variant(source, options.variant, "gpu")
    if source.remote:
        check_reachable(source)
    else:
        check_readable(source.folder)
    configs = served_configs(source.folder, options.variant, models)
    cache = engine_cache.engine_folder(options)
    missing = engine_cache.missing_engines(cache, configs) if cache else []
    container = make_container(
        source.address if source.remote else source.folder.resolve(), cache, ports, options, models=models,
        response_cache=any(config.response_cache for config in configs),
    )  # fmt: skip
    notes = []
    if container.variables and container.variables[0] not in os.environ:
        credentials = "the container has no credentials for S3, except for a role of its host"
        notes.append(f"{container.variables[0]} is not set: {credentials}")
    notes += variant_notes(configs, options.variant)
    if cache:
        notes.append(f"{engine_cache.expected_start(cache, missing)} ({cache})")
    elif options.gpu:
        notes.append("every start builds TensorRT engines, which config.pbtxt keeps in the container; `gpu` keeps them")
    return Plan(container, cache, missing, tuple(notes))


def check_no_container(name: str) -> None:
    """Raise TritongenError if a container has this name: a killed `serve` leaves its container running."""
    listed = run(["docker", "ps", "--all", "--quiet", "--filter", f"name=^{name}$"], timeout_s=TIMEOUT_S)
    if listed.returncode == 0 and listed.stdout.strip():
        raise TritongenError(f"a container named {name} exists already", f"`docker rm --force {name}` removes it")


def check_gpu(options: DockerOptions) -> None:
    """Raise BadValue if the GPU of this machine is not the target; without nvidia-smi, Docker reports it."""
    names = gpu_names()
    if not names or not options.gpu or options.device.startswith("MIG"):
        return
    name = gpu_name(options.device)
    if name is None:
        raise BadValue("device", options.device, f"no such GPU; this machine has {', '.join(names)}")
    if options.target and options.target != targets.of_gpu(name):
        hint = "leave `gpu` out; `print_only` and `compose` write for another machine"
        raise BadValue("gpu", options.target.name, f"GPU {options.device} of this machine is {name}", hint)


def check_mountable(container: Container) -> None:
    """Raise TritongenError if a path has a colon, which separates the parts of docker's -v."""
    for mount in container.mounts:
        if ":" in mount.source:
            hint = "move it; `compose` accepts such a path"
            raise TritongenError(f"docker cannot mount {mount.source}: the path has a colon", hint)


def check_reachable(source: Source) -> None:
    """Raise BadValue if the S3 server is on this host's loopback, which is not the container's."""
    host = urlsplit(source.address.removeprefix(SCHEME)).hostname or ""
    if host == "localhost" or host.startswith("127."):
        why = f"{host} is another host inside the container"
        hint = "have the S3 server listen on an address of this host, and use that address"
        raise BadValue("repository", source.named, why, hint)


def check_readable(repository: Path) -> None:
    """Raise RepositoryNotFound if the container's user cannot read the repository."""
    for path in (repository, *repository.rglob("*")):
        with suppress(FileNotFoundError):  # a broken link, which Triton reports
            if not path.resolve().is_relative_to(repository.resolve()):
                why = f"{path} is a link to a place outside it, which the container cannot see"
                raise RepositoryNotFound(repository, why, "copy the target of the link into the repository")
            status = path.stat()
            needed = stat.S_IROTH | (stat.S_IXOTH if path.is_dir() else 0)
            if status.st_uid != USER_ID and status.st_mode & needed != needed:
                why = f"the container's user {USER_ID} cannot read {path}"
                raise RepositoryNotFound(repository, why, f"chmod -R o+rX {repository}")


def engine_version() -> str | None:
    """Return the version of the Docker engine, or None if no engine answers."""
    done = try_run(["docker", "version", "--format", "{{.Server.Version}}"], timeout_s=TIMEOUT_S)
    return done.stdout.strip() or None if done and done.returncode == 0 else None


def check_engine() -> None:
    """Raise EngineMissing unless a Docker engine answers."""
    if engine_version() is None:
        hint = "`engine=embedded` needs no Docker; `print_only` shows the command for a machine that has it"
        raise EngineMissing("docker", "no Docker engine answers", hint)
