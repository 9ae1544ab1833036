"""`tritongen perf` and its options."""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from generator.commands.click_options import (
    Command,
    choice_option,
    given_params,
    group,
    host_and_port,
    json_option,
    list_option,
    option,
    path_option,
    repository_option,
    url_option,
)
from generator.commands.console import flag
from generator.errors import BadValue, UsageError
from perf.runs.types import MEASUREMENTS, METRICS, PLANS, PROFILES

if TYPE_CHECKING:
    from perf.runs.compare import Comparison
    from perf.runs.store import Stored

logger = logging.getLogger(__name__)


# Such as `quick 10 (published: 50)`: the requests of a round.
COUNTS = [
    f"{name} {PLANS['production', name].requests} (published: {PLANS['published', name].requests:,})"
    for name in MEASUREMENTS
]


def duration_s(_ctx: click.Context, _param: click.Parameter, value: str | None) -> float | None:
    """Return the seconds of a text such as 90s, 2m or 1h."""
    if value is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|h)", value.strip().lower())
    seconds = float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]] if found else 0.0
    if not 0 < seconds < float("inf"):
        raise click.BadParameter(f"{value!r} is not a duration, such as 90s, 2m or 1h")
    return seconds


# fmt: off
MEASURED_MODELS = group(
    "What is measured",
    list_option("--models", "-m", default="all", help="Models to measure: names, glob patterns, or all."),
    list_option("--gpu", "gpus", show_default="GPU of this machine, else cpu",
                help="Devices that the server runs on: v100, t4, cpu."),
    list_option("--precision", "precisions", show_default="those of the published table of the GPU",
                help="Precisions to measure: fp16, fp32, or all."),
    list_option("--batch-sizes", "-b", numbers=True, default="1,4,8", help="Images per request."),
    list_option("--concurrency", "concurrencies", numbers=True, default="1",
                help="Requests that are sent at the same time; request counts are multiplied by it."),
)
METHOD = group(
    "How it is measured",
    choice_option("--profile", choices=PROFILES, default="production",
                  help="production: the repository as it is. published: one server per batch size, with models for "
                  "that batch size only, as the published tables were measured."),
    choice_option("--measurement", choices=tuple(MEASUREMENTS), default="standard",
                  help=f"Requests per round: {', '.join(COUNTS)}."),
    option("--time-limit", "time_limit_s", callback=duration_s, metavar="DURATION",
           help="Measure every point once, then spend the rest of this time, such as 90s, 2m or 1h, on points that did "
           "not settle. It holds for each GPU and includes the start of the server."),
    option("--strict", is_flag=True, help="Exit with status 1 if a point did not settle."),
    choice_option("--protocol", choices=("grpc", "http"), default="grpc", help="Protocol of the requests."),
    choice_option("--shared-memory", choices=("none", "system", "cuda"), default="none",
                  help="How tensors reach a server on this host."),
    option("--baseline", is_flag=True, help="Also measure each model in ONNX Runtime alone, in turn with the server."),
    path_option("--perf-analyzer", "program", show_default="the one of tritonclient", help="The perf_analyzer to use."),
    option("--patience", "patience_s", type=click.FloatRange(min=1), default=300.0, show_default="300",
           metavar="SECONDS", help="Stop a perf_analyzer if the server has answered nothing for this long."),
)
SERVER = group(
    "Server",
    url_option,
    option("--http-url", metavar="HOST:PORT", callback=host_and_port, show_default="the port before the gRPC port",
           help="HTTP address of the Triton at --url."),
    repository_option("--repository", metavar="DIR", help="The model repository to serve if no Triton runs."),
    option("--image-tag", metavar="YY.MM", show_default="the default of the GPU",
           help="Release of the tritonserver image that is started on a GPU."),
)
RUNS = group(
    "Runs",
    path_option("--results", metavar="DIR", default=Path("perf/results"), help="Folder of the stored runs."),
    option("--resume", is_flag=True, help="Continue the newest run with these options."),
    option("--show", metavar="RUN",
           help="Measure nothing; print a stored run: a name, a file, `last`, or `published`."),
    option("--compare", "others", multiple=True, metavar="RUN",
           help="Compare with an earlier run, or with `published`; may be repeated."),
    option("--fail-above", type=click.FloatRange(min=0, min_open=True), metavar="RATIO",
           help="With --compare: exit with status 1 if the mean ratio, or the ratio of a cell that is shown as slower, "
           "is above this."),
)
OUTPUT = group(
    "Output",
    choice_option("--metric", "metric_names", choices=[metric.name for metric in METRICS], multiple=True,
                  default=("compute",), show_default="compute",
                  help="Metric of a table; repeat it for more: server compute, server total, client p50, client p99."),
    option("--parts", "as_parts", is_flag=True, help="Print where the time of a request goes instead."),
    option("--csv", "as_csv", is_flag=True, help="Print CSV."),
    json_option,
    path_option("--charts", metavar="DIR", help="Also draw charts into this folder, as SVG and PNG."),
    path_option("--html", help="Also write a report: one file with tables, charts, comparisons and certificates."),
)
# fmt: on


@click.command(
    name="perf",
    cls=Command,
    short_help="Measure latency, print the table.",
    exclusive=(("as_json", "as_csv", "as_parts"), ("as_csv", "others")),
)
@MEASURED_MODELS
@METHOD
@SERVER
@RUNS
@OUTPUT
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    results: Path,
    resume: bool,
    show: str | None,
    others: tuple[str, ...],
    fail_above: float | None,
    metric_names: tuple[str, ...],
    as_parts: bool,
    as_csv: bool,
    as_json: bool,
    charts: Path | None,
    html: Path | None,
    program: Path | None,
    patience_s: float,
    time_limit_s: float | None,
    strict: bool,
    **measured: Any,  # noqa: ANN401 (a field of Request each)
) -> int:
    """Measure served models with perf_analyzer and print the latency table.

    Every round is stored in the file of the run as soon as it is measured. Each value is the median of the three
    fastest rounds, which must agree within 5 %.

    The exit status is 1 if a point failed; --strict makes it 1 too if a point's rounds do not agree.

    \b
    Example:
      tritongen perf --gpu cpu --models densenet121 --measurement quick
      tritongen perf --gpu cpu --time-limit 2m
      tritongen perf --gpu t4 --profile published --compare published
      tritongen perf --show last --charts charts --html report.html
      tritongen perf --show last --compare 20261124T101500Z --fail-above 1.10
    """
    from perf import output, request
    from perf.runs import compare, store

    given = given_params(ctx)
    check_call(given, show, measured)
    request.check_compared(fail_above=fail_above, others=others, metrics=metric_names)
    if charts and html and charts.absolute() == html.absolute():
        raise BadValue("charts", charts, "this is the path of the report", "name a folder")
    for folder in filter(None, (charts, html and html.parent)):
        store.check_writable(folder)
    if show == "published":
        output.print_published(measured["gpus"])
        if charts:
            from perf.charts import content, draw

            draw.write(charts, content.published_charts(measured["gpus"]))
        return 0
    earlier = [None if name == "published" else store.read(store.find(results, name)) for name in others]
    if show is not None:
        runs = [store.read(store.find(results, show))]
    else:
        wanted = request.requests(**measured, exact="batch_sizes" in given)
        for one in wanted:
            request.check(one, others)
        # Without options about what is measured, --resume continues the newest run.
        fields = {"device" if name == "gpus" else name for name in measured if measured.keys() & given.keys()}
        runs = request.measured(
            wanted, results, program, patience_s, time_limit_s, fields if resume else None, output.progress
        )
    for run in runs if "published" in others else ():
        request.check_published(run.run.device.name)
    compared = [compare.comparisons(run, earlier, metric_names) for run in runs]
    output.print_runs(runs, compared, metric_names, as_parts=as_parts, as_csv=as_csv, as_json=as_json)
    if charts:
        write_charts(charts, runs, metric_names)
    if html:
        from perf import html as report

        repository = measured["repository"] if "repository" in given else None
        report.write(html, runs[0], compared[0], metric_names, results, repository)
    failed = slower(compared, fail_above)
    return failed if show is not None else failed | marked(runs, strict=strict)


def write_charts(folder: Path, runs: Sequence[Stored], metric_names: Sequence[str]) -> None:
    """Write the charts of runs; several runs have one folder per device."""
    from perf.charts import content, draw  # matplotlib and torch take seconds to import

    for run in runs:
        draw.write(folder / run.run.device.name if len(runs) > 1 else folder, content.run_charts(run, metric_names))


def check_call(given: dict[str, click.Parameter], show: str | None, measured: dict[str, Any]) -> None:
    """Raise UsageError if the given options do not go together.

    With --show, --gpu selects published tables, and a report reads its certificates from --repository.
    """
    if not isinstance(repository := measured["repository"], Path):
        hint = f"`tritongen serve {repository}` serves it, and perf attaches to that server"
        raise BadValue("repository", repository, "perf works with folders only", hint)
    if show is None:
        if "html" in given and len(measured["gpus"]) > 1:
            several = ",".join(measured["gpus"])
            raise UsageError(f"--html writes a report of one run, not of --gpu {several}", "name one GPU")
        return
    csv = f"the published latencies as CSV: {files('perf') / 'reference' / 'latency.csv'}"
    need_a_run = {"html": "use --charts", "as_json": csv, "as_csv": csv, "as_parts": csv, "others": csv}
    measuring = {*measured, "resume", "program", "patience_s", "time_limit_s", "strict"} - {"gpus"}
    if "html" in given:
        measuring.remove("repository")
    for name, param in given.items():
        why = f"{flag(param)} cannot be combined with it"
        if show == "published" and name in need_a_run:
            raise UsageError(f"--show published prints the published tables: {why}", need_a_run[name])
        if name in measuring:
            raise UsageError(f"--show measures nothing: {why}", "leave out one of them")


def marked(runs: list[Stored], *, strict: bool) -> int:
    """Return 1 if a point failed or, if `strict`, did not settle; log how many did not settle."""
    results = [result for run in runs for result in run.results]
    if unstable := sum(result.status == "unstable" for result in results):
        again = "they have had all their rounds; a new run on a less busy machine may settle them"
        more = "--resume measures more rounds" if any(run.due for run in runs) else again
        logger.warning("%d of %d points did not settle and are marked as unstable: %s", unstable, len(results), more)
    return int(any(result.status == "failed" or (strict and result.status == "unstable") for result in results))


def slower(compared: list[list[Comparison]], fail_above: float | None) -> int:
    """Return 1 if a comparison exceeds the limit or has no cells; log each reason."""
    if fail_above is None:
        return 0
    reasons = []
    for comparison in itertools.chain(*compared):
        mean = comparison.geometric_mean
        cells = comparison.above(fail_above)
        reasons += [f"{cell.point} is {cell.ratio:.3f} times {comparison.other}" for cell in cells]
        if mean is None:
            reasons.append("there is no point to compare")
        elif mean > fail_above:
            reasons.append(f"the geometric mean is {mean:.3f}")
    for reason in reasons:
        logger.warning("--fail-above %s: %s", fail_above, reason)
    return int(bool(reasons))
