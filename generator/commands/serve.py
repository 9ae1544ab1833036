"""`tritongen serve`."""

from __future__ import annotations

import logging
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from generator.commands.click_options import REPOSITORY, where

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from generator.repository.s3.url import S3Url
    from generator.repository.source import Source
    from generator.server.docker.container import DockerOptions
    from generator.server.lifecycle import Server
    from generator.server.ports import Ports

logger = logging.getLogger(__name__)

PORT = click.IntRange(0, 65535)


@click.command(name="serve", short_help="Run Triton on a model repository.")
@click.argument("repository", type=click.Path(), callback=where, default=REPOSITORY)
@click.option(
    "--engine", type=click.Choice(["auto", "embedded", "docker"], case_sensitive=False), default="auto",
    show_default=True, help="auto: docker where Docker answers and an NVIDIA GPU is there, else embedded.",
)  # fmt: skip
@click.option(
    "--gpu", metavar="v100|t4|cpu",
    help="docker: serve configs/<gpu>-<precision>.pbtxt and keep its TensorRT engines.  [default: this machine's]",
)  # fmt: skip
@click.option(
    "--precision", type=click.Choice(["fp16", "fp32"], case_sensitive=False),
    help="docker, with --gpu.  [default: fp16; the CPU's is fp32]",
)  # fmt: skip
@click.option(
    "--image-tag", metavar="YY.MM", help="docker: release of the tritonserver image.  [default: 24.09; the CPU's 24.10]"
)
@click.option("--device", metavar="INDEX|UUID", help="docker: the one GPU that the container is given.  [default: 0]")
@click.option("--address", metavar="IP", help="docker: publish the ports on it.  [default: 127.0.0.1]")
@click.option(
    "--client-shm", is_flag=True, help="docker: let clients of user 1000 on this host pass tensors by shared memory."
)
@click.option("--model-config-name", metavar="NAME", help="embedded: serve configs/NAME.pbtxt where it is.")
@click.option("--http-port", type=PORT, default=8000, show_default=True, help="HTTP: 0 takes a free port.")
@click.option("--grpc-port", type=PORT, default=8001, show_default=True, help="gRPC: 0 takes a free port.")
@click.option("--metrics-port", type=PORT, default=8002, show_default=True, help="Metrics: 0 takes a free port.")
@click.option("--print", "print_only", is_flag=True, help="Print the command and do not run it.")
@click.option(
    "--compose",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="docker: write a compose file and do not run it; - is stdout.",
)
def command(
    *,
    repository: Path | S3Url,
    engine: str,
    gpu: str | None,
    precision: str | None,
    image_tag: str | None,
    device: str | None,
    address: str | None,
    client_shm: bool,
    model_config_name: str | None,
    http_port: int,
    grpc_port: int,
    metrics_port: int,
    print_only: bool,
    compose: Path | None,
) -> int:
    """Run Triton on a model repository until Ctrl-C; it listens on 127.0.0.1 unless --address says otherwise.

    \b
    Examples:
      tritongen serve
      tritongen serve --engine docker --gpu t4 --precision fp16 --print
      tritongen serve --engine docker --gpu v100 --precision fp32 --compose compose.yaml
      tritongen serve s3://bucket/models
    """
    from generator.errors import BadValue
    from generator.repository.source import opened
    from generator.server import engine_choice
    from generator.server.embedded import engine as embedded
    from generator.server.ports import Ports, check_distinct, choose_ports

    ports = Ports(http_port, grpc_port, metrics_port)
    check_distinct(ports)
    ports = choose_ports(ports)
    if print_only and compose:
        raise BadValue("compose", compose, "cannot be combined with --print", "leave one of them out")
    chosen = engine_choice.choose(engine.lower())
    if chosen == "embedded":
        refuse_docker_options(
            gpu, precision,
            {"image_tag": image_tag, "device": device, "address": address, "compose": compose,
             "client_shm": client_shm or None},
        )  # fmt: skip
    else:
        refuse_embedded_option(model_config_name)
    serving: AbstractContextManager[Server]
    with opened(repository) as source:
        if chosen == "embedded":
            if print_only:
                click.echo(embedded_line(source, ports, model_config_name))
                return 0
            serving = embedded.serve(source, ports=ports, model_config_name=model_config_name)
        else:
            options = docker_call(source, gpu, precision, image_tag, device, address, client_shm=client_shm)
            if print_only or compose:
                return write_container(source, ports, options, compose)
            serving = docker_server(source, ports, options)
        tell_start(source, chosen, model_config_name)
        with serving as server:
            return follow(server)


def tell_start(source: Source, engine: str, variant: str | None) -> None:
    """Which engine serves what."""
    if source.folder.is_dir():
        logger.info("starting Triton (%s engine) on %s", engine, source.named)
    if variant and (others := others_served(source, variant)):
        logger.info("without configs/%s.pbtxt, so by config.pbtxt: %s", variant, ", ".join(others))


def refuse_docker_options(gpu: str | None, precision: str | None, others: Mapping[str, object]) -> None:
    """Raise BadValue for what is the docker engine's; the embedded one is a CPU's, which may be said."""
    from generator.config import targets
    from generator.errors import BadValue

    if gpu is not None and targets.find(gpu).gpu:
        variant = f"{gpu.lower()}-{precision or 'fp16'}"
        hint = f"add --engine docker; on the CPU, --model-config-name {variant} loads that config"
        raise BadValue("gpu", gpu, "needs the docker engine", hint)
    if precision == "fp16":
        targets.check_precision(targets.CPU, "fp16")
    for parameter, value in others.items():
        if value is not None:
            raise BadValue(parameter, value, "needs the docker engine", "add --engine docker")


def others_served(source: Source, variant: str) -> list[str]:
    """The models that have no such variant, where others have it."""
    from generator.server.served_configs import served_configs, without_variant

    configs = served_configs(source.folder, variant) if source.folder.is_dir() else ()
    others = without_variant(configs)
    return others if len(others) < len(configs) else []


def refuse_embedded_option(model_config_name: str | None) -> None:
    """Raise BadValue: the docker engine chooses the variant by GPU and precision."""
    from generator.errors import BadValue

    if model_config_name is not None:
        raise BadValue("model_config_name", model_config_name, "needs the embedded engine", "use --gpu instead")


def embedded_line(source: Source, ports: Ports, model_config_name: str | None) -> str:
    """The line of the embedded engine, as a shell takes it."""
    from generator.server.embedded import engine as embedded
    from generator.server.embedded.runtime import runtime
    from generator.server.served_configs import check_variant

    source.check()
    check_variant(source, model_config_name, "model_config_name")
    parts = runtime()
    line = embedded.command(parts, source, ports, model_config_name=model_config_name)
    return shlex.join(["env", *(f"{key}={value}" for key, value in parts.env.items()), *line])


def docker_call(
    source: Source,
    gpu: str | None,
    precision: str | None,
    tag: str | None,
    device: str | None,
    address: str | None,
    *,
    client_shm: bool,
) -> DockerOptions:
    """The docker engine's options: those of the call, else of this machine's GPU."""
    from generator.config import targets
    from generator.errors import BadValue
    from generator.server.docker.container import docker_options
    from generator.server.engine_choice import gpu_to_serve
    from generator.server.ports import LOOPBACK

    gpu = gpu or gpu_to_serve(source.folder, precision, device or "0")
    if precision and not gpu:
        raise BadValue("precision", precision, "needs --gpu", "add --gpu v100, --gpu t4 or --gpu cpu")
    if device is not None and gpu is not None and not targets.find(gpu).gpu:
        raise BadValue("device", device, "a server on the CPU uses no GPU", "leave it out")
    address = LOOPBACK if address is None else address
    return docker_options(gpu, precision, tag, device=device, address=address, client_shm=client_shm)


def write_container(source: Source, ports: Ports, options: DockerOptions, compose: Path | None) -> int:
    """Print the docker line, or write the compose file."""
    from generator.server.docker import container, engine, engine_cache

    of, configs = engine.planned(source, ports, options)
    cache = engine_cache.folder(options)
    missing = engine_cache.missing_engines(cache, configs) if cache else []
    if compose is None:
        engine.check_mountable(of)
        click.echo(shlex.join(container.docker_run(of)))
    elif str(compose) == "-":
        click.echo(container.compose(of), nl=False)
    else:
        write_compose(compose, container.compose(of))
        logger.info("written: %s; `docker compose -f %s up` starts it", compose, shlex.quote(str(compose)))
    for word in engine.notes(of, options, configs, cache, missing):
        logger.info(word)
    if cache:
        folder = shlex.quote(str(cache))
        logger.info("on another machine, first: mkdir -p %s && chmod 777 %s", folder, folder)
    return 0


def write_compose(path: Path, text: str) -> None:
    """Write the file, but not over another one: it may have been edited."""
    from generator.errors import BadValue
    from generator.system.files import write_whole

    if path.exists() and not (path.is_file() and path.read_text(errors="replace") == text):
        raise BadValue("compose", path, "a different file exists there", "name another file, or remove it")
    write_whole(path, text)


def docker_server(source: Source, ports: Ports, options: DockerOptions) -> AbstractContextManager[Server]:
    """The docker engine, which shows the container's log."""
    from generator.server.docker import engine

    engine.check_engine()
    engine.check_gpu(options)
    return engine.serve(source, options=options, ports=ports, log_level=logging.INFO)


def follow(server: Server) -> int:
    """Tell what is served, then wait for the server's end or Ctrl-C."""
    from generator.errors import ServerFailed
    from generator.server import log, probe

    names = probe.ready_models(server.grpc_url)
    logger.info("READY: %s", ", ".join(names))
    ports = server.ports
    urls = (ports.http_url, ports.grpc_url, ports.metrics_url)
    logger.info("http://%s  grpc %s  metrics http://%s/metrics", *urls)
    logger.info("Ctrl-C stops it")
    try:
        while server.child.wait(0.5) is None:
            server.log.update()
    except KeyboardInterrupt:
        logger.info("\nstopping")
        return 0
    ended = log.last_error(server.log.text())
    raise ServerFailed(f"Triton ended by itself with status {server.child.status()}: {ended}")
