"""How much memory a model takes while it is made, and how much there is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from generator.errors import TritongenError
from generator.networks.types import DenseNetShape, DPNShape, Network, OnnxFile, Published

if TYPE_CHECKING:
    from generator.builder.staleness import Job

CGROUP = Path("/sys/fs/cgroup")
SHARE = 0.5  # of what is free: the rest of the machine goes on
GIB = 1 << 30
# Measured, proportional set sizes: 0.63 GB for DPN68, 1.0 for DenseNet161, 1.7 for DPN98, 2.4 for DPN107; of ONNX files
# 0.6 GB for 32 MB, 1.4 for 135 MB, 2.3 for 247 MB, 3.0 for 348 MB.
BASE_BYTES = 350_000_000
COPIES, COPIES_OF_FILE = 6, 8
UNKNOWN_BYTES = 350_000_000  # of weights: as DPN107


def budget_bytes(said_gib: float | None) -> float:
    """What builds may take together: what was said, or half of what is free, in this container or on this machine."""
    return (
        said_gib * GIB if said_gib is not None else SHARE * min(psutil.virtual_memory().available, left_in_container())
    )


def left_in_container() -> float:
    """What the control group of this process still allows; infinite where it sets no limit (cgroup v2)."""
    try:
        return int((CGROUP / "memory.max").read_text()) - int((CGROUP / "memory.current").read_text())
    except (OSError, ValueError):  # no such file, or `max`
        return float("inf")


def needed_bytes(job: Job) -> int:
    """What a process takes at its peak that makes the model: so much for torch, so much for each byte of weights."""
    match job.network:
        case Network(shape=DenseNetShape() | DPNShape(), published=Published(params_m=millions)):
            return BASE_BYTES + COPIES * int(4e6 * millions)
        case Network(shape=OnnxFile(path=path)):
            return BASE_BYTES + COPIES_OF_FILE * onnx_bytes(path)
        case _:
            return BASE_BYTES + COPIES * UNKNOWN_BYTES


def onnx_bytes(path: Path) -> int:
    """Of a graph with its external data; of what is none, its own: it will be refused."""
    from generator.graph.load import external_files, parse

    try:
        return sum(file.stat().st_size for file in (path, *external_files(parse(path), path).values()))
    except TritongenError:
        return 0
