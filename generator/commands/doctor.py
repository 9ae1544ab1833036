"""`tritongen doctor`."""

from __future__ import annotations

import click

from generator.commands.click_options import json_option


@click.command(name="doctor", short_help="Say what this machine can do.")
@json_option
def command(*, as_json: bool) -> int:
    """Say what this machine can do, and what is missing.

    Exit status 1 where building, serving or measuring cannot work here.
    """
    from generator.commands import console
    from generator.server.doctor import examine

    rows = examine()
    if as_json:
        import dataclasses
        import json

        click.echo(json.dumps([dataclasses.asdict(row) for row in rows], indent=2))
    else:
        words = {(True, True): "ok", (True, False): "ok", (False, True): "MISSING", (False, False): "no"}
        console.out().print(
            console.table(
                ("", "Subject", "Found"),
                [(words[row.ok, row.needed], row.subject, row.detail) for row in rows],
                left=3,
            )
        )
        for row in rows:
            if row.hint:
                console.say(f"hint: {row.subject}: {row.hint}")
    return 1 if any(row.needed and not row.ok for row in rows) else 0
