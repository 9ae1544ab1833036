"""perf_analyzer: its command line, and one process a point."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tritonclient.grpc as triton

from generator import samples
from generator.client import preprocessing_of, wire_type
from generator.errors import AnalyzerFailed, InferenceFailed, TritongenError
from generator.server.runtime import runtime
from generator.shell import run
from perf.results import Latency, Measurement, PerfPoint, parse_csv

if TYPE_CHECKING:
    from generator.samples import Array
    from generator.shell import Finished
    from generator.spec import ServedModel

UNSTABLE = 2  # exit status STABILITY_ERROR (perf_analyzer, src/constants.h)
STARTUP_S = 60.0


@dataclass(frozen=True)
class Plan:
    """How long a point is measured."""

    name: str
    warmup_requests: int
    arguments: tuple[str, ...]
    largest_request_count: int
    label: str


# fmt: off
PLANS = {
    plan.name: plan
    for plan in (
        Plan("quick", 1, ("--request-count=10",), 10, "10 requests after 1 to warm up, no test of stability"),
        Plan(
            "standard", 10,
            ("--measurement-mode=count_windows", "--measurement-request-count=50", "--stability-percentage=10",
             "--max-trials=10"), 500,
            "windows of 50 requests until three agree within 10 %, after 10 to warm up",
        ),
    )
}
# fmt: on


def analyzer() -> Path:
    """The perf_analyzer that tritonclient's wheel installs beside the interpreter.

    Raises:
        AnalyzerFailed: it is not there.
    """
    path = Path(sys.executable).parent / "perf_analyzer"
    if not path.exists():
        raise AnalyzerFailed("tritonclient installed none", "pip install 'tritonclient[grpc]==2.51.0'")
    return path


def command(program: Path, point: PerfPoint, url: str, plan: Plan, inputs: Path, report: Path) -> list[str]:
    """The line that measures a point; pure."""
    return [
        str(program),
        "-m", point.model,
        "-u", url,
        "-i", "grpc",
        "-b", str(point.batch_size),
        f"--concurrency-range={point.concurrency}",
        f"--input-data={inputs}",
        *plan.arguments,
        "--verbose-csv",
        "-f", str(report),
    ]  # fmt: skip


def measure(point: PerfPoint, model: ServedModel, url: str, plan: Plan) -> Measurement:
    """Warm up, run perf_analyzer once, read its report; whatever fails is the measurement's reason."""
    try:
        feeds = input_feeds(model)
        request_s = warm_up(point, model, feeds, url, plan.warmup_requests)
    except TritongenError as error:
        return Measurement(point, "failed", reason=str(error))
    with tempfile.TemporaryDirectory(prefix="tritongen-perf-") as folder:
        inputs, report = Path(folder) / "inputs.json", Path(folder) / "report.csv"
        inputs.write_text(input_data(feeds))
        line = command(analyzer(), point, url, plan, inputs, report)
        # Ten times what the requests should take: a process that hangs must not hold up the others.
        timeout_s = STARTUP_S + 10 * request_s * plan.largest_request_count
        try:
            return outcome(point, run(line, env=runtime().env, timeout_s=timeout_s), report)
        except subprocess.TimeoutExpired:
            return Measurement(point, "failed", reason=f"perf_analyzer did not end within {timeout_s:.0f} s")


def outcome(point: PerfPoint, done: Finished, report: Path) -> Measurement:
    """What perf_analyzer's exit status and report say."""
    if done.status == UNSTABLE:
        return Measurement(point, "unstable", reason="perf_analyzer found no three windows that agree")
    if done.status != 0:
        said = (done.stderr.strip() or done.stdout.strip() or "no word").splitlines()
        return Measurement(point, "failed", reason=f"perf_analyzer ended with {done.status}: {said[-1]}")
    try:
        return Measurement(point, "ok", latency=read(report))
    except (OSError, ValueError) as error:
        return Measurement(point, "failed", reason=str(error))


def read(report: Path) -> Latency:
    """The report's one row."""
    return parse_csv(report.read_text())


def input_feeds(model: ServedModel) -> dict[str, Array]:
    """What every row of a batch is, [*dims] an input: a photograph; never random bytes, which hold NaN.

    Raises:
        TritongenError: an input has no size of its own.
    """
    for spec in model.inputs:
        if any(dim < 1 for dim in spec.dims):
            raise TritongenError(f"{model.name} leaves dimensions of {spec.name!r} open")
    return {name: array[0] for name, array in samples.feeds(model.inputs, 1, preprocessing_of(model)).items()}


def input_data(feeds: dict[str, Array]) -> str:
    """perf_analyzer's JSON for one row: raw bytes, or the strings themselves."""
    tensors = {
        name: {"content": array.ravel().tolist(), "shape": list(array.shape)}
        if array.dtype == np.object_
        else {"content": {"b64": base64.b64encode(array.tobytes()).decode()}, "shape": list(array.shape)}
        for name, array in feeds.items()
    }
    return json.dumps({"data": [tensors]})


def warm_up(point: PerfPoint, model: ServedModel, feeds: dict[str, Array], url: str, requests: int) -> float:
    """Ask the server that often; the seconds of the slowest answer.

    Raises:
        InferenceFailed: it answers with an error.
    """
    asked = []
    for spec in model.inputs:
        row = feeds[spec.name]
        array = np.repeat(row[np.newaxis], point.batch_size, axis=0) if model.max_batch_size else row
        asked.append(triton.InferInput(spec.name, list(array.shape), wire_type(spec)))
        asked[-1].set_data_from_numpy(array)
    slowest = 0.0
    with triton.InferenceServerClient(url) as client:
        for _ in range(requests):
            begin = time.perf_counter()
            try:
                client.infer(point.model, asked)
            except triton.InferenceServerException as error:
                raise InferenceFailed(point.model, error.message()) from error
            slowest = max(slowest, time.perf_counter() - begin)
    return slowest
