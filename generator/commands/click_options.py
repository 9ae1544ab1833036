"""Commands whose help has groups, and the options that several commands share."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from generator.commands.console import flag
from generator.errors import UsageError
from generator.repository.s3.url import S3Url, location
from generator.types import PRECISIONS

Colours = tuple[float, float, float]
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
REPOSITORY = Path("model_repository")
GENERAL = "General options"
LARGEST_NUMBER = 1 << 20


class Option(click.Option):
    """An option that `--help` lists under the title of its group, with its default as a user types it."""

    group = GENERAL

    def get_help_extra(self, ctx: click.Context) -> Any:  # noqa: ANN401 (click's)
        """Show a default that is given as text without click's parentheses, and no range of numbers."""
        extra = super().get_help_extra(ctx)
        extra.pop("range", None)
        return {**extra, "default": self.show_default} if isinstance(self.show_default, str) else extra


class Command(click.Command):
    """A command that lists its options in groups and refuses options that exclude each other.

    click's own class is extended since cloup adds 90 ms to every `--help` and rich-click 130 ms.
    """

    def __init__(self, *args: Any, exclusive: Sequence[tuple[str, ...]] = (), **attributes: Any) -> None:  # noqa: ANN401
        """Take the names of parameters of which at most one may be given."""
        super().__init__(*args, **attributes)
        self.exclusive = exclusive

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Raise UsageError if two options that exclude each other are given."""
        rest = super().parse_args(ctx, args)
        given = given_params(ctx)
        for names in self.exclusive:
            flags = [flag(given[name]) for name in names if name in given]
            if len(flags) > 1:
                raise UsageError(f"{flags[0]} and {flags[1]} cannot be combined", "leave one of them out")
        return rest

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each group of options under its title, the general options last."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            if isinstance(param, click.Option) and (record := param.get_help_record(ctx)):
                groups.setdefault(getattr(param, "group", GENERAL), []).append(record)
        general = groups.pop(GENERAL)
        for title, records in {**groups, GENERAL: general}.items():
            with formatter.section(title):
                formatter.write_dl(records)


def given_params(ctx: click.Context) -> dict[str, click.Parameter]:
    """Return the parameters that the user gave, by name."""
    given = click.core.ParameterSource.COMMANDLINE
    return {p.name: p for p in ctx.command.params if p.name and ctx.get_parameter_source(p.name) is given}


def option(*names: str, **attributes: Any) -> Decorator:  # noqa: ANN401 (click's)
    """Make an option; a default other than None or False is shown, and a whole number is shown as N."""
    shown = {"show_default": True} | ({"metavar": "N"} if attributes.get("type") is int else {})
    return click.option(*names, cls=Option, **shown | attributes)


def group(title: str, *options: Decorator) -> Decorator:
    """Give a command options that `--help` lists under a title."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for add in reversed(options):
            command = add(command)
            command.__click_params__[-1].group = title  # type: ignore[attr-defined]
        return command

    return decorate


class NamedPath(click.Path):
    """A path that is not empty: an empty path would be the working directory."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401 (click's)
        """Convert a value as click does."""
        if value == "":
            self.fail("the path is empty", param, ctx)
        return super().convert(value, param, ctx)


def path_option(*names: str, metavar: str = "FILE", **attributes: Any) -> Decorator:  # noqa: ANN401 (click's)
    """Make an option for a local path, with the metavar FILE, DIR or FILE|DIR."""
    kind = NamedPath(path_type=Path, file_okay=metavar != "DIR", dir_okay=metavar != "FILE")
    return option(*names, type=kind, metavar=metavar, **attributes)


def split(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """Split values at commas."""
    return tuple(name for value in values for name in map(str.strip, value.split(",")) if name)


def split_numbers(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[int, ...] | None:
    """Split values at commas into whole numbers; return None without values."""
    given = split(ctx, param, values)
    if values and not given:
        raise click.BadParameter("no number is given")
    if wrong := [text for text in given if not text.isdecimal() or not 1 <= int(text) <= LARGEST_NUMBER]:
        raise click.BadParameter(f"{wrong[0]!r} is not a whole number from 1")
    return tuple(map(int, given)) or None


def list_option(*names: str, default: str | None = None, numbers: bool = False, **attributes: Any) -> Decorator:  # noqa: ANN401 (click's)
    """Make an option for a list: values are separated by commas, or the option is repeated."""
    shown = {"default": (default,), "show_default": default} if default else {}
    callback = split_numbers if numbers else split
    return option(*names, multiple=True, callback=callback, **{"metavar": "LIST"} | shown | attributes)


def choice_option(*names: str, choices: Sequence[str], **attributes: Any) -> Decorator:  # noqa: ANN401 (click's)
    """Make an option for one of several words, in any letter case."""
    metavar = "|".join(choices)
    return option(*names, type=click.Choice(choices, case_sensitive=False), metavar=metavar, **attributes)


def precision_option(help_text: str, **attributes: Any) -> Decorator:  # noqa: ANN401 (click's)
    """Make `--precision`."""
    return choice_option("--precision", choices=PRECISIONS, help=help_text, **attributes)


def colours(_ctx: click.Context, _param: click.Parameter, value: str | None) -> Colours | None:
    """Read one number per colour."""
    if value is None:
        return None
    try:
        red, green, blue = map(float, value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not three numbers, such as 0.485,0.456,0.406") from None
    return red, green, blue


def host_and_port(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    """Read an address as gRPC takes it."""
    if value is not None and not re.fullmatch(r"[^\s/]+:\d{1,5}", value):
        raise click.BadParameter(f"{value!r} is not HOST:PORT, such as localhost:8001")
    return value


def read_location(_ctx: click.Context, param: click.Parameter, value: str | Path) -> Path | S3Url:
    """Read the location of a model repository: a folder, or a URL in S3."""
    return location(value, param.name or "")


repository_argument = click.argument("repository", type=click.Path(), callback=read_location, default=REPOSITORY)


def repository_option(*names: str, metavar: str = "DIR|URL", **attributes: Any) -> Decorator:  # noqa: ANN401 (click's)
    """Make an option for a model repository."""
    return option(*names, type=click.Path(), callback=read_location, default=REPOSITORY, metavar=metavar, **attributes)


url_option = option(
    "--url", metavar="HOST:PORT", callback=host_and_port,
    show_default="localhost:8001 if a Triton runs there, else a server is started",
    help="gRPC address of a running Triton.",
)  # fmt: skip
json_option = option("--json", "as_json", is_flag=True, help="Print JSON.")
