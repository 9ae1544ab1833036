"""The progress bars of a build on a terminal."""

import io
import re

import pytest
from rich.console import Console
from tiny_networks import FOUR

from generator.commands import console
from generator.commands.build import MANY_BARS, build_progress


@pytest.fixture(name="terminal")
def _terminal(monkeypatch, caplog):
    """Return a function that splits the lines shown on a terminal of 80 columns into words."""
    made = Console(file=io.StringIO(), force_terminal=True, width=80, height=40, color_system=None)
    caplog.set_level("INFO", "generator")
    monkeypatch.setattr(console, "make_console", lambda: made)

    def shown():
        lines = re.split(r"(?:\x1b\[[0-9;?]*[A-Za-z]|[\r\n])+", made.file.getvalue())
        return [line.split() for line in lines if line.strip()]

    return shown


def test_one_bar_per_network_and_a_total(terminal):
    """Each bar shows the step of its network and then its outcome; the first bar counts the networks that ended."""
    with build_progress(3) as on_step:
        on_step(FOUR[0], "export")
        on_step(FOUR[1], "weights")
        on_step(FOUR[1], "failed")
        on_step(FOUR[2], "up to date")
        on_step(FOUR[0], "published")
    last = {line[0]: " ".join(line[1:]) for line in terminal()}
    assert "3 of 3" in last["all"]
    assert "published" in last["tiny-densenet"]
    assert "failed" in last["tiny-dpn"]
    assert "up to date" in last["small-densenet"]


def test_many_networks(terminal):
    """Only networks in progress have a bar."""
    with build_progress(MANY_BARS + 1) as on_step:
        for network in FOUR:
            on_step(network, "export")
        on_step(FOUR[0], "published")
    last = [line[0] for line in terminal()[-len(FOUR) :]]
    assert last == ["all", "tiny-dpn", "small-densenet", "small-dpn"]


def test_without_a_terminal(caplog):
    """Only outcomes are logged, one line per network."""
    caplog.set_level("INFO", "generator")
    with build_progress(1) as on_step:
        on_step(FOUR[0], "export")
        on_step(FOUR[0], "published")
    assert caplog.messages == ["tiny-densenet: published"]
