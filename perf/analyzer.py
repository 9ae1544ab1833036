"""perf_analyzer: its command line, and one process a point."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tritonclient.grpc as triton

from generator import image
from generator.client import preprocessing_of
from generator.errors import AnalyzerFailed
from generator.server.runtime import runtime
from generator.shell import run
from perf.results import Latency, Measurement, PerfPoint, parse_csv

if TYPE_CHECKING:
    import numpy.typing as npt

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
    row = input_row(model)
    try:
        request_s = warm_up(point, model, row, url, plan.warmup_requests)
    except triton.InferenceServerException as error:
        return Measurement(point, "failed", reason=error.message())
    with tempfile.TemporaryDirectory(prefix="tritongen-perf-") as folder:
        inputs, report = Path(folder) / "inputs", Path(folder) / "report.csv"
        inputs.mkdir()
        # The file of a batch of one, named after the input.
        row.tofile(inputs / model.inputs[0].name)
        line = command(analyzer(), point, url, plan, inputs, report)
        # Ten times what the requests should take: a process that hangs must not hold up the others.
        timeout_s = STARTUP_S + 10 * request_s * plan.largest_request_count
        try:
            done = run(line, env=runtime().env, timeout_s=timeout_s)
        except subprocess.TimeoutExpired:
            return Measurement(point, "failed", reason=f"perf_analyzer did not end within {timeout_s:.0f} s")
        if done.status == UNSTABLE:
            return Measurement(point, "unstable", reason="perf_analyzer found no three windows that agree")
        if done.status != 0:
            said = (done.stderr.strip() or done.stdout.strip()).splitlines()
            return Measurement(
                point,
                "failed",
                reason=f"perf_analyzer ended with {done.status}: {said[-1] if said else 'no word'}",
            )
        try:
            return Measurement(point, "ok", latency=read(report))
        except (OSError, ValueError) as error:
            return Measurement(point, "failed", reason=str(error))


def read(report: Path) -> Latency:
    """The report's one row."""
    return parse_csv(report.read_text())


def input_row(model: ServedModel) -> npt.NDArray[np.float32]:
    """What every image of a batch is: a photograph, never random bytes, which hold NaN and denormals."""
    photograph = image.tensor(image.load(image.PHOTOGRAPHS[0]), preprocessing_of(model.parameters))
    if photograph.shape != model.inputs[0].dims:
        return np.zeros(model.inputs[0].dims, np.float32)
    return photograph


def warm_up(point: PerfPoint, model: ServedModel, row: npt.NDArray[np.float32], url: str, requests: int) -> float:
    """Ask the server that often; the seconds of the slowest answer."""
    batch = np.repeat(row[np.newaxis], point.batch_size, axis=0)
    asked = triton.InferInput(model.inputs[0].name, list(batch.shape), "FP32")
    asked.set_data_from_numpy(batch)
    slowest = 0.0
    with triton.InferenceServerClient(url) as client:
        for _ in range(requests):
            begin = time.perf_counter()
            client.infer(point.model, [asked])
            slowest = max(slowest, time.perf_counter() - begin)
    return slowest
