"""The charts of the README, from the run in docs/runs. `make docs` calls it."""

from __future__ import annotations

from pathlib import Path

from generator.system.files import write_whole
from perf.charts.choose import of_run
from perf.charts.draw import pictures
from perf.charts.types import NotDrawn
from perf.runs import store
from perf.runs.metrics import COMPUTE

DOCS = Path(__file__).parent
SHOWN = ("top1-latency-batch-4-fp32", "latency-batch-fp32")


def main() -> None:
    """Write each as SVG."""
    (run,) = (DOCS / "runs").glob("*.jsonl")
    for chart in of_run(store.read(run), [COMPUTE]):
        if chart.name in SHOWN and not isinstance(chart, NotDrawn):
            write_whole(DOCS / "charts" / f"{chart.name}.svg", pictures(chart)["svg"])


if __name__ == "__main__":
    main()
