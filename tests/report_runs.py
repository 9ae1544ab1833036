"""A made-up run that uses every part of a report."""

from __future__ import annotations

import dataclasses

import perf_runs
from chart_structure import TEN

from perf.runs import store

SCRIPT = "<script>window.hacked = 1</script>"
IMAGE = "<img src=x onerror='window.hacked = 2'>"


def disturbed_run(**changes):
    """Return a run of the ten networks and a model named like a script, with failed and unstable points."""
    figures = {
        (name, "fp32", size): [30000 * number * size] * 3 for number, name in enumerate(TEN, 1) for size in (1, 4, 8)
    }
    figures |= {(SCRIPT, "fp32", size): [7000 * size] * 3 for size in (1, 4, 8)}
    figures["densenet121", "fp32", 8] = [100000, 200000, 300000, 400000, 500000, 600000, 700000, 800000]
    figures["dpn131", "fp32", 1] = ("failed", f"perf_analyzer ended with 1: {IMAGE}")
    stored = perf_runs.run(figures, models=(*TEN, SCRIPT))
    return dataclasses.replace(stored, run=dataclasses.replace(stored.run, **changes))


def write(path, stored):
    """Write a run as perf stores it."""
    entries = [("run", stored.run), *(("round", one) for one in stored.repeats)]
    entries += [("session", one) for one in stored.sessions]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(store.line(kind, entry) for kind, entry in entries))
    return path
