"""The command line: a lazy map of commands, and the one place where errors become exit statuses."""

from __future__ import annotations

import errno
import os
import signal
import sys
from importlib import import_module

import click

from generator.commands.console import complain
from generator.errors import TritongenError, UnknownName

# In the order of the user's story. Each is imported when it is called: `--help` pays for no torch, onnx or numpy.
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


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is named."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """The names, in the order of the user's story."""
        return [*COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command, or None for click to refuse."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(COMMANDS[cmd_name]).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with the nearest name for one that is not there."""
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            raise UnknownName("command", args[0], COMMANDS)
        return super().resolve_command(ctx, args)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tritongen", prog_name="tritongen")
def cli() -> None:
    """Make a Triton model repository of image-classification networks, verify it, serve it, measure it.

    \b
      tritongen build --models all --precision fp16
      tritongen serve
      tritongen perf --gpu v100
    """


def main() -> None:
    """Run the program and exit: 0 done, 1 the work failed, 2 the call was wrong."""
    sys.exit(status_of_call())


def status_of_call() -> int:  # noqa: PLR0911 (a return an outcome)
    """Run the command; say what went wrong on stderr."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what was started is stopped
    try:
        # Commands that end with another status than 0 return it.
        status = cli.main(prog_name="tritongen", standalone_mode=False)
        sys.stdout.flush()
    except TritongenError as error:
        complain(str(error), error.hint)
        return error.exit_code
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
    except BrokenPipeError:
        # The reader of our output is gone; keep Python from complaining again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.errno != errno.ENOSPC or error.filename is not None:
            raise  # a bug: every file that is written has its own sentence
        complain("the output cannot be written: no space left on device", None)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status if isinstance(status, int) else 0
