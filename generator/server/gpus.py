"""The NVIDIA GPUs of this machine, as nvidia-smi names them."""

from __future__ import annotations

import subprocess

from generator.shell import run

TIMEOUT_S = 20


def gpu_names() -> tuple[str, ...]:
    """`("Tesla V100-SXM2-16GB", …)`; empty where there is no nvidia-smi, no driver or no GPU."""
    try:
        done = run(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], timeout_s=TIMEOUT_S)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return ()
    return tuple(filter(None, map(str.strip, done.stdout.splitlines()))) if done.status == 0 else ()
