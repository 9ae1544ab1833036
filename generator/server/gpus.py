"""The NVIDIA GPUs of this machine, as nvidia-smi names them."""

from __future__ import annotations

import subprocess

from generator import targets
from generator.served import Gpu
from generator.shell import run

TIMEOUT_S = 20


def gpu_names() -> tuple[str, ...]:
    """`("Tesla V100-SXM2-16GB", …)`; empty where there is no nvidia-smi, no driver or no GPU."""
    try:
        done = run(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], timeout_s=TIMEOUT_S)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return ()
    return tuple(filter(None, map(str.strip, done.stdout.splitlines()))) if done.status == 0 else ()


FACTS = "name,uuid,driver_version,clocks.sm,clocks.mem,power.limit,temperature.gpu"


def gpus() -> tuple[Gpu, ...]:
    """Each GPU as it is now: its clocks change with load and temperature."""
    try:
        done = run(["nvidia-smi", f"--query-gpu={FACTS}", "--format=csv,noheader,nounits"], timeout_s=TIMEOUT_S)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return ()
    rows = [[cell.strip() for cell in line.split(",")] for line in done.stdout.splitlines() if line.strip()]
    if done.status != 0 or any(len(row) != len(FACTS.split(",")) for row in rows):
        return ()
    return tuple(Gpu(*row) for row in rows)


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
