"""How much the embedded server adds: client p50 by perf_analyzer over gRPC against bare ONNX Runtime in this process.

Same model file, same thread count, the same photograph; ten requests of each in turn, after one that is not counted, so
that a machine that slows down slows both.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime

from generator import build, serve
from generator.server import probe
from generator.server.ports import free_ports
from perf.analyzer import PLANS, input_row, measure
from perf.results import PerfPoint

if TYPE_CHECKING:
    from generator.spec import ServedModel

MODELS = ("densenet121", "dpn92")
ROUNDS = {1: 9, 8: 5}  # by batch size
REQUESTS = 10  # a round, as in PLANS["quick"]


def main() -> None:
    """Build the two models in a folder of its own, serve them, print a row a model and batch."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    print(f"{'model':<12} {'batch':>5} {'served ms':>10} {'bare ms':>10} {'ratio':>6} {'rounds from':>12} {'to':>6}")
    with tempfile.TemporaryDirectory() as folder:
        build(MODELS, output=Path(folder) / "models")
        with serve(Path(folder) / "models", ports=free_ports()) as server:
            for name in MODELS:
                session = bare(Path(folder) / "models" / name / "1" / "model.onnx")
                model = probe.served_model(server.grpc_url, name)
                for batch_size, rounds in ROUNDS.items():
                    pairs = [one_round(server.grpc_url, model, session, batch_size) for _ in range(rounds)]
                    served_s, bare_s = (statistics.median(way) for way in zip(*pairs, strict=True))
                    ratios = [served / alone for served, alone in pairs]
                    print(
                        f"{name:<12} {batch_size:>5} {served_s * 1e3:>10.1f} {bare_s * 1e3:>10.1f} "
                        f"{statistics.median(ratios):>6.3f} {min(ratios):>12.3f} {max(ratios):>6.3f}",
                        flush=True,
                    )


def bare(path: Path) -> onnxruntime.InferenceSession:
    """The session that the backend makes: all processors, every optimisation."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    # Between its runs it must not spin on a processor that the server needs in its turn; within a run nothing changes.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def one_round(
    url: str, model: ServedModel, session: onnxruntime.InferenceSession, batch_size: int
) -> tuple[float, float]:
    """Median seconds of ten requests through the server, then of ten runs without it."""
    measured = measure(PerfPoint(model.name, "fp32", batch_size), model, url, PLANS["quick"])
    if measured.latency is None:
        raise SystemExit(f"{model.name} batch {batch_size}: {measured.status}: {measured.reason}")
    images = np.repeat(input_row(model)[np.newaxis], batch_size, axis=0)
    session.run(None, {"input": images})
    seconds = []
    for _ in range(REQUESTS):
        begin = time.perf_counter()
        session.run(None, {"input": images})
        seconds.append(time.perf_counter() - begin)
    return measured.latency.p50_us / 1e6, statistics.median(seconds)


if __name__ == "__main__":
    main()
