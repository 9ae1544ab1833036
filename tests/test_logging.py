"""What is printed on stderr at each level, and by a library user."""

import logging
import subprocess
import sys

import pytest
from rich.console import Console
from rich.progress import Progress

from generator import cli
from generator.commands import console


@pytest.fixture(autouse=True)
def _no_handlers():
    """Take back what a call configured."""
    yield
    for logger in console.LOGGERS:
        logger.setLevel(logging.NOTSET)
        for handler in [found for found in logger.handlers if isinstance(found, console.StderrHandler)]:
            logger.removeHandler(handler)


def test_records_are_printed_by_level(capsys):
    """INFO is a plain sentence, a warning has its level before it, DEBUG is not printed."""
    console.show_log(logging.INFO)
    console.show_log(logging.INFO)  # a second call adds no second handler
    logger = logging.getLogger("perf.measure")
    logger.debug("a detail")
    logger.info("%d models", 2)
    logger.warning("it is slow")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "2 models\nwarning: it is slow\n")


def test_a_terminal_interprets_nothing(capsys):
    """Escapes in records, errors, tables and texts are printed as text; line ends in sentences stay."""
    console.show_log(logging.INFO)
    logging.getLogger("generator").info("refused:\n  a\x1b[31m\r\u202e")
    console.complain("no \x07", "not \x1b")
    captured = capsys.readouterr()
    assert captured.err == "refused:\n  a\\x1b[31m\\r\\u202e\nerror: no \\x07\nhint: not \\x1b\n"
    console.print_table(("Name",), [("a\x1b[2J\nb",)])
    console.print_text("c\x1b")
    assert [line.strip() for line in capsys.readouterr().out.splitlines()] == ["Name", "a\\x1b[2J\\nb", "c\\x1b"]


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize(
    ("option", "debug", "info"),
    [("", False, True), ("-v", True, True), ("--verbose", True, True), ("-q", False, False)],
)
def test_verbosity(monkeypatch, capfd, place, option, debug, info):
    """-v and -q choose the records that are printed; they can stand before or after the command."""
    options = [option] if option else []
    call = [*options, "list", "--targets"] if place == "before" else ["list", "--targets", *options]
    monkeypatch.setattr(sys, "argv", ["tritongen", *call])
    assert cli.status_of_call() == 0
    captured = capfd.readouterr()
    assert captured.out.startswith("Target")
    assert ("Published: latency tables." in captured.err) == info
    assert logging.getLogger("generator.system").isEnabledFor(logging.DEBUG) == debug


def test_lines_above_a_progress_bar(capsys):
    """A record that is logged while a bar is drawn stands on a line of its own."""
    console.show_log(logging.INFO)
    shown = Console(stderr=True, force_terminal=True, width=60, color_system=None)
    with Progress(console=shown) as progress:
        progress.add_task("models", total=3)
        logging.getLogger("generator").info("fetching weights")
    assert "\r\x1b[2Kfetching weights\n" in capsys.readouterr().err  # the line of the bar was erased


def test_library_users_see_nothing():
    """Warnings of the packages are not printed unless the user configures logging."""
    code = (
        "import logging, tritongen, generator, perf\n"
        "for name in ('generator.server', 'perf.runs'): logging.getLogger(name).warning('seen')\n"
        "logging.basicConfig(format='%(name)s: %(message)s')\n"
        "logging.getLogger('generator.server').warning('configured')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "generator.server: configured\n"
