"""Build models in parallel: one worker process per model, as many as fit into memory.

multiprocessing's fork server, which imports torch once and has no threads yet, forks the workers. Memory is returned
to the system when a worker ends, and a crash of native code is a failure of one model.
"""

import fcntl
import gc
import multiprocessing
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from operator import itemgetter
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import psutil

from generator.builder.provenance import Provenance
from generator.builder.staleness import Job
from generator.errors import TritongenError, WorkerDied
from generator.networks.types import Network
from generator.system.native import older_objects_frozen, reuse_memory

OnStep = Callable[[Network, str], None]
Result = tuple[Job, tuple[Provenance, dict[str, bytes]] | TritongenError]

FORKS = multiprocessing.get_context("forkserver")
PRELOADED = ("generator.builder.build_model",)  # the fork server ignores a module that it cannot import
CGROUP = Path("/sys/fs/cgroup")
MEMORY_SHARE = 0.5  # the part of the free memory that builds may use
GIB = 1 << 30


@dataclass(frozen=True)
class Limits:
    """The number of models built at once, and the memory that they may use together."""

    jobs: int
    memory_bytes: float


@dataclass(frozen=True)
class Worker:
    """A process, its job, and the estimate of its memory."""

    process: ForkServerProcess
    job: Job
    memory_bytes: int


def memory_budget_bytes(gib: float | None) -> float:
    """Return a budget in bytes; by default half of the free memory of this container or machine (cgroup v2)."""
    if gib is not None:
        return gib * GIB
    try:
        free = int((CGROUP / "memory.max").read_text()) - int((CGROUP / "memory.current").read_text())
    except (OSError, ValueError):  # no control group, or the limit is `max`
        free = psutil.virtual_memory().available
    return MEMORY_SHARE * min(free, psutil.virtual_memory().available)


def build_in_parallel(jobs: Sequence[Job], staging: Path, limits: Limits, on_step: OnStep) -> Generator[Result]:
    """Yield each job with its staged model or its error, in the order of completion.

    This process builds a single model, and models that cannot be sent to a worker.
    """
    in_process = min(limits.jobs, len(jobs)) == 1
    yield from build_in_workers([job for job in jobs if not in_process and picklable(job)], staging, limits, on_step)
    for job in jobs:
        if in_process or not picklable(job):
            yield job, build_here(job, staging, on_step)


def picklable(job: Job) -> bool:
    """Check that a worker can load a job: no lambda, and nothing from the running script."""
    try:
        return b"__main__" not in pickle.dumps(job)
    except Exception:  # noqa: BLE001 (pickle's errors have no common class)
        return False


def build_here(job: Job, staging: Path, on_step: OnStep) -> tuple[Provenance, dict[str, bytes]] | TritongenError:
    """Build a model in this process."""
    # torch, onnx and onnxsim are imported only here, so that errors before are immediate.
    with blocked(signal.SIGINT, signal.SIGTERM):  # torch's native code aborts if its import is interrupted
        from generator.builder.build_model import build_model

    try:
        with older_objects_frozen():
            return build_model(job, staging / job.network.name, lambda step: on_step(job.network, step))
    except TritongenError as error:
        return error


def build_in_workers(jobs: Sequence[Job], staging: Path, limits: Limits, on_step: OnStep) -> Generator[Result]:
    """Build models in worker processes, the largest first; no worker outlives this generator."""
    waiting = sorted(((job.network.definition.memory_bytes(), job) for job in jobs), key=itemgetter(0), reverse=True)
    running: dict[Connection, Worker] = {}
    try:
        while waiting or running:
            while (index := next_fitting(waiting, list(running.values()), limits)) is not None:
                connection, worker = start_worker(*waiting.pop(index), staging)
                running[connection] = worker
            for ready in wait(list(running)):
                connection = cast("Connection", ready)
                worker = running[connection]
                name = worker.job.network.name
                try:
                    message: Any = connection.recv()
                except (EOFError, OSError):
                    worker.process.join()
                    message = WorkerDied(name, worker.process.exitcode)
                match message:
                    case str() as step:
                        on_step(worker.job.network, step)
                    case RuntimeError():
                        raise RuntimeError(f"{name}: {message}")
                    case result:
                        del running[connection]
                        connection.close()
                        yield worker.job, result
    finally:
        for worker in running.values():
            worker.process.kill()
        for worker in running.values():
            worker.process.join()


def next_fitting(waiting: Sequence[tuple[int, Job]], running: Sequence[Worker], limits: Limits) -> int | None:
    """Return the index of the first job that fits into memory; a job larger than the budget fits if it runs alone."""
    if len(running) >= limits.jobs:
        return None
    left = limits.memory_bytes - sum(worker.memory_bytes for worker in running)
    return next((index for index, (needed, _) in enumerate(waiting) if not running or needed <= left), None)


def start_worker(memory_bytes: int, job: Job, staging: Path) -> tuple[Connection, Worker]:
    """Start a process that builds a model; return it with the connection for its messages."""
    ours, theirs = FORKS.Pipe(duplex=False)
    process = FORKS.Process(target=run_worker, args=(job, staging / job.network.name, theirs))
    FORKS.set_forkserver_preload([*PRELOADED])
    resource_tracker.ensure_running()  # otherwise the fork server starts it, which unblocks signals
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")  # else multiprocessing runs the user's script in the worker
    try:
        with blocked(signal.SIGINT):  # inherited: Ctrl-C would end the fork server while it imports torch
            forkserver.ensure_running()
        process.start()
    finally:
        sys.modules["__main__"] = main
    theirs.close()
    return ours, Worker(process, job, memory_bytes)


def run_worker(job: Job, staged: Path, connection: Connection) -> None:
    """Build a model in a worker process and send its steps and its result."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C and ends its workers
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # the user's code may print; stdout is for data
    reuse_memory()
    import torch

    from generator.builder.build_model import build_model

    torch.set_num_threads(1)  # the other workers use the other cores
    gc.freeze()  # imported objects need no collection
    try:
        connection.send(build_model(job, staged, connection.send))
    except TritongenError as error:
        connection.send(error)
    except BaseException:  # noqa: BLE001 (the parent raises it)
        connection.send(RuntimeError(traceback.format_exc()))


def end_with_parent() -> None:
    """Have the kernel end this process by a signal when the building process ends.

    The fork server, which forked this process, lives as long as its children; so watch the pipe to the process that
    asked for this one.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None  # this is a worker  # noqa: S101
    pipe = parent.sentinel
    fcntl.fcntl(pipe, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(pipe, fcntl.F_SETFL, fcntl.fcntl(pipe, fcntl.F_GETFL) | os.O_ASYNC)  # SIGIO, which ends a process
    if not parent.is_alive():
        os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def blocked(*signals: signal.Signals) -> Iterator[None]:
    """Delay signals until the context ends."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
