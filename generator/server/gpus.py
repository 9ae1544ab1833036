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


def gpu_name(device: str) -> str | None:
    """The name of one GPU, by its index or the beginning of its UUID; None where nvidia-smi knows none like that."""
    try:
        done = run(["nvidia-smi", "--query-gpu=index,uuid,name", "--format=csv,noheader"], timeout_s=TIMEOUT_S)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    for line in done.stdout.splitlines() if done.status == 0 else ():
        index, uuid, name = (part.strip() for part in line.split(",", 2))
        if device == index or (len(device) > 1 and uuid.startswith(device)):
            return name
    return None


def this_gpu(device: str = "0") -> str | None:
    """The target's name of one of this machine's GPUs, or None where it is none of the targets."""
    name = gpu_name(device)
    target = targets.of_gpu(name) if name else None
    return target.name if target else None
