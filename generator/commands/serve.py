"""`tritongen serve`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from generator.commands.options import REPOSITORY

if TYPE_CHECKING:
    from generator.server.lifecycle import Server


@click.command(name="serve", short_help="Run Triton on a model repository.")
@click.argument("repository", type=click.Path(path_type=Path), default=REPOSITORY)
@click.option(
    "--engine", type=click.Choice(["auto", "embedded", "docker"], case_sensitive=False), default="auto",
    show_default=True, help="auto: docker where Docker answers and an NVIDIA GPU is there, else embedded.",
)  # fmt: skip
@click.option("--gpu", metavar="v100|t4", help="docker: serve configs/<gpu>-<precision>.pbtxt.")
@click.option("--precision", type=click.Choice(["fp16", "fp32"], case_sensitive=False), help="docker, with --gpu.")
@click.option("--image-tag", metavar="YY.MM", help="docker: release of the tritonserver image.  [default: 24.09]")
@click.option("--model-config-name", metavar="NAME", help="embedded: serve configs/NAME.pbtxt where it is.")
@click.option("--http-port", type=click.IntRange(1, 65535), default=8000, show_default=True)
@click.option("--grpc-port", type=click.IntRange(1, 65535), default=8001, show_default=True)
@click.option("--metrics-port", type=click.IntRange(1, 65535), default=8002, show_default=True)
@click.option("--print", "print_only", is_flag=True, help="Print the command and do not run it.")
@click.option("--verbose", "-v", is_flag=True, help="Show Triton's log.")
def command(
    *,
    repository: Path,
    engine: str,
    gpu: str | None,
    precision: str | None,
    image_tag: str | None,
    model_config_name: str | None,
    http_port: int,
    grpc_port: int,
    metrics_port: int,
    print_only: bool,
    verbose: bool,
) -> int:
    """Run Triton on a model repository until Ctrl-C; it listens on 127.0.0.1 only.

    \b
    Examples:
      tritongen serve
      tritongen serve --engine docker --gpu t4 --precision fp16 --print
    """
    from generator.console import say
    from generator.errors import BadOption
    from generator.server import docker, embedded, engines
    from generator.server.ports import check_distinct
    from generator.server.runtime import runtime
    from generator.spec import Ports

    ports = Ports(http_port, grpc_port, metrics_port)
    check_distinct(ports)
    chosen = engines.choose(engine.lower())
    if chosen == "embedded":
        for option, value in (("--gpu", gpu), ("--precision", precision), ("--image-tag", image_tag)):
            if value is not None:
                raise BadOption(option, value, "it is for the docker engine", "add --engine docker")
        if print_only:
            embedded.check_repository(repository)
            embedded.check_variant(repository, model_config_name)
            parts = runtime()
            line = embedded.command(parts, repository, ports, model_config_name=model_config_name)
            click.echo(shlex.join(["env", *(f"{key}={value}" for key, value in parts.env.items()), *line]))
            return 0
        serving = embedded.serve(repository, ports=ports, model_config_name=model_config_name)
    else:
        if model_config_name is not None:
            raise BadOption("--model-config-name", model_config_name, "it is for the embedded engine", "use --gpu")
        if precision and not gpu:
            raise BadOption("--precision", precision, "it needs --gpu", "add --gpu v100 or --gpu t4")
        options = docker.docker_options(gpu, precision, image_tag)
        if print_only:
            embedded.check_repository(repository)
            cache = docker.cache_folder(options)
            click.echo(shlex.join(docker.command(repository, cache, ports, options)))
            return 0
        docker.check_engine()
        say("the first start of an image on a GPU builds TensorRT engines, which takes minutes")
        serving = docker.serve(repository, options=options, ports=ports)
    if repository.is_dir():
        say(f"starting Triton ({chosen} engine) on {repository}")
    with serving as server:
        return follow(server, verbose=verbose)


def follow(server: Server, *, verbose: bool) -> int:
    """Tell what is served, then wait for the server's end or Ctrl-C."""
    from generator.console import say
    from generator.errors import ServerFailed
    from generator.server import log, probe

    names = probe.ready_models(server.grpc_url)
    say(f"READY: {', '.join(names)}")
    ports = server.ports
    say(f"http://{ports.http_url}  grpc {ports.grpc_url}  metrics http://127.0.0.1:{ports.metrics}/metrics")
    say("Ctrl-C stops it")
    try:
        with server.log_file.open(errors="replace") as text:
            while server.child.wait(0.5) is None:
                if verbose:
                    click.echo(text.read(), nl=False, err=True)
    except KeyboardInterrupt:
        say("\nstopping")
        return 0
    ended = log.last_error(server.log_file.read_text(errors="replace"))
    raise ServerFailed(f"Triton ended by itself with status {server.child.status()}: {ended}")
