"""Helpers for tests of hostile weights: an audit hook, and the message of a refused file."""

import contextlib
import os
import re
import resource
import signal
import sys
from pathlib import Path

import pytest
from weights_samples import TINY_DENSENET

from generator.errors import WeightsUnusable
from generator.weights.load import load

EXECUTED = "and nothing in a weights file is executed"
# What a pickle would have to do to run something, as Python's audit events name it.
RUNNING = ("os.system", "os.exec", "os.fork", "os.posix_spawn", "subprocess.Popen", "ctypes.dlopen", "socket.connect")
RUNNING += ("pickle.find_class", "urllib.Request", "shutil.rmtree", "os.remove", "os.rename")
ADDRESS_SPACE_BYTES = 1 << 30
SECONDS = 20
events = []
watching = []


def audit(event, arguments):
    """Record events that run or write something while a test watches."""
    if not watching:
        return
    generated = event == "exec" and getattr(arguments[0], "co_filename", "") == "<string>"
    written = (
        event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    )
    if event in RUNNING or generated or written:
        events.append((event, str(arguments)[:200]))


sys.addaudithook(audit)


@contextlib.contextmanager
def watched():
    """Record events, and limit the memory to one more gigabyte and the time to seconds."""

    def late(*_):
        raise TimeoutError

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ADDRESS_SPACE_BYTES, hard))
    events.clear()
    watching.append(True)
    try:
        yield
    finally:
        watching.clear()
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def refused(path, network=TINY_DENSENET):
    """Load a file that must be refused without an event, and return the message and the hint."""
    with watched(), pytest.raises(WeightsUnusable) as caught:
        load(network, path)
    sentence = str(caught.value)
    assert events == []
    assert caught.value.exit_code == 1
    assert sentence.isprintable()
    assert len(sentence) < len(str(path)) + 350
    prefix = f"{path} cannot be used as weights: "
    assert sentence.startswith(prefix)
    return sentence.removeprefix(prefix), caught.value.hint


def assert_says(found, pattern):
    """Assert that a message matches a pattern."""
    assert re.search(pattern, found), found
