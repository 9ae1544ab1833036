"""How much memory a model takes while it is made, and how much there is."""

from __future__ import annotations

from pathlib import Path

import psutil

CGROUP = Path("/sys/fs/cgroup")
SHARE = 0.5  # of what is free: the rest of the machine goes on
GIB = 1 << 30


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
