"""perf as a user calls it, and what it prints."""

import re

from perf.runs import store

QUICK = ("--gpu", "cpu", "--measurement", "quick")


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
