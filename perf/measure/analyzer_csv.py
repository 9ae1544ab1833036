"""perf_analyzer's CSV, parsed by the names of its columns (src/report_writer.cc); pure."""

import csv
import io
import re
from typing import Any

from perf.runs.types import Report

MICROSECONDS = {
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
    # The columns below are optional.
    "Server Cache Hit": "cache_hit_us",
    "Server Cache Miss": "cache_miss_us",
    "Avg latency": "avg_us",
    "request/response": "request_response_us",
    "response wait": "response_wait_us",
}
RATES = {
    "Inferences/Second": "inferences_per_second",
    "Response Throughput": "responses_per_second",
    "Request Rate": "request_rate",
}
NEEDED = ("Inferences/Second", *tuple(MICROSECONDS)[:11])


def parse(text: str) -> Report:
    """Parse a CSV of one row.

    Raises:
        ValueError: there is not one row, or a column is missing or is not a number.
    """
    rows = list(csv.DictReader(io.StringIO(text)))
    if len(rows) != 1:
        raise ValueError(f"perf_analyzer wrote {len(rows)} rows instead of one")
    cells = {head: cell for head, cell in rows[0].items() if head and cell}
    if missing := [head for head in NEEDED if head not in cells]:
        raise ValueError(f"perf_analyzer wrote no {missing[0]!r}")
    fields: dict[str, Any] = {}
    percentiles: dict[str, int] = {}
    other: dict[str, str] = {}
    for head, cell in cells.items():
        if head in MICROSECONDS:
            fields[MICROSECONDS[head]] = round(number(head, cell))
        elif head in RATES:
            fields[RATES[head]] = number(head, cell)
        elif head == "Concurrency":
            fields["concurrency"] = round(number(head, cell))
        elif found := re.fullmatch(r"p(\d+) latency", head):
            percentiles[found[1]] = round(number(head, cell))
        else:
            other[head] = cell
    return Report(**fields, percentile_us=percentiles or None, other=other or None)


def number(head: str, cell: str) -> float:
    """Parse a cell as a number from 0."""
    try:
        value = float(cell)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise ValueError(f"perf_analyzer wrote {cell!r} for {head!r}")
    return value
