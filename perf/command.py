"""`tritongen perf`."""

from __future__ import annotations

import itertools
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from generator.commands.click_options import Command
from perf.options import MEASURED_MODELS, METHOD, OUTPUT, RUNS, SERVER

if TYPE_CHECKING:
    from generator.repository.s3.url import S3Url
    from perf.runs.compare import Comparison
    from perf.runs.store import Stored

logger = logging.getLogger(__name__)

# The fields of a request by parameter; the other parameters concern this call only.
MEASURED = {
    "gpus": "device", "models": "models", "precisions": "precisions", "batch_sizes": "batch_sizes",
    "concurrencies": "concurrencies", "profile": "profile", "measurement": "measurement", "protocol": "protocol",
    "shared_memory": "shared_memory", "baseline": "baseline", "url": "url", "http_url": "http_url",
    "repository": "repository", "image_tag": "image_tag",
}  # fmt: skip


@click.command(
    name="perf",
    cls=Command,
    short_help="Measure latency, print the table.",
    exclusive=(("as_json", "as_csv"), ("as_json", "as_parts"), ("as_csv", "as_parts"), ("as_csv", "others")),
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
    **measured: Any,  # noqa: ANN401 (click's values of MEASURED)
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
    from perf import artifacts, output, progress, request
    from perf.runs import compare, store

    output.check_format(as_json=as_json, as_csv=as_csv, as_parts=as_parts, comparing=bool(others), show=show)
    request.check_compared(fail_above=fail_above, others=others, metrics=metric_names)
    output.check_files(charts, html, measured["gpus"], show)
    check_folder(measured["repository"])
    given = given_options(ctx)
    if show is not None:
        refuse_measuring(given, reporting=html is not None)
    if show == "published":
        output.print_published(measured["gpus"])
        if charts:
            artifacts.draw_published(charts, measured["gpus"])
        return 0
    earlier = [None if name == "published" else store.read(store.find(results, name)) for name in others]
    if show is not None:
        runs = [store.read(store.find(results, show))]
    else:
        wanted = request.requests(**measured, exact="batch_sizes" in given)
        for one in wanted:
            request.check(one, others)
        # Without options about what is measured, --resume continues the newest run.
        fields = set(MEASURED.values()) if any(name in MEASURED for name in given) else set()
        runs = request.measured(
            wanted, results, program, patience_s, time_limit_s, fields if resume else None, progress.shown
        )
    if "published" in others:
        for run in runs:
            request.check_published(run.run.device.name)
    compared = [compare.comparisons(run, earlier, metric_names) for run in runs]
    output.print_runs(runs, compared, metric_names, as_parts=as_parts, as_csv=as_csv, as_json=as_json)
    if charts:
        artifacts.draw(charts, runs, metric_names)
    if html:
        repository = measured["repository"] if "repository" in given else None
        artifacts.report(html, runs[0], compared[0], metric_names, results, repository)
    failed = slower(compared, fail_above)
    return failed if show is not None else failed | marked(runs, strict=strict)


def check_folder(repository: Path | S3Url) -> None:
    """Raise BadValue if the repository is not a folder."""
    from generator.errors import BadValue

    if not isinstance(repository, Path):
        hint = f"`tritongen serve {repository}` serves it, and perf attaches to that server"
        raise BadValue("repository", repository, "perf works with folders only", hint)


def given_options(ctx: click.Context) -> dict[str, str]:
    """Return the given parameters about measuring, with their options."""
    return {
        param.name: param.opts[0]
        for param in ctx.command.params
        if param.name in (*MEASURED, "resume", "program", "patience_s", "time_limit_s", "strict")
        and ctx.get_parameter_source(param.name) is click.core.ParameterSource.COMMANDLINE
    }


def refuse_measuring(given: dict[str, str], *, reporting: bool) -> None:
    """Raise UsageError if --show came with an option about measuring; a report reads certificates from --repository."""
    from generator.errors import UsageError

    for name, option in given.items():
        if name != "gpus" and not (name == "repository" and reporting):  # --gpu selects published tables
            raise UsageError(f"--show measures nothing: {option} cannot be combined with it", "leave out one of them")


def marked(runs: list[Stored], *, strict: bool) -> int:
    """Return 1 if a point failed or, if `strict`, did not settle; log how many did not settle."""
    results = [result for run in runs for result in run.results]
    if unstable := sum(result.status == "unstable" for result in results):
        more = ": --resume measures more rounds" if any(run.due for run in runs) else ""
        logger.warning("%d of %d points did not settle and are marked as unstable%s", unstable, len(results), more)
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
