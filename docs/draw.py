"""Draw the charts of the stored run and a recording of a terminal. `make docs` calls it."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich import _export_format
from rich.console import Console
from rich.text import Text

from generator.system.files import write_whole
from perf.charts.content import run_charts
from perf.charts.draw import pictures
from perf.charts.types import NotDrawn
from perf.runs import store

DOCS = Path(__file__).parent
SHOWN = ("top1-latency-batch-4-fp32", "latency-batch-fp32")
COMMANDS = (
    ("build", "--models", "densenet121,dpn68"),
    ("check",),
    ("perf", "--show", "last"),
)
WIDTH = 118  # columns; longer lines wrap, as in a terminal
# The fonts of rich's picture are on another host.
FORMAT = re.sub(r"@font-face \{\{.*?\}\}", "", _export_format.CONSOLE_SVG_FORMAT, flags=re.DOTALL)


def main() -> None:
    """Write each picture as SVG."""
    (run,) = (DOCS / "runs").glob("*.jsonl")
    for chart in run_charts(store.read(run), ["compute"]):
        if chart.name in SHOWN and not isinstance(chart, NotDrawn):
            write_whole(DOCS / "charts" / f"{chart.name}.svg", pictures(chart)["svg"])
    write_whole(DOCS / "pictures" / "terminal.svg", recording(run).encode())


def recording(run: Path) -> str:
    """Run the commands in a folder that has the stored run, and return their output as a picture of a terminal."""
    console = Console(record=True, width=WIDTH, file=io.StringIO())
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder, "perf", "results", "cpu")
        runs.mkdir(parents=True)
        (runs / run.name).write_bytes(run.read_bytes())
        for arguments in COMMANDS:
            console.print(Text.assemble(("$ ", "green"), (f"tritongen {' '.join(arguments)}", "bold")))
            console.print(Text(output(arguments, folder)))
    return console.export_svg(title="tritongen", code_format=FORMAT, unique_id="terminal")


def output(arguments: tuple[str, ...], folder: str) -> str:
    """Run one command and return what it prints."""
    done = subprocess.run(
        [Path(sys.executable).parent / "tritongen", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )
    return "\n".join(line.rstrip() for line in done.stdout.splitlines()) + "\n"


if __name__ == "__main__":
    main()
