"""The container that serves a repository, as a `docker run` command and as a compose file."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from generator.config import targets
from generator.config.targets import Target
from generator.errors import BadValue
from generator.server.ports import LOOPBACK, Ports, on_address
from generator.server.served_configs import triton_arguments
from generator.system.templates import render
from generator.types import Precision

IMAGE = "nvcr.io/nvidia/tritonserver"
COMPOSE_TEMPLATE = "compose.yaml.j2"
# The image's user `triton-server` (server, docs/customization_guide/deploy.md: run with the least privilege).
USER_ID = 1000
# The variables that Triton reads its S3 credentials from: core, src/filesystem/implementations/s3.h.
S3_VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION")
MODELS, CACHE = "/models", "/cache"
# Shared memory of clients is off by default since 26.04; older servers do not know the flag (server #8721).
CLIENT_SHM_FLAG_SINCE = "26.04"
DEVICE = r"\d+|GPU-[0-9a-fA-F-]+|MIG-[0-9a-fA-F-]+"


@dataclass(frozen=True)
class DockerOptions:
    """The options of a container; without a target it serves `config.pbtxt` on the GPU `device`.

    The ports are published on `address` of the host. `client_shm` lets clients on the host pass tensors in shared
    memory.
    """

    target: Target | None = None
    precision: Precision = "fp16"
    tag: str = targets.DEFAULT_TAG
    device: str = "0"
    address: str = LOOPBACK
    client_shm: bool = False

    @property
    def gpu(self) -> bool:
        """Return True if the container gets a GPU."""
        return self.target is None or self.target.gpu

    @property
    def variant(self) -> str | None:
        """Return the served file of `configs/` without `.pbtxt`, or None if `config.pbtxt` is served."""
        return f"{self.target.name}-{self.precision}" if self.target and self.target.gpu else None


@dataclass(frozen=True)
class Mount:
    """A folder of the host, and its path in the container."""

    source: str
    target: str
    read_only: bool


@dataclass(frozen=True)
class Container:
    """The content of the command and the compose file; `device` is None for a server on the CPU.

    `variables` are names: docker passes on the values of those that are set, and no secret is written down.
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
    image_tag: str | None = None,
    *,
    device: str | None = None,
    address: str = LOOPBACK,
    client_shm: bool = False,
) -> DockerOptions:
    """Check and complete the options of a container.

    Raises:
        UsageError: an unknown target, or an image or a device that cannot run this precision on the target.
    """
    if precision and gpu is None:
        hint = "add `gpu=v100`, `gpu=t4` or `gpu=cpu`"
        raise BadValue("precision", precision, "needs `gpu`", hint)
    target = None if gpu is None else targets.find(gpu)
    if device is not None and target and not target.gpu:
        raise BadValue("device", device, "a server on the CPU uses no GPU", "leave `device` out")
    if device is not None and not re.fullmatch(DEVICE, device):
        hint = "give an index, such as 0, or a UUID from `nvidia-smi -L`"
        raise BadValue("device", device, "does not name one GPU", hint)
    on_address(Ports(), address)
    chosen: Precision = "fp32" if precision == "fp32" or (precision is None and target == targets.CPU) else "fp16"
    tag = image_tag or (target.default_tag if target else targets.DEFAULT_TAG)
    if target:
        targets.check_tag(target, chosen, tag)
    else:
        targets.check_release(tag)
    return DockerOptions(target, chosen, tag, device or "0", address, client_shm)


def make_container(
    repository: Path | str,
    cache: Path | None,
    ports: Ports,
    options: DockerOptions,
    *,
    models: Sequence[str] = (),
    response_cache: bool = False,
) -> Container:
    """Make the container of a repository: an absolute path, or a URL in S3 as Triton takes it.

    `cache` is the absolute path of the folder for engines, if they are kept. All models are loaded by default.
    `response_cache` is true if a config asks for Triton's response cache.
    """
    remote = isinstance(repository, str)
    mounts = [] if remote else [Mount(str(repository), MODELS, read_only=True)]
    if cache is not None:
        mounts.append(Mount(str(cache), CACHE, read_only=False))
    command = ["tritonserver", f"--model-repository={repository if remote else MODELS}"]
    command += triton_arguments(options.variant, models, response_cache=response_cache)
    if options.client_shm and options.tag >= CLIENT_SHM_FLAG_SINCE:
        command.append("--allow-client-shm=true")
    published = ((ports.http, 8000), (ports.grpc, 8001), (ports.metrics, 8002))
    address = f"[{options.address}]" if ":" in options.address else options.address
    return Container(
        repository=str(repository),
        name=f"tritongen-{ports.grpc}",
        image=f"{IMAGE}:{options.tag}-py3",
        user=f"{USER_ID}:{USER_ID}",
        device=options.device if options.gpu else None,
        host_ipc=options.client_shm,
        ports=tuple(f"{address}:{host}:{inside}" for host, inside in published),
        mounts=tuple(mounts),
        variables=S3_VARIABLES if remote else (),
        command=tuple(command),
    )


def docker_run(container: Container) -> list[str]:
    """Return the words of the `docker run` command."""
    line = ["docker", "run", "--rm", "--init", f"--name={container.name}", f"--user={container.user}"]
    if container.device is not None:
        # One GPU per container: before 25.04, TensorRT runs on device 0 whatever the instance group is.
        line += ["--gpus", f'"device={container.device}"']
    line.append("--ipc=host" if container.host_ipc else f"--shm-size={container.shm_size}")
    line += ["--ulimit", "memlock=-1", "--ulimit", f"stack={container.stack_bytes}"]
    volumes = [f"{mount.source}:{mount.target}{':ro' * mount.read_only}" for mount in container.mounts]
    for flag, values in (("-p", container.ports), ("-e", container.variables), ("-v", volumes)):
        line += [word for value in values for word in (flag, value)]
    return [*line, container.image, *container.command]


def compose(container: Container) -> str:
    """Return a compose file with the container as its only service."""
    return render(COMPOSE_TEMPLATE, container=container)
