"""Output of `tritongen perf`: tables, JSON or CSV."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import click

from generator.commands.console import print_json, print_text
from generator.config import targets
from generator.errors import BadValue, UsageError, printable
from perf import request
from perf.runs import compare, export, tables
from perf.runs.metrics import COMPUTE, METRICS
from perf.runs.published import published
from perf.runs.store import check_writable

if TYPE_CHECKING:
    from perf.runs.compare import Comparison
    from perf.runs.store import Stored
    from perf.runs.tables import Table

logger = logging.getLogger(__name__)


def check_format(*, as_json: bool, as_csv: bool, as_parts: bool, comparing: bool, show: str | None) -> None:
    """Raise UsageError if the published tables are to be shown in a form that they do not have."""
    forms = {"--json": as_json, "--csv": as_csv, "--parts": as_parts, "--compare": comparing}
    if show == "published" and (option := next((name for name, given in forms.items() if given), None)):
        hint = f"the published latencies as CSV: {files('perf') / 'reference' / 'latency.csv'}"
        raise UsageError(f"--show published prints the published tables: {option} cannot be combined with it", hint)


def check_files(charts: Path | None, html: Path | None, gpus: Sequence[str], show: str | None) -> None:
    """Raise an error if charts or a report could not be written, before anything is measured."""
    if html and show == "published":
        raise UsageError("--html needs a run and cannot be combined with --show published", "use --charts")
    if html and len(gpus) > 1 and show is None:
        raise UsageError(f"--html writes a report of one run, not of --gpu {','.join(gpus)}", "name one GPU")
    if charts and html and charts.absolute() == html.absolute():
        raise BadValue("charts", charts, "this is the path of the report", "name a folder")
    for folder in [path for path in (charts, html and html.parent) if path]:
        check_writable(folder)


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
        pairs = zip(runs, compared, strict=True)
        print_json([export.record(run, own, published(run.run.device.name)) for run, own in pairs])
    elif as_csv:
        rows = [export.row(run, result, published(run.run.device.name)) for run in runs for result in run.results]
        click.echo(export.table(rows), nl=False)
    else:
        for run, own in zip(runs, compared, strict=True):
            print_tables(run, own, metrics, as_parts=as_parts)
    for run in runs:
        for line in tables.reasons(run):
            logger.warning("%s", printable(line))
        logger.info("stored in %s", run.path)


def print_tables(run: Stored, comparisons: Sequence[Comparison], metrics: Sequence[str], *, as_parts: bool) -> None:
    """Print the tables of a run and of its comparisons."""
    if as_parts:
        print_table(tables.parts(run))
    else:
        for metric in METRICS:
            if metric.name in metrics:
                print_table(tables.latencies(run, metric))
        page = published(run.run.device.name)
        if page.latency_ms and COMPUTE.name in metrics:
            print_table(tables.reference(run, page))
        if run.run.request.baseline:
            print_table(tables.beside_bare(run))
    for comparison in comparisons:
        print_table(compare.ratios(run, comparison))


def print_table(shown: Table) -> None:
    """Print a table with its heading and the text below."""
    print_text(f"{shown.heading}:\n\n{shown.markdown}\n\n{shown.under}\n")


def print_published(gpus: Sequence[str]) -> None:
    """Print the published tables of some GPUs, or of all.

    Raises:
        UsageError: a GPU has no published table.
    """
    known = [target.name for target in targets.TARGETS if target.published]
    for gpu in [targets.find(gpu).name for gpu in gpus] or known:
        request.check_published(gpu)
        print_table(tables.published(published(gpu)))
