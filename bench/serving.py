"""How much the embedded server adds: client p50 through Triton over gRPC against bare ONNX Runtime in this process.

Same model file, same thread count, five requests of each in turn, so that a machine that slows down slows both.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
import tritonclient.grpc as triton

from generator import build, serve
from generator.server.ports import free_ports
from generator.spec import Preprocessing
from generator.verify import sample_images

MODELS = ("densenet121", "dpn92")
ROUNDS = {1: 16, 8: 6}  # by batch size
BLOCK = 5  # requests of one way before the other's turn


def main() -> None:
    """Build the two models in a folder of its own, serve them, print a row a model and batch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=float, default=1.0, help="factor on the number of requests")
    factor = parser.parse_args().rounds
    print(f"{'model':<12} {'batch':>5} {'served ms':>10} {'bare ms':>10} {'ratio':>6}   (p50 of each, in turn)")
    with tempfile.TemporaryDirectory() as folder:
        build(MODELS, output=Path(folder) / "models")
        with serve(Path(folder) / "models", ports=free_ports()) as server:
            for model in MODELS:
                session = bare(Path(folder) / "models" / model / "1" / "model.onnx")
                for batch_size, rounds in ROUNDS.items():
                    served_s, bare_s = in_turn(
                        server.grpc_url, model, session, batch_size, max(2, int(rounds * factor))
                    )
                    print(
                        f"{model:<12} {batch_size:>5} {served_s * 1e3:>10.1f} {bare_s * 1e3:>10.1f} "
                        f"{served_s / bare_s:>6.3f}"
                    )


def bare(path: Path) -> onnxruntime.InferenceSession:
    """The session that the backend makes: all processors, every optimisation."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    # Between its runs it must not spin on a processor that the server needs in its turn; within a run nothing changes.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def in_turn(
    url: str, model: str, session: onnxruntime.InferenceSession, batch_size: int, rounds: int
) -> tuple[float, float]:
    """Median seconds through the server and without it, in turn; their answers must be the same."""
    images = sample_images(8, Preprocessing())[:batch_size]
    request = triton.InferInput("input", list(images.shape), "FP32")
    request.set_data_from_numpy(images)
    with triton.InferenceServerClient(url) as client:
        ways = {
            "served": lambda: client.infer(model, [request]).as_numpy("output"),
            "bare": lambda: session.run(None, {"input": images})[0],
        }
        np.testing.assert_allclose(ways["served"](), ways["bare"](), rtol=0, atol=1e-4)
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(rounds):
            for way, ask in ways.items():
                ask()  # not counted: the other's threads still spin, and have taken the caches
                for _ in range(BLOCK):
                    begin = time.perf_counter()
                    ask()
                    seconds[way].append(time.perf_counter() - begin)
    return statistics.median(seconds["served"]), statistics.median(seconds["bare"])


if __name__ == "__main__":
    main()
