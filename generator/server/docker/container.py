"""The container that serves a repository, decided once; its `docker run` line and its compose file. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from generator.config import targets
from generator.errors import BadValue
from generator.server.ports import LOOPBACK, Ports, on_address
from generator.server.served_configs import RESPONSE_CACHE_FLAG
from generator.system.templates import render

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from generator.config.targets import Target
    from generator.types import Precision

IMAGE = "nvcr.io/nvidia/tritonserver"
COMPOSE_TEMPLATE = "compose.yaml.j2"
# The image's user `triton-server` (server, docs/customization_guide/deploy.md: run with the least privilege).
USER_ID = 1000
# Whose values Triton signs its requests to S3 with: core, src/filesystem/implementations/s3.h.
S3_VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION")
MODELS, CACHE = "/models", "/cache"
# Clients' shared memory is off by default since 26.04, and older servers end at the flag (server #8721).
CLIENT_SHM_FLAG_SINCE = "26.04"
DEVICE = r"\d+|GPU-[0-9a-fA-F-]+|MIG-[0-9a-fA-F-]+"


@dataclass(frozen=True)
class DockerOptions:
    """What decides a container. Without a target it serves `config.pbtxt` on the GPU `device`.

    `address` is the host's that the ports are published on; `client_shm` lets clients on the host pass tensors by
    shared memory.
    """

    target: Target | None = None
    precision: Precision = "fp16"
    tag: str = targets.DEFAULT_TAG
    device: str = "0"
    address: str = LOOPBACK
    client_shm: bool = False

    @property
    def gpu(self) -> bool:
        """Whether it is given one."""
        return self.target is None or self.target.gpu

    @property
    def variant(self) -> str | None:
        """The file of `configs/` that is served, without `.pbtxt`; the CPU's is `config.pbtxt`."""
        return f"{self.target.name}-{self.precision}" if self.target and self.target.gpu else None


@dataclass(frozen=True)
class Mount:
    """A folder of the host, and where the container sees it."""

    source: str
    target: str
    read_only: bool


@dataclass(frozen=True)
class Container:
    """Everything that the line and the compose file say; `device` is None for a server on the CPU.

    `variables` are passed on by their names, those of them that are set: no secret is written down.
    """

    repository: str
    name: str
    image: str
    user: str
    device: str | None
    host_ipc: bool
    ports: tuple[str, ...]
    mounts: tuple[Mount, ...]
    variables: tuple[str, ...]
    command: tuple[str, ...]
    shm_size: str = "1g"
    stack_bytes: int = 67108864


def docker_options(
    gpu: str | None,
    precision: str | None = None,
    tag: str | None = None,
    *,
    device: str | None = None,
    address: str = LOOPBACK,
    client_shm: bool = False,
) -> DockerOptions:
    """The options of a call, its image tag held to the target's window.

    Raises:
        UsageError: an unknown target, or an image or a device that cannot run this precision on it.
    """
    if device is not None and not re.fullmatch(DEVICE, device):
        raise BadValue(
            "device", device, "does not name one GPU", "give an index, such as 0, or a UUID of `nvidia-smi -L`"
        )
    device = device or "0"
    on_address(Ports(), address)
    if gpu is None:
        tag = tag or targets.DEFAULT_TAG
        targets.check_release(tag)
        return DockerOptions(tag=tag, device=device, address=address, client_shm=client_shm)
    target = targets.find(gpu)
    chosen: Precision = "fp32" if precision == "fp32" or (precision is None and not target.gpu) else "fp16"
    tag = tag or target.default_tag
    targets.check_tag(target, chosen, tag)
    return DockerOptions(target, chosen, tag, device, address, client_shm)


def container(
    repository: Path | str,
    cache: Path | None,
    ports: Ports,
    options: DockerOptions,
    *,
    models: Sequence[str] = (),
    response_cache: bool = False,
) -> Container:
    """The container of a repository.

    Args:
        repository: the model repository: a folder, absolute, or how Triton is told of one in S3.
        cache: where engines are kept, absolute; None where there are none.
        ports: those of the host.
        options: the target and the image.
        models: which models to load; all where none is named.
        response_cache: whether a config asks for Triton's response cache.
    """
    remote = isinstance(repository, str)
    mounts = [] if remote else [Mount(str(repository), MODELS, read_only=True)]
    if cache is not None:
        mounts.append(Mount(str(cache), CACHE, read_only=False))
    command = ["tritonserver", f"--model-repository={repository if remote else MODELS}"]
    command += ["--strict-readiness=true", "--exit-on-error=true"]
    if options.variant:
        command.append(f"--model-config-name={options.variant}")
    if response_cache:
        command.append(RESPONSE_CACHE_FLAG)
    if options.client_shm and options.tag >= CLIENT_SHM_FLAG_SINCE:
        command.append("--allow-client-shm=true")
    if models:
        command += ["--model-control-mode=explicit", *(f"--load-model={name}" for name in models)]
    published = ((ports.http, 8000), (ports.grpc, 8001), (ports.metrics, 8002))
    return Container(
        repository=str(repository),
        name=container_name(ports),
        image=f"{IMAGE}:{options.tag}-py3",
        user=f"{USER_ID}:{USER_ID}",
        device=options.device if options.gpu else None,
        host_ipc=options.client_shm,
        ports=tuple(f"{bracketed(options.address)}:{host}:{inside}" for host, inside in published),
        mounts=tuple(mounts),
        variables=S3_VARIABLES if remote else (),
        command=tuple(command),
    )


def bracketed(address: str) -> str:
    """An IPv6 address as docker's -p takes it."""
    return f"[{address}]" if ":" in address else address


def container_name(ports: Ports) -> str:
    """One a port: two cannot run."""
    return f"tritongen-{ports.grpc}"


def docker_run(of: Container) -> list[str]:
    """The whole `docker run` line."""
    line = ["docker", "run", "--rm", "--init", f"--name={of.name}", f"--user={of.user}"]
    if of.device is not None:
        # One GPU a container: before 25.04 TensorRT runs on device 0, whatever the instance group says.
        line += ["--gpus", f'"device={of.device}"']
    line.append("--ipc=host" if of.host_ipc else f"--shm-size={of.shm_size}")
    line += ["--ulimit", "memlock=-1", "--ulimit", f"stack={of.stack_bytes}"]
    for port in of.ports:
        line += ["-p", port]
    for variable in of.variables:
        line += ["-e", variable]
    for mount in of.mounts:
        line += ["-v", f"{mount.source}:{mount.target}" + (":ro" if mount.read_only else "")]
    return [*line, of.image, *of.command]


def compose(of: Container) -> str:
    """The text of a compose file with this container as its one service."""
    return render(COMPOSE_TEMPLATE, container=of)
