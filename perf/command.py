"""`tritongen perf`."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from generator.commands.options import json_option, models_option, repository_option, split, url_option

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from perf.analyzer import Plan
    from perf.results import Metric
    from perf.sweep import Sweep


def numbers(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> tuple[int, ...]:
    """Batch sizes: whole numbers from 1, with commas or repeated."""
    sizes = split(_ctx, _param, values)
    if wrong := [size for size in sizes if not size.isdecimal() or int(size) < 1]:
        raise click.BadParameter(f"{wrong[0]!r} is not a whole number from 1")
    return tuple(dict.fromkeys(map(int, sizes)))


@click.command(name="perf", short_help="Measure latency, print the table.")
@click.option(
    "--gpu", "gpus", multiple=True, callback=split, metavar="NAMES",
    help="What the server runs on: v100, t4 or cpu.  [default: this machine's]",
)  # fmt: skip
@models_option("Models to measure, of those that are served.")
@click.option(
    "--precision", "precisions", multiple=True, callback=split, metavar="NAMES",
    help="fp16, fp32 or both.  [default: what the published table of that GPU has]",
)  # fmt: skip
@click.option(
    "--batch-sizes",
    "-b",
    multiple=True,
    default=("1,4,8",),
    show_default="1,4,8",
    callback=numbers,
    metavar="SIZES",
)
@click.option(
    "--measurement", type=click.Choice(["quick", "standard"], case_sensitive=False), default="standard",
    show_default=True, help="quick: 10 requests a point. standard: windows of 50 until three agree within 10 %.",
)  # fmt: skip
@click.option(
    "--metric", "metric_names", type=click.Choice(["compute", "server", "p50", "p99"]), multiple=True,
    default=("compute",), show_default="compute",
    help="One table each: server compute, server total, client p50, client p99.",
)  # fmt: skip
@url_option
@repository_option("What is served where no Triton runs.")
@json_option
def command(
    *,
    gpus: tuple[str, ...],
    models: tuple[str, ...],
    precisions: tuple[str, ...],
    batch_sizes: tuple[int, ...],
    measurement: str,
    metric_names: tuple[str, ...],
    url: str | None,
    repository: Path,
    as_json: bool,
) -> int:
    """Measure served models with perf_analyzer and print the latency table.

    \b
    Example:
      tritongen perf --gpu cpu --models densenet121 --measurement quick
    """
    from generator import console
    from perf import device as devices
    from perf.analyzer import PLANS
    from perf.results import METRICS
    from perf.sweep import Request, sweep

    plan = PLANS[measurement.lower()]
    source = click.get_current_context().get_parameter_source("batch_sizes")
    exact = source == click.core.ParameterSource.COMMANDLINE
    asked = [gpu.lower() for gpu in gpus] or [devices.default_device()]
    requests = [
        Request(device, devices.precisions_of(device, precisions), models, batch_sizes, repository, url, exact)
        for device in dict.fromkeys(asked)
    ]
    sweeps = []
    for request in requests:
        with progress() as on_point:
            sweeps.append(sweep(request, plan, say=console.say, on_point=on_point))
    if as_json:
        print_json(sweeps, plan)
    else:
        chosen = [metric for metric in METRICS if metric.name in metric_names]
        for done in sweeps:
            print_tables(done, plan, chosen)
    return 0 if all(m.status == "ok" for done in sweeps for m in done.measurements) else 1


def print_tables(sweep: Sweep, plan: Plan, metrics: list[Metric]) -> None:
    """A table a metric, then what they were measured on and how."""
    from datetime import UTC, datetime

    from generator.console import say
    from perf import table

    for metric in metrics:
        click.echo(f"{metric.label}, ms, on {sweep.device_label}:\n")
        click.echo(f"{table.markdown(sweep, metric)}\n")
    weights = {model.parameters.get("tritongen.weights", "not stated") for model in sweep.models}
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    click.echo(
        f"Measured {when} by perf_analyzer 2.51.0 over gRPC at concurrency 1 on {sweep.server}: {plan.label}. "
        f"Weights: {', '.join(sorted(weights))}."
    )
    for line in table.reasons(sweep):
        say(line)


def print_json(sweeps: list[Sweep], plan: Plan) -> None:
    """Every measurement with what it was made on."""
    import dataclasses
    import json

    records = [
        {
            "device": done.device_label,
            "measurement": plan.label,
            **dataclasses.asdict(measured.point),
            "status": measured.status,
            "reason": measured.reason,
            "latency": dataclasses.asdict(measured.latency) if measured.latency else None,
        }
        for done in sweeps
        for measured in done.measurements
    ]
    click.echo(json.dumps(records, indent=2))


@contextmanager
def progress() -> Iterator[Callable[[int, int, str], None]]:
    """A bar with the time left on a terminal, a line a point elsewhere."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from generator import console

    err = console.err()
    if not err.is_terminal:
        yield lambda done, total, what: console.say(f"[{done + 1}/{total}] {what}") if what else None
        return
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    bar = Progress(*columns, console=err, transient=True)
    task = bar.add_task("", total=None)

    def on_point(done: int, total: int, what: str) -> None:
        bar.start()  # not before: messages about the server come first
        bar.update(task, completed=done, total=total, description=what)

    try:
        yield on_point
    finally:
        bar.stop()
