"""perf_analyzer: its input, its command line, one process of it, and its report."""

import base64
import csv
import io
import json
import os
import re
import tempfile
import time
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from generator.errors import AnalyzerFailed, BadValue, ServerUnreachable, TritongenError, quoted
from generator.server.client import preprocessing_of
from generator.server.embedded.runtime import PERF_ANALYZER, runtime
from generator.server.probe import ServedModel
from generator.system.processes import Child, run
from generator.verify import samples
from perf.runs.types import PerfPoint, Plan, Protocol, Report, SharedMemory, Status

NAME = "Perf Analyzer Version "
UNSTABLE = 2  # exit status STABILITY_ERROR (perf_analyzer, src/constants.h)
POLL_S = 5.0
STOP_GRACE_S = 2.0
# perf_analyzer 2.51 sometimes loses an answer of a fast model (4 of 452 processes on a model of 1 ms) and waits for it
# forever. A process that had answers and stalls is therefore started again.
TRIES = 3
STALL_S = 30.0
COLUMNS = {column.metadata["column"]: column for column in fields(Report) if column.metadata}


@dataclass(frozen=True)
class Analyzer:
    """A perf_analyzer and its options; a process is stopped if the server has answered nothing for `patience_s`."""

    program: Path
    version: str
    protocol: Protocol = "grpc"
    shared_memory: SharedMemory = "none"
    patience_s: float = 300.0


@dataclass(frozen=True)
class Outcome:
    """The outcome of a process: a report or a reason. A `stalled` process had answers and did not end."""

    status: Status
    command: tuple[str, ...]
    seconds: float = 0.0
    report: Report | None = None
    reason: str = ""
    stalled: bool = False


def find(program: Path | None) -> tuple[Path, str]:
    """Return the path and version of a perf_analyzer: the given one, else the one in tritonclient's wheel.

    Raises:
        AnalyzerFailed: it is not installed, or does not start.
        BadValue: the given file is not perf_analyzer.
    """
    path = program or PERF_ANALYZER

    def unusable(why: str) -> TritongenError:
        hint = "name the program itself, such as the perf_analyzer of Triton's SDK image"
        return BadValue("program", path, why, hint) if program else AnalyzerFailed(f"{path}: {why}")

    if not path.is_file():
        if not program:
            raise AnalyzerFailed("tritonclient installed none", "pip install 'tritonclient[grpc]==2.51.0'")
        raise unusable("there is no such file")
    if not os.access(path, os.X_OK):
        raise unusable("not a program")
    try:
        done = run([str(path), "--version"], env=runtime().env, timeout_s=30)
    except OSError as error:
        raise AnalyzerFailed(f"{path}: {error.strerror}") from error
    lines = (done.stdout or done.stderr).strip().splitlines()
    if done.returncode != 0 or not lines or not lines[0].startswith(NAME):
        first = quoted(lines[0]) if lines else "nothing"
        raise unusable(f"--version ended with {done.returncode} and printed {first}")
    return path, lines[0].removeprefix(NAME).removesuffix(" (commit unknown)")


def input_row(model: ServedModel) -> dict[str, np.ndarray[Any, Any]]:
    """Return one row of a batch, an array of [*dims] per input: a photograph or other real values, never random bytes.

    Random bytes contain NaN. A TritongenError is raised if an input has dimensions of any size.
    """
    for spec in model.inputs:
        if any(dim < 1 for dim in spec.dims):
            raise TritongenError(f"{model.name} leaves dimensions of {spec.name!r} open")
    return {name: array[0] for name, array in samples.feeds(model.inputs, 1, preprocessing_of(model)).items()}


def analyzer_json(row: dict[str, np.ndarray[Any, Any]]) -> str:
    """Return perf_analyzer's JSON for a row: strings as they are, other values as base64."""

    def content(array: np.ndarray[Any, Any]) -> object:
        if array.dtype == np.object_:
            return array.ravel().tolist()
        return {"b64": base64.b64encode(array.tobytes()).decode()}

    inputs = {name: {"content": content(array), "shape": array.shape} for name, array in row.items()}
    return json.dumps({"data": [inputs]})


def command(analyzer: Analyzer, point: PerfPoint, url: str, plan: Plan, inputs: Path, report: Path) -> list[str]:
    """Return the command line that measures a point once; pure.

    The counts are multiplied by the concurrency: perf_analyzer 2.51 hangs if there are fewer warm-up requests than
    requests at a time.
    """
    shared = [] if analyzer.shared_memory == "none" else [f"--shared-memory={analyzer.shared_memory}"]
    return [
        str(analyzer.program),
        "-m", point.model,
        "-u", url,
        "-i", analyzer.protocol,
        "-b", str(point.batch_size),
        f"--concurrency-range={point.concurrency}",
        f"--input-data={inputs}",
        *shared,
        f"--warmup-request-count={plan.warmup_requests * point.concurrency}",
        f"--request-count={plan.requests * point.concurrency}",
        "--verbose-csv",
        "-f", str(report),
    ]  # fmt: skip


def measure(
    analyzer: Analyzer, point: PerfPoint, model: ServedModel, url: str, plan: Plan, answered: Callable[[], int]
) -> Outcome:
    """Run perf_analyzer and read its report; a failure is the outcome's reason.

    `url` is the server's address for the protocol; `answered` counts the model's requests answered so far.
    """
    for _ in range(TRIES):
        found = one_process(analyzer, point, model, url, plan, answered)
        if not found.stalled:
            break
    return found


def one_process(
    analyzer: Analyzer, point: PerfPoint, model: ServedModel, url: str, plan: Plan, answered: Callable[[], int]
) -> Outcome:
    """Run perf_analyzer once."""
    with tempfile.TemporaryDirectory(prefix="tritongen-perf-") as folder:
        inputs, report, log = (Path(folder) / name for name in ("inputs.json", "report.csv", "log"))
        line = tuple(command(analyzer, point, url, plan, inputs, report))
        try:
            inputs.write_text(analyzer_json(input_row(model)))
        except TritongenError as error:
            return Outcome("failed", line, reason=str(error))
        begun = time.monotonic()
        with log.open("wb") as sink:
            child = Child(list(line), env=runtime().env, log=sink)
        try:
            status, answers = watch(child, analyzer.patience_s, answered)
        finally:
            child.stop(STOP_GRACE_S)
        seconds = time.monotonic() - begun
        if status is None:
            why = f"{answers} answers came, and no end" if answers else ""
            why = why or f"the server answered nothing for {analyzer.patience_s:.0f} s"
            return Outcome("failed", line, seconds, reason=f"perf_analyzer hung: {why}", stalled=answers > 0)
        return outcome(line, seconds, status, log.read_text(errors="replace"), report)


def watch(child: Child, patience_s: float, answered: Callable[[], int]) -> tuple[int | None, int]:
    """Wait for a process; return its exit status, None if the server's answers stopped, and the count of answers."""

    def count(otherwise: int) -> int:
        try:
            return answered()
        except ServerUnreachable:
            return otherwise

    begun = since = time.monotonic()
    first = seen = count(0)
    while (status := child.wait(min(POLL_S, patience_s))) is None:
        now, answers = time.monotonic(), count(seen)
        if answers != seen:
            seen, since = answers, now
        elif now - since >= stalled_after_s(patience_s, since - begun, seen - first):
            break
    return status, seen - first


def stalled_after_s(patience_s: float, elapsed_s: float, answers: int) -> float:
    """Return the time without an answer that is a hang: 20 times the pace so far, within bounds."""
    return min(patience_s, max(STALL_S, 20 * elapsed_s / answers)) if answers else patience_s


def outcome(line: tuple[str, ...], seconds: float, status: int, log: str, report: Path) -> Outcome:
    """Return the outcome of a process that ended, from its exit status and its report."""
    if status == UNSTABLE:
        return Outcome("unstable", line, seconds, reason="perf_analyzer found no three windows that agree")
    if status != 0:
        # After an option that it does not accept, perf_analyzer prints a page of help.
        lines = log.partition("Usage: ")[0].strip().splitlines() or ["no output"]
        return Outcome("failed", line, seconds, reason=f"perf_analyzer ended with {status}: {lines[-1]}")
    try:
        found = parse(report.read_text())
    except (OSError, ValueError) as error:
        why = "perf_analyzer wrote no report" if isinstance(error, FileNotFoundError) else str(error)
        return Outcome("failed", line, seconds, reason=why)
    if found.cache_hit_us:
        why = "the server answered from its response cache, which is not measured"
        return Outcome("failed", line, seconds, reason=why)
    return Outcome("ok", line, seconds, found)


def parse(text: str) -> Report:
    """Parse a CSV of one row by the names of its columns.

    Raises:
        ValueError: there is not one row, or a column is missing or is not a number.
    """
    rows = list(csv.DictReader(io.StringIO(text)))
    if len(rows) != 1:
        raise ValueError(f"perf_analyzer wrote {len(rows)} rows instead of one")
    cells = {head: cell for head, cell in rows[0].items() if head and cell}
    if missing := [head for head in COLUMNS if head not in cells and COLUMNS[head].default is MISSING]:
        raise ValueError(f"perf_analyzer wrote no {missing[0]!r}")
    values: dict[str, Any] = {}
    percentiles: dict[str, int] = {}
    other: dict[str, str] = {}
    for head, cell in cells.items():
        if head in COLUMNS:
            name, value = COLUMNS[head].name, number(head, cell)
            values[name] = round(value) if name.endswith("_us") or name == "concurrency" else value
        elif found := re.fullmatch(r"p(\d+) latency", head):
            percentiles[found[1]] = round(number(head, cell))
        else:
            other[head] = cell
    return Report(**values, percentile_us=percentiles or None, other=other or None)


def number(head: str, cell: str) -> float:
    """Parse a cell as a number from 0."""
    try:
        value = float(cell)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise ValueError(f"perf_analyzer wrote {cell!r} for {head!r}")
    return value
