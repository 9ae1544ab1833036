"""Execute a program that the kernel ends when the parent dies: `python -IS parent_guard.py PARENT PROGRAM ARGS…`.

A function between fork and exec would be unsafe in a parent with threads.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h

if __name__ == "__main__":
    parent, program = int(sys.argv[1]), sys.argv[2]
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() == parent:  # otherwise the parent died before prctl
        os.execv(program, sys.argv[2:])  # noqa: S606
