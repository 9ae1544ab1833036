"""What `tritongen perf` prints: tables with what they were measured on, or data."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

import click

from generator import targets
from generator.console import say
from generator.errors import UsageError
from perf import asked, compare, exported, reference, table
from perf.metrics import COMPUTE, METRICS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from perf.compare import Comparison
    from perf.store import Stored


def check_format(*, as_json: bool, as_csv: bool, as_parts: bool, comparing: bool, show: str | None) -> None:
    """Raise UsageError where two forms were asked for, or one that what is printed does not have."""
    asked = [name for name, wanted in (("--json", as_json), ("--csv", as_csv), ("--parts", as_parts)) if wanted]
    if len(asked) > 1:
        raise UsageError(f"{asked[0]} and {asked[1]} cannot go together", "CSV and JSON have the parts")
    if as_csv and comparing:
        raise UsageError("--csv and --compare cannot go together", "--json has comparisons")
    if show == "published" and (asked or comparing):
        other = asked[0] if asked else "--compare"
        hint = f"the figures as CSV: {files('perf') / 'reference' / 'latency.csv'}"
        raise UsageError(f"--show published prints the published tables: {other} cannot go with it", hint)


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
        asked.check_published(run.run.device.name)
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
        import json

        pairs = zip(runs, compared, strict=True)
        records = [exported.record(run, of_run, reference.published(run.run.device.name)) for run, of_run in pairs]
        click.echo(json.dumps(records, indent=2))
    elif as_csv:
        rows = [
            exported.row(run, found, reference.published(run.run.device.name)) for run in runs for found in run.results
        ]
        click.echo(exported.table(rows), nl=False)
    else:
        for run, of_run in zip(runs, compared, strict=True):
            print_tables(run, of_run, metrics, as_parts=as_parts)
    for run in runs:
        for line in table.reasons(run):
            say(table.plain(line))
        say(f"kept in {run.path}")


def print_tables(run: Stored, comparisons: Sequence[Comparison], metrics: Sequence[str], *, as_parts: bool) -> None:
    """Each under its name, and under it what it was measured on, how, and when."""
    on, label = table.measured_on(run), table.plain(run.run.device.label)
    if as_parts:
        print_table(f"Parts of a request, µs, on {label}", table.parts(run), on)
    for metric in () if as_parts else METRICS:
        if metric.name in metrics:
            print_table(f"{metric.label}, ms, on {label}", table.latencies(run, metric), on)
    published = reference.published(run.run.device.name)
    if published.latency_ms and COMPUTE.name in metrics and not as_parts:
        heading = f"Published, ms, on a {run.run.device.name.upper()}"
        print_table(heading, table.reference(run, published), f"{reference.SOURCE}.")
    if run.run.request.baseline and not as_parts:
        threads = sorted({repeat.bare.threads for repeat in run.repeats if repeat.bare})
        said = f"ONNX Runtime alone, in turn with the server, on {', '.join(map(str, threads)) or 'no'} threads"
        print_table(f"{said}; and how often as long the server takes", table.beside_bare(run), on)
    for comparison in comparisons:
        heading = f"{comparison.metric.label}: {comparison.this} over {comparison.other}"
        print_table(heading, compare.markdown(run, comparison), compare.summary(comparison))


def print_table(heading: str, text: str, under: str) -> None:
    """One of them."""
    click.echo(f"{heading}:\n\n{text}\n\n{under}\n")


def print_published(gpus: Sequence[str]) -> None:
    """The published tables themselves.

    Raises:
        UsageError: the page has none of that GPU.
    """
    known = [target.name for target in targets.TARGETS if target.published]
    for gpu in [targets.find(gpu).name for gpu in gpus] or known:
        asked.check_published(gpu)
        text = table.published(reference.published(gpu))
        print_table(f"Published, ms, on a {gpu.upper()}", text, f"{reference.SOURCE}.")
