"""What one run of perf_analyzer found, in microseconds."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

    from generator.spec import Precision

# Heads of perf_analyzer's CSV (src/report_writer.cc) and the fields they fill. Latency is of one request.
COLUMNS = {
    "Client Send": "client_send_us",
    "Network+Server Send/Recv": "network_us",
    "Server Queue": "queue_us",
    "Server Compute Input": "compute_input_us",
    "Server Compute Infer": "compute_infer_us",
    "Server Compute Output": "compute_output_us",
    "Client Recv": "client_recv_us",
    "p50 latency": "p50_us",
    "p90 latency": "p90_us",
    "p95 latency": "p95_us",
    "p99 latency": "p99_us",
}


@dataclass(frozen=True)
class PerfPoint:
    """What one perf_analyzer process measures."""

    model: str
    precision: Precision
    batch_size: int
    concurrency: int = 1


@dataclass(frozen=True)
class Latency:
    """One row of perf_analyzer's CSV."""

    client_send_us: int
    network_us: int
    queue_us: int
    compute_input_us: int
    compute_infer_us: int
    compute_output_us: int
    client_recv_us: int
    p50_us: int
    p90_us: int
    p95_us: int
    p99_us: int

    @property
    def server_total_us(self) -> int:
        """Queue, compute input, infer and output."""
        return self.queue_us + self.compute_input_us + self.compute_infer_us + self.compute_output_us


@dataclass(frozen=True)
class Measurement:
    """A point and its outcome: figures where it is `ok`, a reason where it is not."""

    point: PerfPoint
    status: Literal["ok", "unstable", "failed"]
    latency: Latency | None = None
    reason: str = ""


@dataclass(frozen=True)
class Metric:
    """One of the three numbers that are never mixed, and how it is labelled."""

    name: str
    label: str
    value_us: Callable[[Latency], int]


METRICS = (
    Metric("compute", "Server compute (what the published tables timed)", lambda row: row.compute_infer_us),
    Metric("server", "Server total: queue, compute input, infer and output", lambda row: row.server_total_us),
    Metric("p50", "Client p50", lambda row: row.p50_us),
    Metric("p99", "Client p99", lambda row: row.p99_us),
)


def parse_csv(text: str) -> Latency:
    """The only row of a CSV, read by the names of its columns: verbose ones have more.

    Raises:
        ValueError: no row, several rows, a column that is missing or not a number.
    """
    rows = list(csv.DictReader(io.StringIO(text)))
    if len(rows) != 1:
        raise ValueError(f"perf_analyzer wrote {len(rows)} rows instead of one")
    missing = [head for head in COLUMNS if not rows[0].get(head)]
    if missing:
        raise ValueError(f"perf_analyzer wrote no {missing[0]!r}")
    return Latency(**{field: int(rows[0][head]) for head, field in COLUMNS.items()})
