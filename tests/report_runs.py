"""(Made up.) A run that a report has to say everything of, written as its file."""

from __future__ import annotations

import dataclasses

import perf_runs
from chart_structure import TEN

from perf.runs import store

SCRIPT = "<script>window.hacked = 1</script>"
IMAGE = "<img src=x onerror='window.hacked = 2'>"


def disturbed_run(**changes):
    """The ten, a model named as a script, points that failed or did not settle."""
    figures = {
        (name, "fp32", size): [30000 * number * size] * 3 for number, name in enumerate(TEN, 1) for size in (1, 4, 8)
    }
    figures |= {(SCRIPT, "fp32", size): [7000 * size] * 3 for size in (1, 4, 8)}
    figures["densenet121", "fp32", 8] = [100000, 200000, 300000, 400000, 500000, 600000, 700000, 800000]
    figures["dpn131", "fp32", 1] = ("failed", f"perf_analyzer ended with 1: {IMAGE}")
    found = perf_runs.run(figures, models=(*TEN, SCRIPT))
    return dataclasses.replace(found, run=dataclasses.replace(found.run, **changes))


def write(path, stored):
    """As perf keeps it."""
    entries = [("run", stored.run), *(("round", one) for one in stored.repeats)]
    entries += [("session", one) for one in stored.sessions]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(store.line(kind, entry) for kind, entry in entries))
    return path
