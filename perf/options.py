"""The options of `tritongen perf` that no other command has."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from generator.commands.click_options import host_and_port, split
from perf.measure.plans import MEASUREMENTS, PLANS, PROFILES
from perf.runs.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Callable

    Command = Callable[..., Any]

RESULTS = Path("perf/results")


def counts(measurement: str) -> str:
    """`quick 10 (published: 50)`: the requests of a round."""
    production, published = (PLANS[profile, measurement].requests for profile in PROFILES)
    return f"{measurement} {production} (published: {published:,})"


def numbers(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> tuple[int, ...]:
    """Whole numbers from 1, with commas or repeated."""
    given = split(_ctx, _param, values)
    if not given:
        raise click.BadParameter("it names no number")
    if wrong := [number for number in given if not number.isdecimal() or not 1 <= int(number) <= 1 << 20]:
        raise click.BadParameter(f"{wrong[0]!r} is not a whole number from 1")
    return tuple(dict.fromkeys(map(int, given)))


def choice(*names: str) -> click.Choice[str]:
    """One of them, in any letter case."""
    return click.Choice(names, case_sensitive=False)


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


class NamedPath(click.Path):
    """A path that is not empty: an empty one would be the working directory."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401 (click's)
        """As click does."""
        if value == "":
            self.fail("it is empty", param, ctx)
        return super().convert(value, param, ctx)


# fmt: off
WHAT = (
    click.option("--gpu", "gpus", multiple=True, callback=split, metavar="NAMES",
                 help="What the server runs on: v100, t4 or cpu.  [default: this machine's]"),
    click.option("--precision", "precisions", multiple=True, callback=split, metavar="NAMES",
                 help="fp16, fp32 or both.  [default: what the published table of that GPU has]"),
    click.option("--batch-sizes", "-b", multiple=True, default=("1,4,8",), show_default="1,4,8", callback=numbers,
                 metavar="SIZES", help="Images a request."),
    click.option("--concurrency", "concurrencies", multiple=True, default=("1",), show_default="1", callback=numbers,
                 metavar="COUNTS", help="Requests under way at a time; the counts of a round are of each."),
)
HOW = (
    click.option("--profile", type=choice(*PROFILES), default="production", show_default=True,
                 help="production: the repository as it is. published: a server a batch size, for it alone, as the "
                 "published tables were timed."),
    click.option("--measurement", type=choice(*MEASUREMENTS), default="standard", show_default=True,
                 help=f"Requests a round: {', '.join(map(counts, MEASUREMENTS))}."),
    click.option("--time-limit", "time_limit_s", type=Duration(), metavar="DURATION",
                 help="Measure every point once, then spend the rest of this time, such as 90s, 2m or 1h, on points "
                 "that did not settle. It holds for each GPU and includes the server's start."),
    click.option("--strict", is_flag=True, help="Exit 1 if a point did not settle."),
    click.option("--protocol", type=choice("grpc", "http"), default="grpc", show_default=True),
    click.option("--shared-memory", type=choice("none", "system", "cuda"), default="none", show_default=True,
                 help="How tensors reach a server on this host."),
    click.option("--baseline", is_flag=True, help="In turn with the server, the model in ONNX Runtime alone."),
    click.option("--http-url", metavar="HOST:PORT", callback=host_and_port,
                 help="HTTP address of the Triton at --url.  [default: the port before gRPC's]"),
    click.option("--image-tag", metavar="TAG", help="Image of a server on a GPU that is started for this command."),
    click.option("--perf-analyzer", "program", type=click.Path(path_type=Path), metavar="FILE",
                 help="Another perf_analyzer than the one of tritonclient."),
    click.option("--patience", "patience_s", type=click.FloatRange(min=1), default=300.0, show_default="300",
                 metavar="SECONDS", help="Give a perf_analyzer up when the server has answered nothing for that long."),
)
RUNS = (
    click.option("--results", type=click.Path(path_type=Path, file_okay=False), default=RESULTS, show_default=True,
                 metavar="DIR", help="Where runs are kept."),
    click.option("--resume", is_flag=True, help="Go on with the newest run like this one, where it stopped."),
    click.option("--show", metavar="RUN",
                 help="Measure nothing: print a run of before. A name, a file, `last`, or `published`."),
    click.option("--compare", "others", multiple=True, metavar="RUN", help="Beside a run of before, or `published`."),
    click.option("--fail-above", type=click.FloatRange(min=0, min_open=True), metavar="RATIO",
                 help="With --compare: exit 1 where the mean ratio, or that of a cell shown slower, is above."),
)
TABLES = (
    click.option("--metric", "metric_names", type=choice(*(metric.name for metric in METRICS)), multiple=True,
                 default=("compute",), show_default="compute",
                 help="One table each: server compute, server total, client p50, client p99."),
    click.option("--parts", "as_parts", is_flag=True, help="Print where a request's time goes instead."),
    click.option("--csv", "as_csv", is_flag=True, help="Print CSV."),
    click.option("--charts", type=NamedPath(path_type=Path, file_okay=False), metavar="DIR",
                 help="Draw the charts there as well, each as SVG and PNG."),
    click.option("--html", type=NamedPath(path_type=Path, dir_okay=False), metavar="FILE",
                 help="Write a report as well: one file with tables, charts, comparisons and certificates."),
)
# fmt: on


def options(*groups: tuple[Callable[[Command], Command], ...]) -> Callable[[Command], Command]:
    """Options in the order that they are given in."""

    def decorate(command: Command) -> Command:
        for option in reversed([option for group in groups for option in group]):
            command = option(command)
        return command

    return decorate
