"""`tritongen doctor`."""

import logging

import click

from generator.commands import console
from generator.commands.click_options import Command, json_option

logger = logging.getLogger(__name__)


@click.command(name="doctor", cls=Command, short_help="Show what this machine can do.")
@json_option
def command(*, as_json: bool) -> int:
    """Show what this machine can do, and what is missing.

    The exit status is 1 if building, serving or measuring cannot work here.
    """
    from generator.server.doctor import examine

    rows = examine()
    if as_json:
        console.print_json(rows)
    else:
        words = {(True, True): "ok", (True, False): "ok", (False, True): "MISSING", (False, False): "no"}
        cells = [(words[row.ok, row.needed], row.subject, row.detail) for row in rows]
        console.print_table(("", "Subject", "Found"), cells, left=3)
        for row in rows:
            if row.hint:
                logger.info("hint: %s: %s", row.subject, row.hint)
    return 1 if any(row.needed and not row.ok for row in rows) else 0
