"""Latency of our graphs against the plain export: torch.onnx.export and onnxsim, without our rewrites.

Both graphs of a network run in ONNX Runtime in this process, in turn, on as many threads as there are processors; a
round is one run of each, and the ratio is the median of the rounds' ratios, so that a machine that slows down slows
both. Where no rewrite applies the two graphs are the same bytes, and the ratio shows the noise of the method.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from typing import TYPE_CHECKING

import onnxruntime

from generator import networks
from generator.graph.export import export
from generator.graph.simplify import simplify
from generator.graph.types import REWRITES
from generator.types import Preprocessing
from generator.verify import samples
from generator.weights.random_init import random_network

if TYPE_CHECKING:
    import onnx

ROUNDS = {1: 41, 8: 15}  # by batch size


def main() -> None:
    """Print a row a network and batch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default="all", help="names, glob patterns, with commas")
    parser.add_argument("--rewrites", default=",".join(REWRITES), help="those that are compared with none")
    arguments = parser.parse_args()
    heads = f"{'network':<12} {'batch':>5} {'plain ms':>9} {'ours ms':>8} {'faster':>7}"
    print(f"{heads} {'quarter at':>12} {'and at':>6}  applied")
    for network in networks.select(arguments.models.split(",")):
        exported = export(network.name, random_network(network, 0)[0], (networks.INPUT,), ("output",))
        plain = simplify(network.name, exported, ())
        ours = simplify(network.name, exported, arguments.rewrites.split(","))
        sessions = session(plain.model), session(ours.model)
        applied = ", ".join(f"{name} {count}" for name, count in ours.rewrites.items()) or "none: the same graph"
        for batch_size, rounds in ROUNDS.items():
            pairs = interleaved(sessions, batch_size, rounds)
            plain_s, ours_s = (statistics.median(way) for way in zip(*pairs, strict=True))
            ratios = sorted(before / after for before, after in pairs)
            quarter = len(ratios) // 4
            print(
                f"{network.name:<12} {batch_size:>5} {plain_s * 1e3:>9.1f} {ours_s * 1e3:>8.1f} "
                f"{statistics.median(ratios):>7.3f} {ratios[quarter]:>12.3f} {ratios[-1 - quarter]:>6.3f}  {applied}",
                flush=True,
            )


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """Open a session with the settings of the backend: all cores, every optimisation."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    # Between its runs one must not spin on a processor that the other needs.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def interleaved(
    sessions: tuple[onnxruntime.InferenceSession, ...], batch_size: int, rounds: int
) -> list[tuple[float, float]]:
    """Seconds of both in each round, after one round that is not counted; who begins changes every round."""
    feeds = samples.feeds((networks.INPUT,), batch_size, Preprocessing())
    pairs = []
    for number in range(rounds + 1):
        seconds = [0.0, 0.0]
        for way in (0, 1) if number % 2 else (1, 0):
            begin = time.perf_counter()
            sessions[way].run(None, feeds)
            seconds[way] = time.perf_counter() - begin
        pairs.append((seconds[0], seconds[1]))
    return pairs[1:]


if __name__ == "__main__":
    main()
