"""How much the embedded server adds: perf_analyzer over gRPC against bare ONNX Runtime, by `tritongen perf --baseline`.

Same model file, same thread count, the same photograph, in turn, so that a machine that slows down slows both.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from perf.measure.analyzer import Analyzer, find
from perf.measure.sweep import Sweep
from perf.runs import tables
from perf.runs.types import Request
from tritongen import build

MODELS = ("densenet121", "dpn92")


def main() -> None:
    """Build the two models in a folder of its own, measure them, print the ratios."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder) / "models"
        build(MODELS, output=repository)
        request = Request(
            "cpu", ("fp32",), batch_sizes=(1, 8), measurement="quick", repository=str(repository), baseline=True
        )
        run = Sweep(request, Analyzer(*find(None)), Path(folder) / "results").run()
        shown = tables.beside_bare(run)
        print(f"{shown.markdown}\n\n{shown.under}")


if __name__ == "__main__":
    main()
