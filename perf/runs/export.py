"""Export of runs as JSON and CSV; pure."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from perf.runs import store
from perf.runs.metrics import LATENCY, METRICS, PARTS

if TYPE_CHECKING:
    from perf.runs.compare import Comparison
    from perf.runs.points import Result
    from perf.runs.published import Published
    from perf.runs.store import Stored


def record(stored: Stored, comparisons: Iterable[Comparison], published: Published) -> dict[str, Any]:
    """Return a run with its points, their rounds and its comparisons."""
    return {
        **store.CONVERTER.unstructure(stored.run),
        "sessions": store.CONVERTER.unstructure(stored.sessions),
        "points": [
            {**row(stored, result, published), "repeats": store.CONVERTER.unstructure(result.repeats)}
            for result in stored.results
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


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return rows as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def row(stored: Stored, result: Result, published: Published) -> dict[str, Any]:
    """Return the flat record of a point, with None for missing values."""
    point, times_us = result.point, {metric: result.value_us(metric) for metric in (*METRICS, *PARTS, LATENCY)}
    page_ms = published.latency_ms.get(point)
    return {
        "run": stored.run.id,
        "gpu": stored.run.device.name,
        "precision": point.precision,
        "batch_size": point.batch_size,
        "concurrency": point.concurrency,
        "model": point.model,
        "status": result.status,
        "rounds": len(result.repeats),
        "spread": None if result.spread is None else round(result.spread, 4),
        **{f"{m.name}_ms": None if (us := times_us[m]) is None else us / 1000 for m in METRICS},
        **{f"{m.name}_us": times_us[m] for m in (*PARTS, LATENCY)},
        "bare_us": result.bare_us,
        "published_ms": None if page_ms is None else float(page_ms),
        "reason": result.reason,
    }
