"""The command line: a table of commands that are imported when called, and the exit status of each error."""

import errno
import logging
import os
import signal
import sys
from importlib import import_module
from typing import Any

import click

from generator.commands.console import complain, report, show_log
from generator.errors import TritongenError, UnknownName

# In the order in which a user needs them.
COMMANDS = {
    "list": "generator.commands.list",
    "build": "generator.commands.build",
    "check": "generator.commands.check",
    "serve": "generator.commands.serve",
    "infer": "generator.commands.infer",
    "perf": "perf.command",
    "doctor": "generator.commands.doctor",
}
INTERRUPTED = 130  # 128 + SIGINT, as shells report it


def set_level(_ctx: click.Context, param: click.Parameter, given: bool) -> None:  # noqa: FBT001 (click's signature)
    """Choose the log records that are printed."""
    if given:
        show_log(logging.DEBUG if param.name == "verbose" else logging.WARNING)


# These can stand before or after the name of the command.
VERBOSITY: list[click.Parameter] = [
    click.Option([*names], is_flag=True, is_eager=True, expose_value=False, callback=set_level, help=text)
    for *names, text in (
        ("--verbose", "-v", "Print what is done in detail, with the log of the server."),
        ("--quiet", "-q", "Print results, warnings and errors only."),
    )
]


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is called: `--help` loads no torch, onnx or numpy."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names of the commands."""
        return [*COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a command; return None for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(COMMANDS[cmd_name]).command
        if VERBOSITY[0] not in command.params:
            command.params += VERBOSITY
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Raise UnknownName, which suggests the nearest name, for an unknown command."""
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            raise UnknownName("command", args[0], COMMANDS)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 (click's)
        """Run a command; print an error of ours in the command's own options."""
        try:
            return super().invoke(ctx)
        except TritongenError as error:
            command = self.get_command(ctx, ctx.invoked_subcommand or "") or self
            report(error, command)
            return error.exit_code


@click.group(cls=LazyGroup, params=[*VERBOSITY], context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tritongen", prog_name="tritongen")
def cli() -> None:
    """Make a Triton model repository of image-classification networks, verify it, serve it, measure it.

    \b
      tritongen build --models all --precision fp16
      tritongen serve
      tritongen perf --gpu v100
    """


def main() -> None:
    """Run the program and exit with its status."""
    sys.exit(status_of_call())


def status_of_call() -> int:
    """Run the command, print its error, and return the exit status: 0 done, 1 failed, 2 wrong call, 130 interrupted."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGTERM acts like Ctrl-C: servers are stopped
    show_log(logging.INFO)
    try:
        # A command returns its exit status, or None for 0.
        status = cli.main(prog_name="tritongen", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except click.ClickException as error:
        ctx = getattr(error, "ctx", None)
        complain(error.format_message(), f"`{ctx.command_path} --help`" if ctx else None)
        return 2
    except (click.Abort, KeyboardInterrupt):
        complain("interrupted", None)
        return INTERRUPTED
    except OSError as error:
        if error.errno == errno.ENOSPC and error.filename is None:
            complain("the output cannot be written: no space left on device", None)
        elif not isinstance(error, BrokenPipeError):  # which says that nobody reads the output
            raise  # a bug: a failed write to a file has an error of its own
        # Without this, Python prints a second error at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status if isinstance(status, int) else 0
