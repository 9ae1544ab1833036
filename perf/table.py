"""Measurements as a Markdown table with the columns of the published ones; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from generator.client import preprocessing_of
from generator.networks import NETWORKS

if TYPE_CHECKING:
    from perf.results import Measurement, Metric
    from perf.sweep import Sweep

TITLES = {network.name: network.title for network in NETWORKS}


def markdown(sweep: Sweep, metric: Metric) -> str:
    """Models down, precision by batch size across, milliseconds of one request."""
    cells = {(m.point.model, m.point.precision, m.point.batch_size): m for m in sweep.measurements}
    columns = [(precision, size) for precision in sweep.precisions for size in sweep.batch_sizes]
    heads = ["Models", "Crop Size", "Resize Short Size"]
    heads += [f"{precision.upper()}<br>Batch Size={size}<br>(ms)" for precision, size in columns]
    rows = [heads, ["---"] * len(heads)]
    for model in sweep.models:
        preprocessing = preprocessing_of(model)
        rows.append(
            [
                TITLES.get(model.name, model.name),
                str(preprocessing.crop_px) if preprocessing else "-",
                str(preprocessing.resize_short_px) if preprocessing else "-",
                *(cell(cells.get((model.name, precision, size)), metric) for precision, size in columns),
            ]
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def cell(measurement: Measurement | None, metric: Metric) -> str:
    """A figure, or what became of the point; a dash for a batch that the model does not take."""
    if measurement is None:
        return "-"
    if measurement.latency is None:
        return measurement.status
    return f"{metric.value_us(measurement.latency) / 1000:.2f}"


def reasons(sweep: Sweep) -> list[str]:
    """A line for each point that has no figure."""
    return [
        f"{m.status}: {m.point.model} {m.point.precision} batch {m.point.batch_size}: {m.reason}"
        for m in sweep.measurements
        if m.status != "ok"
    ]
