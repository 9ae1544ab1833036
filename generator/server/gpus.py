"""The NVIDIA GPUs of this machine, as nvidia-smi names them."""

from __future__ import annotations

import subprocess

from generator import targets
from generator.shell import run

TIMEOUT_S = 20


def gpu_names() -> tuple[str, ...]:
    """`("Tesla V100-SXM2-16GB", …)`; empty where there is no nvidia-smi, no driver or no GPU."""
    try:
        done = run(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], timeout_s=TIMEOUT_S)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return ()
    return tuple(filter(None, map(str.strip, done.stdout.splitlines()))) if done.status == 0 else ()


def this_gpu() -> str | None:
    """The target's name of this machine's first GPU, or None where it has none or none of the targets."""
    names = gpu_names()
    target = targets.of_gpu(names[0]) if names else None
    return target.name if target else None
