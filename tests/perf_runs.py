"""Made-up runs for tables and comparisons."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from perf.runs.store import Stored
from perf.runs.types import (
    PLANS,
    Bare,
    Device,
    Model,
    Origin,
    PerfPoint,
    Repeat,
    Report,
    Request,
    Run,
    Session,
    Versions,
)

CPU = Device("cpu", "a CPU, 2 cores", cpu_model="a CPU", cores=2)
VERSIONS = Versions("0.1.0", "2.51.0", "2.51.0", "3.11.7", "1.32.0")


def report(compute_us=30000, **changes):
    """Return a report with 100 to 700 µs in each part except compute."""
    parts = {"client_send_us": 100, "network_us": 200, "queue_us": 300, "compute_input_us": 400,
             "compute_output_us": 600, "client_recv_us": 700}  # fmt: skip
    total = sum(parts.values()) + compute_us
    fields = {"inferences_per_second": 1e6 / total, **parts, "compute_infer_us": compute_us, "p50_us": total,
              "p90_us": total + 100, "p95_us": total + 200, "p99_us": total + 300, "avg_us": total}  # fmt: skip
    return Report(**{**fields, **changes})


def repeat(point, number=1, compute_us=30000, *, status="ok", reason="", bare=None, **origin):
    """Return one round."""
    made = Origin(CPU, VERSIONS, "a Triton", config_sha256="c", model_digest="m")
    return Repeat(
        point, number, status, f"2026-11-24T10:{number:02}:00Z", 1.5, ("perf_analyzer", "-m", point.model),
        report(compute_us) if status == "ok" else None, reason, bare and Bare(2, bare, bare),
        dataclasses.replace(made, **origin),
    )  # fmt: skip


def run(figures, *, device=CPU, models=("densenet121", "mynet"), sessions=True, plan=("production", "quick"), **fields):
    """Return a run of `{(model, precision, batch): [compute_us, …]}`, or a status and a reason in place of the list."""
    points = tuple(PerfPoint(*key) for key in figures)
    request = Request(
        device.name,
        tuple(dict.fromkeys(point.precision for point in points)),
        batch_sizes=tuple(dict.fromkeys(point.batch_size for point in points)),
        concurrencies=tuple(dict.fromkeys(point.concurrency for point in points)),
        profile=plan[0],
        measurement=plan[1],
        **fields,
    )
    rounds = []
    for point, rows in zip(points, figures.values(), strict=True):
        if isinstance(rows, tuple):
            rounds.append(repeat(point, 1, status=rows[0], reason=rows[1]))
        else:
            rounds += [repeat(point, number, row, device=device) for number, row in enumerate(rows, 1)]
    made = Run(
        id="20261124T100000Z",
        began="2026-11-24T10:00:00Z",
        request=request,
        plan=PLANS[plan],
        points=points,
        models=tuple(
            Model(name, "random (seed 0)", *((224, 256) if name != "mynet" else (None, None))) for name in models
        ),
        device=device,
        server="a Triton started for this (embedded engine)",
        analyzer="2.51.0",
    )
    ended = (Session("2026-11-24T10:09:30Z", 570.0, 22.0, 540.0, 0.0),) if sessions else ()
    return Stored(Path("run.jsonl"), made, tuple(rounds), ended)
