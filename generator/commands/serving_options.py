"""The options of `build` that decide a model's configs, from their table to the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from generator.config.options import BY_NAME, OPTIONS, shown
from generator.config.types import ServingOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from generator.config.options import Option

DEFAULTS = ServingOptions()
# What follows from the largest batch has no default of its own.
SHOWN_DEFAULTS = {"preferred_batch_sizes": "those of 4,8 that fit", "profile": "1,the largest,the largest"}


def whole_numbers(_ctx: click.Context, _param: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    """Numbers with commas."""
    if value is None:
        return None
    texts = [text.strip() for text in value.split(",")]
    if wrong := [text for text in texts if not text.isdecimal()]:
        raise click.BadParameter(f"{wrong[0]!r} is not a whole number")
    return tuple(map(int, texts))


def pairs(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> dict[str, str] | None:
    """KEY=VALUE, repeated; a comma is a part of the value."""
    if wrong := [text for text in values if "=" not in text]:
        raise click.BadParameter(f"{wrong[0]!r} is not KEY=VALUE")
    return {key.strip(): value.strip() for key, _, value in (text.partition("=") for text in values)} or None


def decorated(option: Option) -> Callable[..., Any]:
    """The click option of a row."""
    default = getattr(DEFAULTS, option.key)
    # No default of click's: only what the call says goes before the file.
    said = SHOWN_DEFAULTS.get(option.key) or (shown(default) if default not in (None, ()) else None)
    kwargs: dict[str, Any] = {"default": None, "help": f"{option.help}  [default: {said}]" if said else option.help}
    match default:
        case bool():
            kwargs["help"] = f"{option.help}  [default: {'on' if default else 'off'}]"
            return click.option(f"{option.flag}/--no-{option.flag[2:]}", **kwargs)
        case tuple() if option.key == "accelerator":
            return click.option(option.flag, multiple=True, callback=pairs, metavar=option.metavar, help=option.help)
        case tuple():
            return click.option(option.flag, callback=whole_numbers, metavar=option.metavar, **kwargs)
        case _:
            return click.option(option.flag, type=int, metavar=option.metavar, **kwargs)


def serving_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Every row as an option of the command, in the table's order."""
    for option in reversed(OPTIONS):
        command = decorated(option)(command)
    return command


def said(values: dict[str, Any]) -> dict[str, Any]:
    """The options that the call has."""
    return {key: value for key, value in values.items() if key in BY_NAME and value is not None}
