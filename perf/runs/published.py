"""The published latencies, from `reference/latency.csv`; where they are from stands in the README beside it."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib.resources import files

from generator.types import PRECISIONS, Precision
from perf.runs.types import PerfPoint

SOURCE = (
    "PaddleClas's page on DPN and DenseNet: TensorRT 8.0.3.4, an engine for each batch size, "
    "the mean of 2,100 runs less the first 100, the predictor's run alone"
)


@dataclass(frozen=True)
class Published:
    """One GPU's table, in milliseconds and in the page's decimals."""

    gpu: str
    latency_ms: dict[PerfPoint, str]

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """Those that the page has."""
        return tuple(name for name in PRECISIONS if any(point.precision == name for point in self.latency_ms))


def published(gpu: str) -> Published:
    """A GPU's table; empty where the page has none."""
    with (files("perf") / "reference" / "latency.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["gpu"] == gpu]
    cells = {PerfPoint(row["model"], precision(row), int(row["batch_size"])): row["latency_ms"] for row in rows}
    return Published(gpu, cells)


def precision(row: dict[str, str]) -> Precision:
    """The row's."""
    return "fp16" if row["precision"] == "fp16" else "fp32"
