"""The NVIDIA GPUs of this machine, as nvidia-smi names them."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

from generator.config import targets
from generator.system.processes import run

TIMEOUT_S = 20


@dataclass(frozen=True)
class Gpu:
    """What nvidia-smi says of one; `[N/A]` where it does not know."""

    name: str
    uuid: str
    driver: str
    sm_clock_mhz: str
    memory_clock_mhz: str
    power_limit_w: str
    temperature_c: str


def query(facts: str) -> list[list[str]]:
    """What nvidia-smi knows by these names, a row a GPU; none where there is no nvidia-smi, no driver or no GPU."""
    try:
        done = run(["nvidia-smi", f"--query-gpu={facts}", "--format=csv,noheader,nounits"], timeout_s=TIMEOUT_S)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return []
    rows = [[cell.strip() for cell in line.split(",")] for line in done.stdout.splitlines() if line.strip()]
    return rows if done.status == 0 and all(len(row) == len(facts.split(",")) for row in rows) else []


def gpu_names() -> tuple[str, ...]:
    """`("Tesla V100-SXM2-16GB", …)`."""
    return tuple(name for (name,) in query("name"))


def gpus() -> tuple[Gpu, ...]:
    """Each GPU as it is now: its clocks change with load and temperature."""
    return tuple(
        Gpu(*row) for row in query("name,uuid,driver_version,clocks.sm,clocks.mem,power.limit,temperature.gpu")
    )


def gpu_name(device: str) -> str | None:
    """The name of one GPU, by its index or the beginning of its UUID; None where nvidia-smi knows none like that."""
    for index, uuid, name in query("index,uuid,name"):
        if device == index or (len(device) > 1 and uuid.startswith(device)):
            return name
    return None


def this_gpu(device: str = "0") -> str | None:
    """The target's name of one of this machine's GPUs, or None where it is none of the targets."""
    name = gpu_name(device)
    target = targets.of_gpu(name) if name else None
    return target.name if target else None
