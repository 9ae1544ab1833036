"""What a person sees: data on stdout, everything else on stderr, both readable without colour.

rich is imported when something is printed, so that `--help` does not pay for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console
    from rich.table import Table

TABLE_WIDTH = 200  # columns: a narrow terminal wraps a table, it does not lose a column of it


def out() -> Console:
    """The console for data."""
    return console(stderr=False)


def err() -> Console:
    """The console for progress and messages."""
    return console(stderr=True)


def console(*, stderr: bool) -> Console:
    """A console that takes text as it is: no markup, no numbers picked out in colours."""
    from rich.console import Console

    made = Console(stderr=stderr, highlight=False, markup=False, soft_wrap=True)
    if not stderr or not made.is_terminal:
        made.width = TABLE_WIDTH
    return made


def table(heads: Sequence[str], rows: Iterable[Sequence[object]], *, left: int = 1) -> Table:
    """A plain table; the first `left` columns are words, the others figures."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for position, head in enumerate(heads):
        made.add_column(head, justify="left" if position < left else "right", no_wrap=True)
    for row in rows:
        made.add_row(*map(str, row))
    return made


def markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown; no cell ends in its text."""
    cells = ([cell.replace("\\", "\\\\").replace("|", "\\|") for cell in row] for row in rows)
    lines = [heads, ["---"] * len(heads), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def printable(text: str) -> str:
    """Text on one line, in which nothing is obeyed: what cannot be printed is shown as Python writes it."""
    return text if text.isprintable() else repr(text)[1:-1]


def say(message: str) -> None:
    """One message on stderr."""
    click.echo(message, err=True)


def complain(sentence: str, hint: str | None) -> None:
    """One `error:` line on stderr, and perhaps a `hint:` line."""
    click.secho("error: ", fg="red", bold=True, nl=False, err=True)
    click.echo(sentence, err=True)
    if hint:
        click.secho("hint: ", fg="cyan", nl=False, err=True)
        click.echo(hint, err=True)
