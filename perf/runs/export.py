"""Runs as data: JSON and CSV; pure."""

from __future__ import annotations

import csv
import dataclasses
import io
from typing import TYPE_CHECKING, Any

from perf.runs import store
from perf.runs.metrics import LATENCY, METRICS, PARTS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from perf.runs.compare import Comparison
    from perf.runs.points import Result
    from perf.runs.published import Published
    from perf.runs.store import Stored

HEADS = (
    "run", "gpu", "precision", "batch_size", "concurrency", "model", "status", "rounds", "spread",
    *(f"{metric.name}_ms" for metric in METRICS), *(f"{part.name}_us" for part in PARTS), "latency_us",
    "bare_us", "published_ms", "reason",
)  # fmt: skip


def record(stored: Stored, comparisons: Iterable[Comparison], published: Published) -> dict[str, Any]:
    """A run with its points, their rounds, and what it was compared with."""
    return {
        **store.CONVERTER.unstructure(stored.run),
        "sessions": store.CONVERTER.unstructure(stored.sessions),
        "points": [
            {**row(stored, found, published), "repeats": store.CONVERTER.unstructure(found.repeats)}
            for found in stored.results
        ],
        "comparisons": [
            {
                "other": comparison.other,
                "metric": comparison.metric.name,
                "geometric_mean": comparison.geometric_mean,
                "within_10_percent": comparison.agreeing,
                "cells": [dataclasses.asdict(cell) for cell in comparison.cells],
                "missing": [dataclasses.asdict(point) for point in comparison.missing],
                "notes": comparison.notes,
            }
            for comparison in comparisons
        ],
    }


def table(rows: Iterable[dict[str, Any]]) -> str:
    """A row a point."""
    text = io.StringIO()
    writer = csv.DictWriter(text, HEADS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def row(stored: Stored, found: Result, published: Published) -> dict[str, Any]:
    """A point flat; what is not there is None."""
    point = found.point
    cells: dict[str, Any] = {
        "run": stored.run.id,
        "gpu": stored.run.device.name,
        "precision": point.precision,
        "batch_size": point.batch_size,
        "concurrency": point.concurrency,
        "model": point.model,
        "status": found.status,
        "rounds": len(found.repeats),
        "spread": None if found.spread is None else round(found.spread, 4),
    }
    for metric in METRICS:
        value = found.value_us(metric)
        cells[f"{metric.name}_ms"] = None if value is None else value / 1000
    for metric in (*PARTS, LATENCY):
        cells[f"{metric.name}_us"] = found.value_us(metric)
    figure = published.latency_ms.get(point)
    return cells | {
        "bare_us": found.bare_us,
        "published_ms": None if figure is None else float(figure),
        "reason": found.reason,
    }
