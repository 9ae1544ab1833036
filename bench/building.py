"""Build time against the plain loop: torch.onnx.export with its default exporter, onnxsim.simplify, save.

Network by network, the plain way and ours in turn. The plain loop gets its network ready made and verifies nothing;
ours makes the weights, exports, simplifies, compares with torch at batch 1, 4 and 8, writes configs and publishes.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import resource
import tempfile
import time
import warnings
from pathlib import Path

import onnx
import onnxsim
import torch

from generator import build, networks
from generator.weights.random import random_network


def main() -> None:
    """Print a row a network and the ratio of the sums."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default="all", help="names, glob patterns, with commas")
    chosen = networks.select(parser.parse_args().models.split(","))
    print(f"{'network':<12} {'plain s':>8} {'build s':>8} {'ratio':>6}")
    plain_total = build_total = 0.0
    for network in chosen:
        with tempfile.TemporaryDirectory() as folder:
            plain_s = plain(network, Path(folder) / "plain.onnx")
            begin = time.perf_counter()
            report = build([network.name], output=Path(folder) / "models")
            build_s = time.perf_counter() - begin
        if report.failed:
            raise SystemExit(str(report.failed))
        plain_total, build_total = plain_total + plain_s, build_total + build_s
        print(f"{network.name:<12} {plain_s:>8.1f} {build_s:>8.1f} {build_s / plain_s:>6.2f}", flush=True)
    print(f"{'all':<12} {plain_total:>8.1f} {build_total:>8.1f} {build_total / plain_total:>6.2f}")
    print(f"peak memory of the process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.1f} GB")


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
