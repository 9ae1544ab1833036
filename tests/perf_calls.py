"""perf as a user calls it, with plans for tests, and what it prints."""

import re
import sys

from helpers import ROOT, run_python

from perf.runs import store

PROGRAM = ROOT / "tests" / "perf_program.py"
PERF = (sys.executable, str(PROGRAM), "perf")
QUICK = ("--gpu", "cpu", "--measurement", "quick")


def run_perf(*arguments, cwd, env=None):
    """Call `tritongen perf` in a process of its own."""
    return run_python("-c", PROGRAM.read_text(), "perf", *arguments, cwd=cwd, env=env)


def kept(cwd):
    """The newest run of a folder."""
    return store.read(store.paths(cwd / "perf" / "results")[0])


def cells(text):
    """Figures by model, of the first table in a text."""
    rows = re.findall(r"^\| (\w+) \| \S+ \| \S+ \| (.+) \|$", text.split("\n\n")[1], re.MULTILINE)
    return {name: row.split(" | ") for name, row in rows if name != "Models"}


def figures(row):
    """The numbers of cells, marked or not: on a busy machine a point may not settle, and has its figure all the same."""
    return [float(cell.split()[0]) for cell in row]
