"""Option types and options that several commands share."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from generator.repository.s3.url import S3Url

    Colours = tuple[float, float, float]
    Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

REPOSITORY = Path("model_repository")


def where(_ctx: click.Context, param: click.Parameter, value: str | Path) -> Path | S3Url:
    """A model repository: a folder, or a place in S3."""
    from generator.repository.s3.url import location

    return location(value, param.name or "")


def split(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """Lists take commas and may be repeated."""
    return tuple(name for value in values for name in map(str.strip, value.split(",")) if name)


def colours(_ctx: click.Context, _param: click.Parameter, value: str | None) -> Colours | None:
    """One number a colour."""
    if value is None:
        return None
    try:
        red, green, blue = map(float, value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not three numbers, such as 0.485,0.456,0.406") from None
    return red, green, blue


def host_and_port(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    """An address as gRPC takes it."""
    if value is not None and not re.fullmatch(r"[^\s/]+:\d{1,5}", value):
        raise click.BadParameter(f"{value!r} is not HOST:PORT, such as localhost:8001")
    return value


def models_option(help_text: str) -> Decorator:
    """`--models`."""
    return click.option(
        "--models", "-m", multiple=True, default=("all",), show_default="all", callback=split, metavar="NAMES",
        help=help_text,
    )  # fmt: skip


def repository_option(help_text: str, metavar: str = "DIR|URL") -> Decorator:
    """`--repository`."""
    return click.option(
        "--repository", type=click.Path(), callback=where, default=REPOSITORY, show_default=True, metavar=metavar,
        help=help_text,
    )  # fmt: skip


def url_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--url`."""
    return click.option(
        "--url", metavar="HOST:PORT", callback=host_and_port,
        help="gRPC address of a running Triton. Without it: the one at localhost:8001, else one is started "
        "for this command.",
    )(command)  # fmt: skip


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)
