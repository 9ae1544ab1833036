"""The device a table is about: found out, not believed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from generator import targets
from generator.errors import BadOption, UnknownName, WrongDevice
from generator.server.gpus import gpu_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from generator.spec import Precision, ServedModel

CPU = targets.CPU.name
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1", "[::1]")


def known_devices() -> tuple[str, ...]:
    """What --gpu may say."""
    return tuple(target.name for target in targets.TARGETS)


def default_device() -> str:
    """This machine's GPU where it is one of the targets, else its CPU."""
    names = gpu_names()
    target = targets.of_gpu(names[0]) if names else None
    return target.name if target else CPU


def precisions_of(device: str, asked: Sequence[str]) -> tuple[Precision, ...]:
    """What is measured on a device: what was asked for, else what its published table has.

    Raises:
        UnknownName: no such device or precision.
        BadOption: FP16 on the CPU, which runs the graph's own FP32 only.
    """
    if device not in known_devices():
        raise UnknownName("GPU", device, known_devices())
    wanted = tuple(dict.fromkeys(name.lower() for name in asked))
    for name in wanted:
        if name not in ("fp16", "fp32", "all"):
            raise UnknownName("precision", name, ("fp16", "fp32"))
    if device == CPU:
        if "fp16" in wanted:
            raise BadOption("--precision", "fp16", "the CPU serves FP32 only", "leave --precision out with --gpu cpu")
        return ("fp32",)
    if "all" in wanted:
        return ("fp16", "fp32")
    if wanted:
        return tuple(name for name in ("fp16", "fp32") if name in wanted)
    return targets.find(device).published


def check_startable(device: str) -> None:
    """Raise WrongDevice where a server started on this machine would run on something else."""
    if device == CPU:
        return
    names = gpu_names()
    if targets.find(device) not in map(targets.of_gpu, names):
        raise WrongDevice(device, f"a server on this machine would run on {', '.join(names) or cpu_label()}")


def describe_served(device: str, model: ServedModel, url: str) -> str:
    """What a running server is measured on, as the table says it.

    Raises:
        WrongDevice: it runs on something else.
    """
    local = url.rsplit(":", 1)[0] in LOCAL_HOSTS
    if model.device == CPU:
        found = cpu_label() if local else "a CPU"
        if device != CPU:
            raise WrongDevice(device, f"the server runs on {found}")
        return found
    gpus = gpu_names() if local else ()
    names = ", ".join(gpus)
    if device == CPU:
        raise WrongDevice(device, f"the server runs on {names or 'a GPU'}")
    if not local:
        return f"{targets.find(device).title} (as stated: the server is on another host)"
    if targets.find(device) not in map(targets.of_gpu, gpus):
        raise WrongDevice(device, f"the server runs on {names or 'a GPU that nvidia-smi does not name'}")
    return names


def cpu_label() -> str:
    """`AMD EPYC 7763, 2 cores`."""
    fields = [line.split(":", 1) for line in cpuinfo().splitlines() if line.startswith("model name")]
    name = fields[0][1].strip() if fields else "CPU"
    cores = len(os.sched_getaffinity(0))
    return f"{name}, {cores} core{'s' if cores != 1 else ''}"


def cpuinfo() -> str:
    """`/proc/cpuinfo`, or nothing."""
    path = Path("/proc/cpuinfo")
    return path.read_text() if path.exists() else ""
