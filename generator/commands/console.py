"""Output for a person: data on stdout, everything else on stderr, both readable without colour.

rich is imported when something is printed, so that `--help` does not pay for it.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

import click

from generator.errors import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console

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
    return err().is_terminal and LOGGERS[0].isEnabledFor(logging.INFO)


def out() -> Console:
    """Return the console for data."""
    return console(stderr=False)


def err() -> Console:
    """Return the console for progress."""
    return console(stderr=True)


def console(*, stderr: bool) -> Console:
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
    out().print(made)


def print_text(text: object) -> None:
    """Print lines of text on stdout."""
    click.echo(printable_lines(text))


def print_json(value: object) -> None:
    """Print JSON on stdout; a dataclass becomes an object."""
    import dataclasses
    import json

    click.echo(json.dumps(value, indent=2, default=dataclasses.asdict))


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
