"""The device that a run is measured on, as the server and this machine report it."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from generator.config import targets
from generator.errors import BadValue, UnknownName, WrongDevice
from generator.server import probe
from generator.server.gpus import gpu_names, gpus
from generator.server.probe import ServedModel
from generator.types import PRECISIONS, Precision
from perf.runs.types import Device

CPU = targets.CPU.name
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1", "[::1]")


def is_local(url: str) -> bool:
    """Return true for the `host:port` of a server on this host."""
    return url.rsplit(":", 1)[0] in LOCAL_HOSTS


def default_device() -> str:
    """Return this machine's GPU if it is one of the targets, else the CPU."""
    names = gpu_names()
    target = targets.of_gpu(names[0]) if names else None
    return target.name if target else CPU


def precisions_of(device: str, requested: Sequence[str]) -> tuple[Precision, ...]:
    """Return the precisions to measure: the requested ones, else those of the device's published table.

    Raises:
        UnknownName: there is no such device or precision.
        BadValue: FP16 on the CPU, which serves FP32 only.
    """
    target = targets.find(device)
    wanted = {name.lower() for name in requested}
    for name in sorted(wanted - {*PRECISIONS, "all"}):
        raise UnknownName("precision", name, PRECISIONS)
    if device == CPU:
        if "fp16" in wanted:
            raise BadValue("precision", "fp16", "the CPU serves FP32 only", "leave `precision` out with `gpus=cpu`")
        return ("fp32",)
    if not wanted:
        return target.published
    return tuple(name for name in PRECISIONS if name in wanted or "all" in wanted)


def check_startable(device: str) -> None:
    """Raise WrongDevice if a server started on this machine would run on another device."""
    if device != CPU and index_of(device) is None:
        found = ", ".join(gpu_names()) or this_cpu().label
        raise WrongDevice(device.upper(), f"a server on this machine would run on {found}")


def index_of(device: str) -> int | None:
    """Return the index of this machine's first GPU of a kind."""
    kinds = [targets.of_gpu(name) for name in gpu_names()]
    return next((index for index, kind in enumerate(kinds) if kind == targets.find(device)), None)


def describe_served(device: str, model: ServedModel, url: str, metrics_url: str) -> Device:
    """Return the device of a running server.

    Triton's metrics have the UUIDs of its GPUs, and nvidia-smi on the same host has their names. For a server on
    another host the user's word is taken, and the device says so.

    Raises:
        WrongDevice: the server runs on another device than the requested one.
    """
    local = is_local(url)
    if model.device == CPU:
        found = this_cpu() if local else Device(CPU, "a CPU of another host")
        if device != CPU:
            raise WrongDevice(device.upper(), f"the server runs on {found.label}")
        return found
    uuids = probe.gpu_uuids(metrics_url) if local else ()
    all_gpus = gpus() if local else ()
    served = tuple(gpu for gpu in all_gpus if gpu.uuid in uuids) or all_gpus
    names = ", ".join(gpu.name for gpu in served)
    if device == CPU:
        raise WrongDevice(device.upper(), f"the server runs on {names or 'a GPU'}")
    if not local:
        return Device(device, f"{targets.find(device).title} (as stated: the server is on another host)", stated=True)
    if not served:
        raise WrongDevice(device.upper(), "the server runs on a GPU that nvidia-smi does not name")
    if any(targets.of_gpu(gpu.name) != targets.find(device) for gpu in served):
        raise WrongDevice(device.upper(), f"the server runs on {names}")
    return dataclasses.replace(this_cpu(), name=device, label=names, gpu=served[0])


def this_cpu() -> Device:
    """Return this machine's CPU."""
    info, governor = (
        path.read_text() if path.exists() else ""
        for path in map(Path, ("/proc/cpuinfo", "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"))
    )
    name = next((line.split(":", 1)[1] for line in info.splitlines() if line.startswith("model name")), "CPU").strip()
    cores = len(os.sched_getaffinity(0))
    label = f"{name}, {cores} core{'s' if cores != 1 else ''}"
    return Device(CPU, label, cpu_model=name, cores=cores, governor=governor.strip() or None)
