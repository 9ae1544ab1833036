"""The published latencies, from `reference/latency.csv`; the README beside it names their source."""

import csv
from dataclasses import dataclass
from importlib.resources import files

from generator.types import PRECISIONS, Precision
from perf.runs.types import PerfPoint

SOURCE = (
    "PaddleClas's page on DPN and DenseNet: TensorRT 8.0.3.4, one engine per batch size, "
    "mean of 2,000 predictor runs after 100 to warm up"
)


@dataclass(frozen=True)
class Published:
    """The published table of a GPU, in milliseconds with the published decimals."""

    gpu: str
    latency_ms: dict[PerfPoint, str]

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """The precisions in the table."""
        return tuple(name for name in PRECISIONS if any(point.precision == name for point in self.latency_ms))


def published(gpu: str) -> Published:
    """Return the table of a GPU, empty if none was published."""
    with (files("perf") / "reference" / "latency.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["gpu"] == gpu]
    return Published(
        gpu,
        {
            PerfPoint(row["model"], name, int(row["batch_size"])): row["latency_ms"]
            for row in rows
            for name in PRECISIONS
            if name == row["precision"]
        },
    )
