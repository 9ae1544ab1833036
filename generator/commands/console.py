"""Output for a person: data on stdout, everything else on stderr, both readable without colour.

rich is imported when something is printed, so that `--help` does not pay for it.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import re
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import click

from generator.errors import BadValue, TritongenError, printable

if TYPE_CHECKING:
    from rich.console import Console

PARAMETER = re.compile(r"`(?P<name>\w+)(?:=(?P<value>[^`]*))?`")
TABLE_WIDTH = 200  # columns: a narrow terminal wraps a table, it does not lose a column of it
LOGGERS = tuple(map(logging.getLogger, ("generator", "perf")))


class StderrHandler(logging.Handler):
    """Prints log records on stderr: plain sentences, and warnings with `warning:` in front of them."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        try:
            message = self.format(record)
            if record.levelno >= logging.WARNING:
                print_labelled("warning", "yellow", message)
            else:
                write_line(printable_lines(message))
        except Exception:  # noqa: BLE001 (logging's rule: a handler never raises)
            self.handleError(record)


def show_log(level: int) -> None:
    """Print the log records of the program from this level on."""
    for logger in LOGGERS:
        logger.setLevel(level)
        if not any(isinstance(handler, StderrHandler) for handler in logger.handlers):
            logger.addHandler(StderrHandler())


def shows_progress() -> bool:
    """Return True if stderr is a terminal and --quiet is not given."""
    return make_console().is_terminal and LOGGERS[0].isEnabledFor(logging.INFO)


def make_console(*, stderr: bool = True) -> Console:
    """Make a console that takes text as it is: no markup, no numbers picked out in colours."""
    from rich.console import Console

    made = Console(stderr=stderr, highlight=False, markup=False, soft_wrap=True)
    if not stderr or not made.is_terminal:
        made.width = TABLE_WIDTH
    return made


def print_table(heads: Sequence[str], rows: Iterable[Sequence[object]], *, left: int = 1) -> None:
    """Print a table on stdout; the first `left` columns are words, the others figures."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for position, head in enumerate(heads):
        made.add_column(head, justify="left" if position < left else "right", no_wrap=True)
    for row in rows:
        made.add_row(*map(printable, row))
    make_console(stderr=False).print(made)


def print_text(text: object) -> None:
    """Print lines of text on stdout."""
    click.echo(printable_lines(text))


def print_json(value: object) -> None:
    """Print JSON on stdout; a dataclass becomes an object."""
    click.echo(json.dumps(value, indent=2, default=dataclasses.asdict))


def flags(command: click.Command) -> dict[str, click.Parameter]:
    """Return a command's options by the names of their parameters and by their flags, as Python writes them."""
    by_flag = {flag(param).removeprefix("--").replace("-", "_"): param for param in command.params}
    return by_flag | {param.name: param for param in command.params if param.name}


def flag(param: click.Parameter) -> str:
    """Return the long flag of an option, or the name of an argument."""
    return max(param.opts, key=len)


def with_flags(text: str, command: click.Command) -> str:
    """Replace parameters in backticks, alone or with a value, by the command's options."""
    options = flags(command)

    def replaced(match: re.Match[str]) -> str:
        option = options.get(match["name"])
        if option is None:
            return match[0]
        return flag(option) if match["value"] is None else f"{flag(option)} {match['value']}"

    return PARAMETER.sub(replaced, text)


def sentence(error: TritongenError, command: click.Command | None = None) -> str:
    """Write an error for the command line: parameters become the command's options."""
    command = command or click.get_current_context().command
    if isinstance(error, BadValue) and (option := flags(command).get(error.parameter)):
        given = flag(option) if getattr(option, "is_flag", False) else f"{flag(option)} {error.value}"
        return f"{given}: {with_flags(error.why, command)}"
    return with_flags(str(error), command)


def report(error: TritongenError, command: click.Command | None = None) -> None:
    """Print an error and its hint."""
    command = command or click.get_current_context().command
    complain(sentence(error, command), with_flags(error.hint, command) if error.hint else None)


def complain(sentence: str, hint: str | None) -> None:
    """Print an `error:` line on stderr, and a `hint:` line if there is a hint."""
    print_labelled("error", "red", sentence)
    if hint:
        print_labelled("hint", "cyan", hint)


def print_labelled(label: str, colour: str, text: str) -> None:
    """Print `label: text` on stderr."""
    start = f"{label}: "
    if sys.stderr.isatty():
        start = click.style(start, fg=colour, bold=label != "hint")
    write_line(start + printable_lines(text))


def write_line(line: str) -> None:
    """Write to sys.stderr, not with click.echo: rich replaces it while it draws a bar, so that lines appear above."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def printable_lines(text: object) -> str:
    """Return printable text that keeps its line ends."""
    return "\n".join(map(printable, str(text).split("\n")))
