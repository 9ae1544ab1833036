"""The metrics of a point, each with its own table, and the parts of a request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perf.runs.types import Report


@dataclass(frozen=True)
class Metric:
    """A metric: its name, its label, and its value per request in a report."""

    name: str
    label: str
    value_us: Callable[[Report], int]


METRICS = (
    Metric("compute", "Server compute (what the published tables timed)", lambda row: row.compute_infer_us),
    Metric("server", "Server total: queue, compute input, infer and output", lambda row: row.server_us),
    Metric("p50", "Client p50", lambda row: row.p50_us),
    Metric("p99", "Client p99", lambda row: row.p99_us),
)
COMPUTE = METRICS[0]

# The parts of a request in order; their sum is the client's mean latency.
PARTS = (
    Metric("client_send", "Client send", lambda row: row.client_send_us),
    Metric("network", "Network", lambda row: row.network_us),
    Metric("queue", "Queue", lambda row: row.queue_us),
    Metric("compute_input", "Input", lambda row: row.compute_input_us),
    Metric("compute_infer", "Compute", lambda row: row.compute_infer_us),
    Metric("compute_output", "Output", lambda row: row.compute_output_us),
    Metric("client_recv", "Client receive", lambda row: row.client_recv_us),
)
LATENCY = Metric("latency", "Client mean", lambda row: row.latency_us)
