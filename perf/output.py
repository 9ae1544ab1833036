"""Output of `tritongen perf`: progress on stderr; tables, JSON or CSV on stdout."""

import csv
import dataclasses
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from generator.commands import console
from generator.config import targets
from generator.errors import printable
from perf import request
from perf.measure.sweep import Step
from perf.runs import compare, store, tables
from perf.runs.compare import Comparison
from perf.runs.points import Result
from perf.runs.store import Stored
from perf.runs.tables import Table
from perf.runs.types import LATENCY, METRICS, PARTS

logger = logging.getLogger(__name__)


@contextmanager
def progress() -> Iterator[Callable[[Step], None]]:
    """Show a bar on a terminal, a line per step elsewhere; yield the function that is called with each step."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    if not console.shows_progress():
        yield lambda step: logger.info("[%d/%d] %s", step.place, step.points, describe(step))
        return
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    bar = Progress(*columns, console=console.make_console(), transient=True)
    task = bar.add_task("")

    def on_step(step: Step) -> None:
        bar.start()  # not before: messages about the server come first
        bar.update(task, completed=step.place, total=step.points, description=describe(step))

    try:
        yield on_step
    finally:
        bar.stop()


def describe(step: Step) -> str:
    """Describe a step, such as `dpn92 fp32 batch 8, round 2, about 4 min left`."""
    words = f"{step.point}, round {step.round}"
    if step.seconds_left is None:
        return words
    seconds = step.seconds_left
    left = f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"  # noqa: PLR2004
    later = f" on this server, {step.later_servers} more to come" if step.later_servers else ""
    return f"{words}, about {left} left{later}"


def print_runs(
    runs: Sequence[Stored],
    compared: Sequence[Sequence[Comparison]],
    metrics: Sequence[str],
    *,
    as_parts: bool,
    as_csv: bool,
    as_json: bool,
) -> None:
    """Print runs on stdout, and the reason of each failed or unstable point on stderr."""
    if as_json:
        console.print_json([record(run, own) for run, own in zip(runs, compared, strict=True)])
    elif as_csv:
        rows = [row(run, result) for run in runs for result in run.results]
        writer = csv.DictWriter(sys.stdout, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    else:
        for run, own in zip(runs, compared, strict=True):
            for shown in [tables.parts(run)] if as_parts else tables.of_run(run, metrics):
                print_table(shown)
            for comparison in own:
                print_table(compare.ratios(run, comparison))
    for run in runs:
        for line in tables.reasons(run):
            logger.warning("%s", printable(line))
        logger.info("stored in %s", run.path)


def record(stored: Stored, comparisons: Iterable[Comparison]) -> dict[str, Any]:
    """Return a run with its points, their rounds and its comparisons, for JSON."""
    return {
        **store.CONVERTER.unstructure(stored.run),
        "sessions": store.CONVERTER.unstructure(stored.sessions),
        "points": [
            {**row(stored, result), "repeats": store.CONVERTER.unstructure(result.repeats)} for result in stored.results
        ],
        "comparisons": [
            {
                "other": comparison.other,
                "metric": comparison.metric.name,
                "geometric_mean": comparison.geometric_mean,
                "within_10_percent": comparison.agreeing,
                "cells": [dataclasses.asdict(cell) for cell in comparison.cells],
                "missing": [dataclasses.asdict(point) for point in comparison.missing],
                "notes": comparison.notes,
            }
            for comparison in comparisons
        ],
    }


def row(stored: Stored, result: Result) -> dict[str, Any]:
    """Return the flat record of a point, with None for missing values."""
    point, times_us = result.point, {metric: result.value_us(metric) for metric in (*METRICS, *PARTS, LATENCY)}
    page_ms = tables.published_ms(stored.run.device.name).get(point)
    return {
        "run": stored.run.id,
        "gpu": stored.run.device.name,
        "precision": point.precision,
        "batch_size": point.batch_size,
        "concurrency": point.concurrency,
        "model": point.model,
        "status": result.status,
        "rounds": len(result.repeats),
        "spread": None if result.spread is None else round(result.spread, 4),
        **{f"{m.name}_ms": None if (us := times_us[m]) is None else us / 1000 for m in METRICS},
        **{f"{m.name}_us": times_us[m] for m in (*PARTS, LATENCY)},
        "bare_us": result.bare_us,
        "published_ms": None if page_ms is None else float(page_ms),
        "reason": result.reason,
    }


def print_table(shown: Table) -> None:
    """Print a table with its heading and the text below."""
    console.print_text(f"{shown.heading}:\n\n{shown.markdown}\n\n{shown.under}\n")


def print_published(gpus: Sequence[str]) -> None:
    """Print the published tables of some GPUs, or of all, or raise UsageError if a GPU has none."""
    known = [target.name for target in targets.TARGETS if target.published]
    for gpu in [targets.find(gpu).name for gpu in gpus] or known:
        request.check_published(gpu)
        print_table(tables.published(gpu))
