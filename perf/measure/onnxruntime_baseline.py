"""The baseline: a model in ONNX Runtime alone, in this process, on as many threads as the server gives it.

The difference is what the server adds; the rest is not the server's (onnxruntime_backend #265, #116).
"""

import os
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from generator.errors import BadValue
from generator.server.probe import ServedModel
from perf.measure.analyzer import input_row
from perf.runs.types import Bare, PerfPoint, Plan


class Baseline:
    """The baseline of a repository; it keeps one session, since ten would need as much memory as the server."""

    def __init__(self, repository: Path) -> None:
        self._repository = repository
        self._name = ""
        self._session: Any = None

    def measure(self, point: PerfPoint, model: ServedModel, plan: Plan) -> Bare:
        """Run a model as often as perf_analyzer sends requests, after its warm-up requests."""
        if self._name != model.name:
            self._session, self._name = None, ""  # before the next one takes memory
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = threads(model)
            # Idle threads must not spin: the server needs the processor in its turn.
            options.add_session_config_entry("session.force_spinning_stop", "1")
            path = str(model_file(self._repository, model))
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            self._name = model.name
        feeds = input_row(model)
        if model.max_batch_size:
            feeds = {name: np.stack([row] * point.batch_size) for name, row in feeds.items()}
        times = []
        for _ in range(plan.warmup_requests + plan.requests):
            begin = time.perf_counter()
            self._session.run(None, feeds)
            times.append(time.perf_counter() - begin)
        times_us = [seconds * 1e6 for seconds in times[plan.warmup_requests :]]
        return Bare(threads(model), avg_us=round(statistics.fmean(times_us)), p50_us=round(statistics.median(times_us)))


def threads(model: ServedModel) -> int:
    """Count ONNX Runtime's threads in the server: those of the config, else an equal share of the processors."""
    configured = model.parameters.get("intra_op_thread_count", "")
    if configured.isdecimal() and int(configured):
        return int(configured)
    return max(1, len(os.sched_getaffinity(0)) // model.instances)


def model_file(repository: Path, model: ServedModel) -> Path:
    """Return the ONNX file of the version that is served."""
    path = repository / model.name / model.version / "model.onnx"
    return path / "model.onnx" if path.is_dir() else path


def check(repository: Path, model: ServedModel) -> None:
    """Raise BadValue if a model has no baseline."""
    if model.device != "cpu":
        why = f"it runs ONNX Runtime on this machine's CPU, and {model.name} is served on a GPU"
        raise BadValue("baseline", "true", why, "leave it out, or measure with `gpus=cpu`")
    path = model_file(repository, model)
    if not path.is_file():
        raise BadValue("baseline", "true", f"{model.name} has no file {path}", "`repository` names the models")
