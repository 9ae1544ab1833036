"""Build time against the plain loop: torch.onnx.export with its default exporter, onnxsim.simplify, save.

The plain loop gets its networks ready made, verifies nothing, and is not charged for importing torch. Ours is the whole
command in an empty folder: it makes the weights, exports, simplifies, compares with torch at batch 1, 4 and 8, writes
configs and publishes. Half of the plain loop runs before it and half after, so that a slow spell meets both.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path

import onnx
import onnxsim
import psutil
import torch

from generator import networks
from generator.system.processes import Child
from generator.weights.random_init import random_network

SAMPLED_EVERY_S = 0.5


def main() -> None:
    """Print both times, their ratio, a second build, and the memory of all processes of a build together."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default="all", help="names, glob patterns, with commas")
    chosen = networks.select(parser.parse_args().models.split(","))
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder) / "models"
        command = ["build", "--models", ",".join(network.name for network in chosen), "--output", str(repository)]
        plain_s = sum(plain(network, Path(folder) / "plain.onnx") for network in chosen[::2])
        cold_s, peak_bytes = ours(command)
        plain_s += sum(plain(network, Path(folder) / "plain.onnx") for network in chosen[1::2])
        again_s = [ours(command)[0] for _ in range(3)]
    print(f"{len(chosen)} networks: plain loop {plain_s:.1f} s, build {cold_s:.1f} s, ratio {cold_s / plain_s:.2f}")
    print(f"peak memory of a build's processes together: {peak_bytes / 1e9:.1f} GB")
    print(f"the same build again, nothing changed: {', '.join(f'{one_s:.2f}' for one_s in again_s)} s")


def ours(command: list[str]) -> tuple[float, int]:
    """Seconds of a whole command, and the most memory that its processes had together (proportional set sizes)."""
    begin = time.perf_counter()
    with tempfile.TemporaryFile() as log:
        child = Child([sys.executable, "-m", "tritongen", *command], log=log)
        peak = Peak()
        status = child.wait()
        seconds = time.perf_counter() - begin
        peak.ended.set()
        if status:
            log.seek(0)
            raise SystemExit(log.read().decode())
    return seconds, peak.bytes


class Peak(threading.Thread):
    """The most memory that what this process started had, looked at twice a second until `ended` is set."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.bytes, self.ended = 0, threading.Event()
        self.start()

    def run(self) -> None:
        """Look."""
        while not self.ended.wait(SAMPLED_EVERY_S):
            self.bytes = max(self.bytes, sum(map(memory_bytes, psutil.Process().children(recursive=True))))


def memory_bytes(process: psutil.Process) -> int:
    """Return the memory of a process; memory shared by several counts once."""
    try:
        return int(process.memory_full_info().pss)
    except psutil.Error:  # it has just ended
        return 0


def plain(network: networks.Network, path: Path) -> float:
    """Seconds of the plain loop for one network."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    module, _ = random_network(network, 0)
    example = torch.zeros(2, *networks.INPUT_DIMS)
    batch = torch.export.Dim("N", min=1, max=4096)
    begin = time.perf_counter()
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(module, (example,), dynamic_shapes=({0: batch},), dynamo=True)
    model, _ = onnxsim.simplify(program.model_proto)
    onnx.save(model, path)
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
