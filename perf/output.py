"""What `tritongen perf` prints: tables with what they were measured on, or data."""

from __future__ import annotations

import logging
from importlib.resources import files
from typing import TYPE_CHECKING

import click

from generator.commands.console import print_json, print_text
from generator.config import targets
from generator.errors import BadValue, UsageError, printable
from perf import request
from perf.runs import compare, export, tables
from perf.runs import published as reference
from perf.runs.metrics import COMPUTE, METRICS
from perf.runs.store import check_writable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from perf.runs.compare import Comparison
    from perf.runs.store import Stored
    from perf.runs.tables import Table

logger = logging.getLogger(__name__)


def check_format(*, as_json: bool, as_csv: bool, as_parts: bool, comparing: bool, show: str | None) -> None:
    """Raise UsageError where two forms were asked for, or one that what is printed does not have."""
    request = [name for name, wanted in (("--json", as_json), ("--csv", as_csv), ("--parts", as_parts)) if wanted]
    if show == "published" and (request or comparing):
        other = request[0] if request else "--compare"
        hint = f"the figures as CSV: {files('perf') / 'reference' / 'latency.csv'}"
        raise UsageError(f"--show published prints the published tables: {other} cannot go with it", hint)


def check_files(charts: Path | None, html: Path | None, gpus: Sequence[str], show: str | None) -> None:
    """Raise an error where charts or a report could not be written: said before anything is measured."""
    if html and show == "published":
        raise UsageError("a report is of a run: --html cannot go with --show published", "--charts draws the tables")
    if html and len(gpus) > 1 and show is None:
        raise UsageError(f"a report is of one run: --html cannot go with --gpu {','.join(gpus)}", "one GPU a call")
    if charts and html and charts.absolute() == html.absolute():
        raise BadValue("charts", charts, "the report is written to the same path", "name a folder")
    for folder in [path for path in (charts, html and html.parent) if path]:
        check_writable(folder)


def compared(run: Stored, others: Sequence[Stored | None], metrics: Sequence[str]) -> list[Comparison]:
    """The run beside each of the others, in each metric; None is the published table, in what that is.

    Raises:
        UsageError: the page has no table of the run's device.
    """
    made = []
    for other in others:
        if other is not None:
            made += [compare.with_run(run, other, metric) for metric in METRICS if metric.name in metrics]
            continue
        request.check_published(run.run.device.name)
        made.append(compare.with_published(run, reference.published(run.run.device.name)))
    return made


def print_runs(
    runs: Sequence[Stored],
    compared: Sequence[Sequence[Comparison]],
    metrics: Sequence[str],
    *,
    as_parts: bool,
    as_csv: bool,
    as_json: bool,
) -> None:
    """Data on stdout; the reason of every point that is marked on stderr."""
    if as_json:
        pairs = zip(runs, compared, strict=True)
        records = [export.record(run, of_run, reference.published(run.run.device.name)) for run, of_run in pairs]
        print_json(records)
    elif as_csv:
        rows = [
            export.row(run, found, reference.published(run.run.device.name)) for run in runs for found in run.results
        ]
        click.echo(export.table(rows), nl=False)
    else:
        for run, of_run in zip(runs, compared, strict=True):
            print_tables(run, of_run, metrics, as_parts=as_parts)
    for run in runs:
        for line in tables.reasons(run):
            logger.warning("%s", printable(line))
        logger.info("kept in %s", run.path)


def print_tables(run: Stored, comparisons: Sequence[Comparison], metrics: Sequence[str], *, as_parts: bool) -> None:
    """Each under its name, and under it what it was measured on, how, and when."""
    if as_parts:
        print_table(tables.parts(run))
    else:
        for metric in METRICS:
            if metric.name in metrics:
                print_table(tables.latencies(run, metric))
        published = reference.published(run.run.device.name)
        if published.latency_ms and COMPUTE.name in metrics:
            print_table(tables.reference(run, published))
        if run.run.request.baseline:
            print_table(tables.beside_bare(run))
    for comparison in comparisons:
        print_table(compare.ratios(run, comparison))


def print_table(shown: Table) -> None:
    """One of them."""
    print_text(f"{shown.heading}:\n\n{shown.markdown}\n\n{shown.under}\n")


def print_published(gpus: Sequence[str]) -> None:
    """The published tables themselves.

    Raises:
        UsageError: the page has none of that GPU.
    """
    known = [target.name for target in targets.TARGETS if target.published]
    for gpu in [targets.find(gpu).name for gpu in gpus] or known:
        request.check_published(gpu)
        print_table(tables.published(reference.published(gpu)))
