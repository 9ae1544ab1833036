"""Models made side by side: a worker process each, as many as there is memory for.

The processes are forked by multiprocessing's fork server, which has imported torch once and has no threads yet. A
model's memory is the system's again when its process ends, and a crash of native code is a model that failed.
"""

from __future__ import annotations

import fcntl
import gc
import multiprocessing
import os
import pickle
import signal
import sys
import traceback
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import wait
from operator import itemgetter
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from generator.errors import TritongenError, WorkerDied
from generator.system.native import reuse_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.context import ForkServerProcess
    from pathlib import Path

    from generator.builder.build_model import Made
    from generator.builder.staleness import Job
    from generator.networks.types import Network

    OnStep = Callable[[Network, str], None]
    Result = tuple[Job, Made | TritongenError]

FORKS = multiprocessing.get_context("forkserver")


@dataclass(frozen=True)
class Limits:
    """How many models are made at once, and the memory that they may take together."""

    jobs: int
    memory_bytes: float


@dataclass(frozen=True)
class Worker:
    """A process, what it makes, and what that is thought to take."""

    process: ForkServerProcess
    job: Job
    memory_bytes: int


@dataclass(frozen=True)
class Bug:
    """What Python says of an error that is none of the user's."""

    text: str


def side_by_side(jobs: Sequence[Job], staging: Path, limits: Limits, on_step: OnStep) -> Generator[Result]:
    """Each job with its model, staged, or with why there is none; in the order in which they end.

    A single one is made in this process, and so is what no other process can be told of.
    """
    one_at_a_time = min(limits.jobs, len(jobs)) == 1
    ours = [job for job in jobs if one_at_a_time or not portable(job)]
    theirs = [job for job in jobs if not one_at_a_time and portable(job)]
    yield from in_workers(theirs, staging, limits, on_step)
    for job in ours:
        yield job, here(job, staging, on_step)


def portable(job: Job) -> bool:
    """Whether another process finds what it is made of: no function without a name, nor one of the running script."""
    try:
        return b"__main__" not in pickle.dumps(job)
    except Exception:  # noqa: BLE001 (what cannot be pickled has no common error)
        return False


def here(job: Job, staging: Path, on_step: OnStep) -> Made | TritongenError:
    """In this process."""
    # torch, onnx and onnxsim are imported here: what is refused before is refused at once.
    with held_back(signal.SIGINT, signal.SIGTERM):  # torch's native code aborts when its import is interrupted
        from generator.builder.build_model import make

    try:
        return make(job, staging / job.network.name, lambda step: on_step(job.network, step))
    except TritongenError as error:
        return error


def in_workers(jobs: Sequence[Job], staging: Path, limits: Limits, on_step: OnStep) -> Generator[Result]:
    """The largest first; no worker is left when this ends, however it does."""
    waiting = sorted(((job.network.definition.memory_bytes(), job) for job in jobs), key=itemgetter(0), reverse=True)
    running: dict[Connection, Worker] = {}
    try:
        while waiting or running:
            while (place := next_that_fits(waiting, list(running.values()), limits)) is not None:
                connection, worker = started(*waiting.pop(place), staging)
                running[connection] = worker
            for ready in wait(list(running)):
                connection = cast("Connection", ready)
                job = running[connection].job
                match received(connection):
                    case str() as step:
                        on_step(job.network, step)
                    case Bug() as bug:
                        raise RuntimeError(f"{job.network.name}: {bug.text}")
                    case result:
                        worker = running.pop(connection)
                        connection.close()
                        yield job, result or died(worker)
    finally:
        for worker in running.values():
            worker.process.kill()
        for worker in running.values():
            worker.process.join()


def died(worker: Worker) -> WorkerDied:
    """Of a process that said nothing more."""
    worker.process.join()
    return WorkerDied(worker.job.network.name, worker.process.exitcode)


def next_that_fits(waiting: Sequence[tuple[int, Job]], running: Sequence[Worker], limits: Limits) -> int | None:
    """Where the first stands for which there is room; one that is larger than the budget is made when it is alone."""
    if len(running) >= limits.jobs:
        return None
    left = limits.memory_bytes - sum(worker.memory_bytes for worker in running)
    return next((place for place, (needed, _) in enumerate(waiting) if not running or needed <= left), None)


def started(needed: int, job: Job, staging: Path) -> tuple[Connection, Worker]:
    """A process that makes it, and where it tells how far it is."""
    ours, theirs = FORKS.Pipe(duplex=False)
    process = FORKS.Process(target=work, args=(job, staging / job.network.name, theirs))
    with without_main():
        start_fork_server()
        process.start()
    theirs.close()
    return ours, Worker(process, job, needed)


def start_fork_server() -> None:
    """Have it run, deaf to Ctrl-C: it ignores that once it has imported torch, and would die of it before."""
    FORKS.set_forkserver_preload(["generator.builder.build_model"])
    resource_tracker.ensure_running()  # the server would start it, which lets signals through again
    with held_back(signal.SIGINT):  # here, and so there
        forkserver.ensure_running()


@contextmanager
def without_main() -> Iterator[None]:
    """Keep multiprocessing from running the user's script again in the worker, to have its `__main__` there."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def received(connection: Connection) -> Any:  # noqa: ANN401 (a step, a result, a bug, or None of a process that died)
    """What a worker says next."""
    try:
        return connection.recv()
    except (EOFError, OSError):
        return None


def work(job: Job, staged: Path, connection: Connection) -> None:
    """Make a model in this process, which ends with the one that wants it."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one that waits, which ends us
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # the user's own code may print; stdout is for data
    reuse_memory()
    import torch

    from generator.builder.build_model import make

    torch.set_num_threads(1)  # the other cores are the other workers'
    gc.freeze()  # what was imported is no garbage, and need not be looked at
    try:
        connection.send(make(job, staged, connection.send))
    except TritongenError as error:
        connection.send(error)
    except BaseException:  # noqa: BLE001 (it is raised where it is seen)
        connection.send(Bug(traceback.format_exc()))


def end_with_parent() -> None:
    """Have the kernel end this process when the one that waits for it is gone: a signal, whatever is running then.

    The fork server, our parent, lives as long as we do; but of the process that asked it for us we hold a pipe.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None  # it is a worker  # noqa: S101
    pipe = parent.sentinel
    fcntl.fcntl(pipe, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(pipe, fcntl.F_SETFL, fcntl.fcntl(pipe, fcntl.F_GETFL) | os.O_ASYNC)  # SIGIO, which ends a process
    if not parent.is_alive():
        os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def held_back(*signals: signal.Signals) -> Iterator[None]:
    """Have signals wait until the context ends."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
