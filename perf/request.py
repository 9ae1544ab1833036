"""From a call to the runs it wants: requests, and which run of before goes on."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from generator.config import targets
from generator.errors import BadValue, RunUnreadable, UsageError
from perf.measure import device as devices
from perf.runs import published, store

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

    from perf.runs.store import Stored
    from perf.runs.types import Request


def check(request: Request, others: Iterable[str]) -> None:
    """Raise UsageError where options do not go together, or cannot be on the device."""
    if "published" in others:
        check_published(request.device)
    if request.shared_memory == "cuda" and request.device == devices.CPU:
        raise BadValue("shared_memory", "cuda", "there is no GPU to share memory with", "use `shared_memory=system`")
    if request.shared_memory != "none" and request.url and not devices.is_local(request.url):
        raise BadValue(
            "shared_memory", request.shared_memory, "the server is on another host", "use `shared_memory=none`"
        )
    if request.http_url and (request.protocol != "http" or request.url is None):
        raise BadValue("http_url", request.http_url, "needs `url` and `protocol=http`")
    if request.image_tag:
        if request.device == devices.CPU:
            raise BadValue("image_tag", request.image_tag, "the CPU is served by the embedded engine")
        for precision in request.precisions:
            targets.check_tag(targets.find(request.device), precision, request.image_tag)
    if request.baseline and request.device != devices.CPU:
        raise BadValue("baseline", "true", f"ONNX Runtime alone runs on the CPU, not on a {request.device.upper()}")


def check_compared(*, fail_above: float | None, others: Iterable[str], metrics: Iterable[str]) -> None:
    """Raise UsageError where there is nothing to compare, or not in what is asked for."""
    others, metrics = list(others), list(metrics)
    if fail_above is not None and not math.isfinite(fail_above):
        raise BadValue("fail_above", fail_above, "not a ratio", "1.10 is 10 % slower")
    if fail_above is not None and not others:
        raise BadValue("fail_above", fail_above, "there is no run to compare with", "name one with `compare`")
    if "published" in others and "compute" not in metrics:
        raise UsageError(
            f"`compare=published` needs `metric=compute`, not {', '.join(metrics)}",
            "the published tables timed the predictor's run alone",
        )


def check_published(device: str) -> None:
    """Raise UsageError where the page has no table of a device."""
    if not published.published(device).latency_ms:
        hint = "the page has V100 FP32, T4 FP16 and T4 FP32"
        raise UsageError(f"the page has no table of a {device.upper()}", hint)


def newest_like(root: Path, wanted: Request, given: Collection[str]) -> Stored | None:
    """The newest run whose request has what was given; what was left to its default may be anything."""
    device = wanted.device if "device" in given else None
    for path in store.paths(root, device):
        try:
            stored = store.read(path)
        except RunUnreadable:
            continue
        if all(same(getattr(stored.run.request, name), getattr(wanted, name)) for name in given):
            return stored
    return None


def previous(root: Path, stored: Stored) -> Stored | None:
    """The newest run before this one on the same device that has points in common with it."""
    for path in store.paths(root, stored.run.device.name):
        try:
            other = store.read(path)
        except RunUnreadable:
            continue
        before = other.run.began < stored.run.began and other.run.device.label == stored.run.device.label
        if before and set(other.run.points) & set(stored.run.points):
            return other
    return None


def about(run: Stored | None) -> str:
    """Describe the run that is resumed."""
    if run is None:
        return "there is no run like this to go on with: a new one is begun"
    if not run.due:
        marked = sum(found.status != "ok" for found in run.results)
        more = f"; {marked} of its points are marked: a new run measures all again" if marked else ""
        return f"run {run.run.id} is complete: nothing is measured{more}"
    return f"going on with run {run.run.id}: {len(run.repeats)} rounds are there"


def same(one: object, other: object) -> bool:
    """Whether two values of an option mean the same."""
    if isinstance(one, tuple) and isinstance(other, tuple):
        return sorted(str(value).lower() for value in one) == sorted(str(value).lower() for value in other)
    return one == other
