"""Start other programs: no other module does."""

import errno
import logging
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

logger = logging.getLogger(__name__)

GUARD = Path(__file__).with_name("parent_guard.py")
Finished = subprocess.CompletedProcess[str]


def run(command: Sequence[str], *, env: Mapping[str, str] | None = None, timeout_s: float | None = None) -> Finished:
    """Run a command and wait for its end; `env` are changes of this program's environment.

    Raises:
        FileNotFoundError: the program does not exist.
        subprocess.TimeoutExpired: the command took longer than `timeout_s` and was killed.
    """
    env = {**os.environ, **(env or {})}
    done = subprocess.run(
        guarded(command, env),
        env=env,
        timeout=timeout_s,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        stdin=subprocess.DEVNULL,
    )
    logger.debug("%s ended with status %d", shlex.join(command), done.returncode)
    return done


def try_run(
    command: Sequence[str], *, env: Mapping[str, str] | None = None, timeout_s: float | None = None
) -> Finished | None:
    """Run a command as `run` does, or return None if it cannot be run or takes too long."""
    try:
        return run(command, env=env, timeout_s=timeout_s)
    except (OSError, subprocess.TimeoutExpired):
        return None


class Child:
    """A long-running process in a process group of its own.

    Ctrl-C in the terminal does not reach the group. If this program is killed, the kernel ends the process.
    """

    def __init__(
        self, command: Sequence[str], *, env: Mapping[str, str] | None = None, log: IO[bytes] | None = None
    ) -> None:
        env = {**os.environ, **(env or {})}
        self._process: subprocess.Popen[bytes] = subprocess.Popen(
            guarded(command, env),
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT if log else None,
            start_new_session=True,
        )
        logger.debug("process %d: %s", self._process.pid, shlex.join(command))

    @property
    def pid(self) -> int:
        """Return the process id."""
        return self._process.pid

    def status(self) -> int | None:
        """Return the exit status, or None while the process runs."""
        return self._process.poll()

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Wait for the end and return the exit status, or None after `timeout_s`."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def stop(self, grace_s: float = 30) -> None:
        """Terminate the process, wait for at most `grace_s`, and kill the whole group."""
        try:
            if self.status() is None:
                self._process.terminate()
                self.wait(grace_s)
        finally:  # also after a second Ctrl-C
            with suppress(ProcessLookupError):  # the group has ended
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            logger.debug("process %d ended with status %d", self._process.pid, self._process.returncode)


def guarded(command: Sequence[str], env: Mapping[str, str]) -> list[str]:
    """Return the command that starts a program which the kernel ends when this program dies."""
    program = shutil.which(command[0], path=env.get("PATH"))
    if program is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), command[0])
    return [sys.executable, "-IS", str(GUARD), str(os.getpid()), program, *command[1:]]
