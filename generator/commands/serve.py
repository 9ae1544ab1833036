"""`tritongen serve`."""

from __future__ import annotations

import logging
import shlex
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from generator.commands.click_options import (
    Command,
    choice_option,
    given_params,
    group,
    option,
    path_option,
    precision_option,
    repository_argument,
)
from generator.config import targets
from generator.errors import BadValue, ServerFailed
from generator.repository.s3.url import S3Url
from generator.repository.source import Source, opened
from generator.system.files import write_whole

if TYPE_CHECKING:
    from generator.server.docker.container import DockerOptions
    from generator.server.lifecycle import Server
    from generator.server.ports import Ports

EMBEDDED, DOCKER = "Embedded engine", "Docker engine"
POLL_S = 0.5
logger = logging.getLogger(__name__)


SERVER = group(
    "Server",
    choice_option("--engine", choices=("auto", "embedded", "docker"), default="auto",
                  help="auto: docker if Docker runs and there is an NVIDIA GPU, else embedded."),
    *(option(f"--{service}-port", type=click.IntRange(0, 65535), metavar="PORT", default=port,
             help=f"Port of the {title}; 0 takes a free port.")
      for service, port, title in (
          ("http", 8000, "HTTP service"), ("grpc", 8001, "gRPC service"), ("metrics", 8002, "metrics"))),
    option("--print", "print_only", is_flag=True, help="Print the command instead of running it."),
)  # fmt: skip
EMBEDDED_OPTIONS = group(
    EMBEDDED,
    option("--model-config-name", metavar="NAME", help="Serve configs/NAME.pbtxt of each model that has it."),
)  # fmt: skip
DOCKER_OPTIONS = group(
    DOCKER,
    option("--gpu", metavar="v100|t4|cpu", show_default="GPU of this machine",
           help="Serve configs/<gpu>-<precision>.pbtxt and keep its TensorRT engines."),
    precision_option("Precision to serve, with --gpu.", show_default="fp16 for a GPU, fp32 for the CPU"),
    option("--image-tag", metavar="YY.MM", show_default="24.09 for a GPU, 24.10 for the CPU",
           help="Release of the tritonserver image."),
    option("--device", metavar="INDEX|UUID", show_default="0", help="The one GPU that the container gets."),
    option("--address", metavar="IP", default="127.0.0.1", help="Address to publish the ports on."),
    option("--client-shm", is_flag=True,
           help="Let clients of user 1000 on this host pass tensors in shared memory."),
    path_option("--compose", help="Write a compose file instead of running it; - is stdout."),
)  # fmt: skip


@click.command(
    name="serve", cls=Command, short_help="Run Triton on a model repository.", exclusive=(("print_only", "compose"),)
)
@repository_argument
@SERVER
@EMBEDDED_OPTIONS
@DOCKER_OPTIONS
def command(
    *,
    repository: Path | S3Url,
    engine: str,
    gpu: str | None,
    precision: str | None,
    model_config_name: str | None,
    http_port: int,
    grpc_port: int,
    metrics_port: int,
    print_only: bool,
    compose: Path | None,
    **container: Any,  # noqa: ANN401 (the other options of the docker engine)
) -> int:
    """Run Triton on a model repository until Ctrl-C.

    Triton listens on 127.0.0.1; with the docker engine --address changes that.

    \b
    Examples:
      tritongen serve
      tritongen serve --engine docker --gpu t4 --precision fp16 --print
      tritongen serve --engine docker --gpu v100 --precision fp32 --compose compose.yaml
      tritongen serve s3://bucket/models
    """
    from generator.server import engines
    from generator.server.docker import engine as docker
    from generator.server.docker.container import docker_options
    from generator.server.embedded import engine as embedded
    from generator.server.embedded.runtime import runtime
    from generator.server.ports import Ports, choose_ports

    ports = choose_ports(Ports(http_port, grpc_port, metrics_port))
    chosen = engines.choose(engine.lower())
    check_engine_options(chosen, gpu, precision)
    serving: AbstractContextManager[Server]
    with opened(repository) as source:
        if chosen == "embedded":
            if print_only:
                parts = runtime()
                line = embedded.command(parts, source, ports, model_config_name=model_config_name)
                click.echo(shlex.join(["env", *(f"{key}={value}" for key, value in parts.server_env.items()), *line]))
                return 0
            serving = embedded.serve(source, ports=ports, model_config_name=model_config_name)
        else:
            gpu = gpu or engines.gpu_to_serve(source.folder, precision, container["device"])
            options = docker_options(gpu, precision, **container)
            if print_only or compose:
                return write_container(source, ports, options, compose)
            serving = docker.serve(source, options=options, ports=ports, log_level=logging.INFO)
        if source.folder.is_dir():
            logger.info("starting Triton (%s engine) on %s", chosen, source.named)
        with serving as server:
            return follow(server)


def check_engine_options(engine: str, gpu: str | None, precision: str | None) -> None:
    """Raise BadValue if an option belongs to the other engine; the embedded engine accepts `--gpu cpu`."""
    if engine == "embedded":
        if gpu is not None and targets.find(gpu).gpu:
            variant = f"{gpu.lower()}-{precision or 'fp16'}"
            hint = f"add --engine docker; on the CPU, --model-config-name {variant} loads that config"
            raise BadValue("gpu", gpu, "needs the docker engine", hint)
        if precision == "fp16":
            targets.check_precision(targets.CPU, "fp16")
    ctx = click.get_current_context()
    other, title = ("docker", DOCKER) if engine == "embedded" else ("embedded", EMBEDDED)
    for name, param in given_params(ctx).items():
        if getattr(param, "group", None) == title and name not in ("gpu", "precision"):
            raise BadValue(name, ctx.params[name], f"needs the {other} engine", f"add --engine {other}")


def write_container(source: Source, ports: Ports, options: DockerOptions, compose: Path | None) -> int:
    """Print the docker command, or write the compose file."""
    from generator.server.docker import container, engine

    plan = engine.plan(source, ports, options)
    if compose is None:
        engine.check_mountable(plan.container)
        click.echo(shlex.join(container.docker_run(plan.container)))
    elif str(compose) == "-":
        click.echo(container.compose(plan.container), nl=False)
    else:
        text = container.compose(plan.container)
        if compose.exists() and not (compose.is_file() and compose.read_text(errors="replace") == text):
            why = "a different file exists there"  # which the user may have edited
            raise BadValue("compose", compose, why, "name another file, or remove it")
        write_whole(compose, text)
        logger.info("written: %s; `docker compose -f %s up` starts it", compose, shlex.quote(str(compose)))
    for note in plan.notes:
        logger.info(note)
    if plan.cache:
        folder = shlex.quote(str(plan.cache))
        logger.info("on another machine, first: mkdir -p %s && chmod 777 %s", folder, folder)
    return 0


def follow(server: Server) -> int:
    """Log the models and addresses, then wait until the server ends or the user presses Ctrl-C."""
    from generator.server.probe import TritonClient

    with TritonClient(server.grpc_url) as client:
        names = client.ready_models()
    logger.info("READY: %s", ", ".join(names))
    ports = server.ports
    urls = (ports.http_url, ports.grpc_url, ports.metrics_url)
    logger.info("http://%s  grpc %s  metrics http://%s/metrics", *urls)
    try:
        logger.info("Ctrl-C stops it")  # in the block: Ctrl-C may come as soon as the line is read
        while (end := server.end()) is None:
            server.child.wait(POLL_S)
            server.log.update()
    except KeyboardInterrupt:
        logger.info("\nstopping")
        return 0
    raise ServerFailed(end, hint="memory may have run out: serve fewer models" if "killed" in end else None)
