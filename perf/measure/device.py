"""The device a table is about: found out, not believed."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING

from generator.config import targets
from generator.errors import BadValue, UnknownName, WrongDevice
from generator.server import probe
from generator.server.gpus import gpu_names, gpus
from perf.runs.types import Device

if TYPE_CHECKING:
    from collections.abc import Sequence

    from generator.server.gpus import Gpu
    from generator.server.served_model import ServedModel
    from generator.types import Precision

CPU = targets.CPU.name
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1", "[::1]")


def is_local(url: str) -> bool:
    """Whether a `host:port` is of this host."""
    return url.rsplit(":", 1)[0] in LOCAL_HOSTS


def default_device() -> str:
    """This machine's GPU where it is one of the targets, else its CPU."""
    names = gpu_names()
    target = targets.of_gpu(names[0]) if names else None
    return target.name if target else CPU


def precisions_of(device: str, asked: Sequence[str]) -> tuple[Precision, ...]:
    """What is measured on a device: what was asked for, else what its published table has.

    Raises:
        UnknownName: no such device or precision.
        BadValue: FP16 on the CPU, which runs the graph's own FP32 only.
    """
    target = targets.find(device)
    wanted = tuple(dict.fromkeys(name.lower() for name in asked))
    for name in wanted:
        if name not in ("fp16", "fp32", "all"):
            raise UnknownName("precision", name, ("fp16", "fp32"))
    if device == CPU:
        if "fp16" in wanted:
            raise BadValue("precision", "fp16", "the CPU serves FP32 only", "leave `precision` out with `gpus=cpu`")
        return ("fp32",)
    if "all" in wanted:
        return ("fp16", "fp32")
    if wanted:
        return tuple(name for name in ("fp16", "fp32") if name in wanted)
    return target.published


def check_startable(device: str) -> None:
    """Raise WrongDevice where a server started on this machine would run on something else."""
    if device == CPU:
        return
    names = gpu_names()
    if index_of(device) is None:
        raise WrongDevice(device, f"a server on this machine would run on {', '.join(names) or this_cpu().label}")


def index_of(device: str) -> int | None:
    """Which of this machine's GPUs is the first of that kind."""
    kinds = [targets.of_gpu(name) for name in gpu_names()]
    return next((index for index, kind in enumerate(kinds) if kind == targets.find(device)), None)


def describe_served(device: str, model: ServedModel, url: str, metrics_url: str) -> Device:
    """What a running server is measured on.

    Triton's metrics give a GPU's UUID, and nvidia-smi, on the same host, what has it; on another host the user's word
    is taken, and said to be.

    Raises:
        WrongDevice: it runs on something else.
    """
    local = is_local(url)
    if model.device == CPU:
        found = this_cpu() if local else Device(CPU, "a CPU of another host")
        if device != CPU:
            raise WrongDevice(device, f"the server runs on {found.label}")
        return found
    if not local:
        if device == CPU:
            raise WrongDevice(device, "the server runs on a GPU")
        label = f"{targets.find(device).title} (as stated: the server is on another host)"
        return Device(device, label, stated=True)
    found_gpus = served_gpus(metrics_url)
    names = ", ".join(gpu.name for gpu in found_gpus)
    if device == CPU:
        raise WrongDevice(device, f"the server runs on {names or 'a GPU'}")
    if not found_gpus:
        raise WrongDevice(device, "the server runs on a GPU that nvidia-smi does not name")
    if any(targets.of_gpu(gpu.name) != targets.find(device) for gpu in found_gpus):
        raise WrongDevice(device, f"the server runs on {names}")
    return dataclasses.replace(this_cpu(), name=device, label=names, gpu=found_gpus[0])


def served_gpus(metrics_url: str) -> tuple[Gpu, ...]:
    """The GPUs of a server on this host: those of its metrics, all where it has none."""
    uuids = probe.gpu_uuids(metrics_url)
    there = gpus()
    return tuple(gpu for gpu in there if gpu.uuid in uuids) or there


def this_cpu() -> Device:
    """This machine's."""
    fields = [line.split(":", 1) for line in cpuinfo().splitlines() if line.startswith("model name")]
    name = fields[0][1].strip() if fields else "CPU"
    cores = len(os.sched_getaffinity(0))
    label = f"{name}, {cores} core{'s' if cores != 1 else ''}"
    return Device(CPU, label, cpu_model=name, cores=cores, governor=governor())


def cpuinfo() -> str:
    """`/proc/cpuinfo`, or nothing."""
    path = Path("/proc/cpuinfo")
    return path.read_text() if path.exists() else ""


def governor() -> str | None:
    """What decides the processor's clock (`performance`, `powersave`), where the kernel tells."""
    path = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    return path.read_text().strip() if path.exists() else None
