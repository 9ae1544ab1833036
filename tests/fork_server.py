"""A process that has imported the large packages and forks for each call of the program.

Importing torch takes seconds, forking a process that has imported it takes hundredths of a second. A forked call is a
process of its own: with its folder, environment, standard streams, signals and exit status. The program's own modules
are not imported before the fork, so a call imports them in the order in which a user's call does.

Run as a script it is the server. It takes one request at a time from the socket that is its standard input: a JSON
object with three file descriptors and a fourth one, a socket on which the process's id and exit status are answered.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import traceback
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn, Self

PACKAGES = (
    "torch", "onnx", "onnx_ir", "matplotlib.figure", "tritonclient.grpc", "rich.progress", "rich.table", "cattrs",
    "jinja2", "PIL.Image", "pydantic", "annotated_types", "click", "blake3", "filelock", "psutil", "statistics",
    "sysconfig", "tomllib", "zoneinfo", "multiprocessing.forkserver", "importlib.metadata",
)  # fmt: skip
# Variables that the interpreter or a library reads when it starts, before a fork.
READ_AT_START = ("LANG", "LC_", "LD_", "MKL_", "MPL", "OMP_", "ONEDNN_", "ATEN_", "PYTHON")
HANDLED = "PYTHONPATH"
REQUEST_BYTES = 1 << 20


def same_start(environment: dict[str, str]) -> bool:
    """Tell if a process with this environment starts as the server did."""
    return at_start(environment) == at_start(dict(os.environ))


def at_start(environment: dict[str, str]) -> dict[str, str]:
    """Return the variables that are read before a fork."""
    return {name: value for name, value in environment.items() if name.startswith(READ_AT_START) and name != HANDLED}


class Process:
    """A forked call, with the part of subprocess.Popen that the tests use."""

    def __init__(self, arguments: list[str], stdout: int, stderr: int, **request: Any) -> None:
        """Start `python ARGUMENTS`, which begin with `-m MODULE` or `-c CODE`."""
        self.returncode: int | None = None
        self._answers, theirs = socket.socketpair()
        with theirs, Path(os.devnull).open() as stdin:
            message = json.dumps({"arguments": arguments, **request}).encode()
            socket.send_fds(server(), [message], [stdin.fileno(), stdout, stderr, theirs.fileno()])
            self._lines = self._answers.makefile()
        self.pid = int(self._lines.readline())

    def poll(self) -> int | None:
        """Return the exit status, or None of a process that runs."""
        if self.returncode is None and select.select([self._answers], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self) -> int:
        """Wait for its end."""
        if self.returncode is None:
            self.returncode = int(self._lines.readline())
            self._lines.close()
            self._answers.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal to it, if it runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Wait for its end."""
        self.wait()


@cache
def server() -> socket.socket:
    """Start the server of this test process; it ends with it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    environment = {name: value for name, value in os.environ.items() if name != HANDLED}
    process = subprocess.Popen([sys.executable, __file__], stdin=theirs, stdout=subprocess.DEVNULL, env=environment)

    def stop() -> None:
        ours.close()
        process.wait()

    atexit.register(stop)
    theirs.close()
    return ours


def serve() -> dict[str, Any]:
    """Fork for each request; return it in the forked process. The server itself exits when no test process is left."""
    requests = socket.socket(fileno=os.dup(0))
    for name in PACKAGES:
        import_module(name)
    gc.freeze()  # a collection would copy the pages of every forked process
    while True:
        message, descriptors, _, _ = socket.recv_fds(requests, REQUEST_BYTES, 4)
        if not message:
            os._exit(0)
        waiter = os.fork()
        if waiter == 0:
            requests.close()
            fork_and_wait(descriptors)
            return json.loads(message)
        for descriptor in descriptors:
            os.close(descriptor)
        reap()


def reap() -> None:
    """Forget the calls that have ended."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def fork_and_wait(descriptors: list[int]) -> None:
    """Fork again: return in the new process, wait for it in this one and answer."""
    *streams, answer = descriptors
    pid = os.fork()
    if pid == 0:
        os.close(answer)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        return
    for stream in streams:
        os.close(stream)
    os.write(answer, f"{pid}\n".encode())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.write(answer, f"{status}\n".encode())
    os._exit(0)


def run(arguments: list[str], cwd: str, environment: dict[str, str], *, new_session: bool = False) -> NoReturn:
    """Run the call in this process as `python ARGUMENTS` does, and exit.

    The interpreter is not taken apart at the end: that would copy the pages of every imported package.
    """
    status = 0
    try:
        call(arguments, cwd, environment, new_session=new_session)
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
        if isinstance(error.code, str):
            sys.stderr.write(f"{error.code}\n")
    except BaseException:  # noqa: BLE001 (the interpreter shows every kind)
        traceback.print_exc()
        status = 1
    atexit._run_exitfuncs()  # noqa: SLF001 (there is no public name)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def call(arguments: list[str], cwd: str, environment: dict[str, str], *, new_session: bool) -> None:
    """Set up the process and run the module or the code."""
    if new_session:
        os.setsid()
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[0:1] = [cwd, *filter(None, environment.get(HANDLED, "").split(os.pathsep))]
    kind, subject, *sys.argv[1:] = arguments
    sys.argv[0] = kind
    if kind == "-m":
        runpy.run_module(subject, run_name="__main__", alter_sys=True)
    else:
        sys.modules["__main__"] = ModuleType("__main__")
        exec(compile(subject, "<string>", "exec"), vars(sys.modules["__main__"]))  # noqa: S102 (the test's own code)


if __name__ == "__main__":
    run(**serve())
