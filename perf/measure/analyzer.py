"""perf_analyzer: its command line, and one process of it."""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from generator.errors import AnalyzerFailed, BadValue, ServerUnreachable, TritongenError, quoted
from generator.server.embedded.runtime import PERF_ANALYZER, runtime
from generator.system.processes import Child, run
from perf.measure.analyzer_csv import parse
from perf.measure.inputs import input_data, input_feeds

if TYPE_CHECKING:
    from collections.abc import Callable

    from generator.server.served_model import ServedModel
    from perf.runs.types import PerfPoint, Plan, Protocol, Report, SharedMemory, Status

NAME = "Perf Analyzer Version "
ITSELF = "it names the program itself, such as the perf_analyzer of Triton's SDK image"
UNSTABLE = 2  # exit status STABILITY_ERROR (perf_analyzer, src/constants.h)
POLL_S = 5.0
STOP_GRACE_S = 2.0
# perf_analyzer 2.51 now and then loses an answer of a fast model (4 of 452 processes on a model of 1 ms) and waits for
# it for ever; so one that stops in its midst is started anew.
TRIES = 3
STALL_S = 30.0


@dataclass(frozen=True)
class Analyzer:
    """How perf_analyzer is run: the program, what it calls itself, and how it asks the server.

    It is given up when the server has answered nothing for `patience_s`.
    """

    program: Path
    version: str
    protocol: Protocol = "grpc"
    shared_memory: SharedMemory = "none"
    patience_s: float = 300.0


@dataclass(frozen=True)
class Outcome:
    """What became of one process: a report, or a reason; `stalled`: it had answers, and came to no end."""

    status: Status
    command: tuple[str, ...]
    seconds: float = 0.0
    report: Report | None = None
    reason: str = ""
    stalled: bool = False


def find(program: Path | None) -> tuple[Path, str]:
    """perf_analyzer and its version: the one given, else the one that tritonclient's wheel installs.

    Raises:
        AnalyzerFailed: it is not there, or does not start.
        BadValue: the one given is none.
    """
    path = program or PERF_ANALYZER
    if not path.is_file():
        if program:
            raise BadValue("program", program, "there is no such file", ITSELF)
        raise AnalyzerFailed("tritonclient installed none", "pip install 'tritonclient[grpc]==2.51.0'")
    if not os.access(path, os.X_OK):
        raise BadValue("program", path, "not a program", ITSELF)
    try:
        said = run([str(path), "--version"], env=runtime().env, timeout_s=30)
    except OSError as error:
        raise AnalyzerFailed(f"{path}: {error.strerror}") from error
    lines = (said.stdout or said.stderr).strip().splitlines()
    if said.status != 0 or not lines or not lines[0].startswith(NAME):
        first = quoted(lines[0]) if lines else "nothing"
        why = f"{path} --version ended with {said.status} and said {first}"
        if program:
            raise BadValue("program", path, why, ITSELF)
        raise AnalyzerFailed(why)
    return path, lines[0].removeprefix(NAME).removesuffix(" (commit unknown)")


def command(analyzer: Analyzer, point: PerfPoint, url: str, plan: Plan, inputs: Path, report: Path) -> list[str]:
    """The line that measures a point once; pure.

    The counts are of each request that is under way at a time: perf_analyzer 2.51 hangs where there are fewer to
    warm up than go at once.
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
    """Run perf_analyzer and read its report; whatever fails is the outcome's reason.

    Args:
        analyzer: the program.
        point: what is measured.
        model: the same as the server describes it.
        url: the server's address for the protocol.
        plan: how many requests.
        answered: how many requests of the model the server has answered so far.
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
        line = command(analyzer, point, url, plan, inputs, report)
        try:
            inputs.write_text(input_data(input_feeds(model)))
        except TritongenError as error:
            return Outcome("failed", tuple(line), reason=str(error))
        begun = time.monotonic()
        with log.open("wb") as sink:
            child = Child(line, env=runtime().env, log=sink)
        try:
            status, answers = watched(child, analyzer.patience_s, answered)
        finally:
            child.stop(STOP_GRACE_S)
        seconds = time.monotonic() - begun
        if status is None:
            nothing = f"the server answered nothing for {analyzer.patience_s:.0f} s"
            why = f"perf_analyzer hung: {f'{answers} answers came, and no end' if answers else nothing}"
            return Outcome("failed", tuple(line), seconds, reason=why, stalled=answers > 0)
        return outcome(tuple(line), seconds, status, log.read_text(errors="replace"), report)


def watched(child: Child, patience_s: float, answered: Callable[[], int]) -> tuple[int | None, int]:
    """The exit status, None where the server's answers stopped coming, and how many came.

    A process that hangs holds up no others.
    """
    begun = since = time.monotonic()
    first = seen = counted(answered, 0)
    while (status := child.wait(min(POLL_S, patience_s))) is None:
        now, count = time.monotonic(), counted(answered, seen)
        if count != seen:
            seen, since = count, now
        elif now - since >= stalled_after_s(patience_s, since - begun, seen - first):
            break
    return status, seen - first


def counted(answered: Callable[[], int], otherwise: int) -> int:
    """How many requests the server has answered; of a server that does not say, the count before."""
    try:
        return answered()
    except ServerUnreachable:
        return otherwise


def stalled_after_s(patience_s: float, elapsed_s: float, answers: int) -> float:
    """How long without an answer is a hang: by the pace so far, and never more than the patience."""
    return min(patience_s, max(STALL_S, 20 * elapsed_s / answers)) if answers else patience_s


def complaint(log: str) -> str:
    """The last line before the page of help that perf_analyzer prints after an option that it does not take."""
    said = log.partition("Usage: ")[0].strip() or "no word"
    return said.splitlines()[-1]


def outcome(line: tuple[str, ...], seconds: float, status: int, log: str, report: Path) -> Outcome:
    """What perf_analyzer's exit status and report say."""
    if status == UNSTABLE:
        return Outcome("unstable", line, seconds, reason="perf_analyzer found no three windows that agree")
    if status != 0:
        return Outcome("failed", line, seconds, reason=f"perf_analyzer ended with {status}: {complaint(log)}")
    try:
        found = parse(report.read_text())
    except FileNotFoundError:
        return Outcome("failed", line, seconds, reason="perf_analyzer wrote no report")
    except (OSError, ValueError) as error:
        return Outcome("failed", line, seconds, reason=str(error))
    if found.cache_hit_us:
        why = "the server answered from its response cache, which was not to be measured"
        return Outcome("failed", line, seconds, reason=why)
    return Outcome("ok", line, seconds, found)
