"""The options of `tritongen perf` that no other command has."""

import re
from pathlib import Path
from typing import Any

import click

from generator.commands.click_options import (
    choice_option,
    group,
    host_and_port,
    json_option,
    list_option,
    option,
    path_option,
    repository_option,
    url_option,
)
from perf.measure.plans import MEASUREMENTS, PLANS, PROFILES
from perf.runs.metrics import METRICS

RESULTS = Path("perf/results")


def counts(measurement: str) -> str:
    """`quick 10 (published: 50)`: the requests of a round."""
    production, published = (PLANS[profile, measurement].requests for profile in PROFILES)
    return f"{measurement} {production} (published: {published:,})"


class Duration(click.ParamType[float]):
    """A duration with its unit, as seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:  # noqa: ANN401 (click's)
        """Return the seconds of a text such as 90s, 2m or 1h."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|h)", str(value).strip().lower())
        seconds = float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]] if found else 0.0
        if not 0 < seconds < float("inf"):
            self.fail(f"{value!r} is not a duration, such as 90s, 2m or 1h", param, ctx)
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
                  help=f"Requests per round: {', '.join(map(counts, MEASUREMENTS))}."),
    option("--time-limit", "time_limit_s", type=Duration(), metavar="DURATION",
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
    path_option("--results", metavar="DIR", default=RESULTS, help="Folder of the stored runs."),
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
