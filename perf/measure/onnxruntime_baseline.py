"""A model in ONNX Runtime alone, in this process, on the threads that the server gives it.

What the server adds is the difference, and what it cannot be blamed for is the rest (onnxruntime_backend #265, #116).
"""

from __future__ import annotations

import os
import statistics
import time
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime

from generator.errors import BadValue
from perf.measure.inputs import input_feeds
from perf.runs.types import Bare

if TYPE_CHECKING:
    from pathlib import Path

    from generator.server.served_model import ServedModel
    from generator.verify.samples import Array
    from perf.runs.types import PerfPoint, Plan


class Baseline:
    """One session at a time: ten models side by side would want the memory that the server has."""

    def __init__(self, repository: Path) -> None:
        self._repository = repository
        self._name = ""
        self._session: onnxruntime.InferenceSession | None = None

    def measure(self, point: PerfPoint, model: ServedModel, plan: Plan) -> Bare:
        """As many runs as perf_analyzer sends requests, after as many that are not counted."""
        session = self.session(model)
        feeds = batch(input_feeds(model), point.batch_size if model.max_batch_size else None)
        for _ in range(plan.warmup_requests):
            session.run(None, feeds)
        seconds = []
        for _ in range(plan.requests):
            begin = time.perf_counter()
            session.run(None, feeds)
            seconds.append(time.perf_counter() - begin)
        return Bare(
            threads=threads(model),
            avg_us=round(statistics.fmean(seconds) * 1e6),
            p50_us=round(statistics.median(seconds) * 1e6),
        )

    def session(self, model: ServedModel) -> onnxruntime.InferenceSession:
        """The model's, kept until another is asked for."""
        if self._session is None or self._name != model.name:
            self._session = None
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = threads(model)
            # Between its runs it must not spin on a processor that the server needs in its turn.
            options.add_session_config_entry("session.force_spinning_stop", "1")
            path = model_file(self._repository, model)
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            self._name = model.name
        return self._session


def batch(feeds: dict[str, Array], rows: int | None) -> dict[str, Array]:
    """Each row that often; as it is where the model has no batch."""
    if rows is None:
        return feeds
    return {name: np.repeat(array[np.newaxis], rows, axis=0) for name, array in feeds.items()}


def threads(model: ServedModel) -> int:
    """Of ONNX Runtime in the server: what the config says, else the processors shared out among the instances."""
    said = model.parameters.get("intra_op_thread_count", "")
    if said.isdecimal() and int(said):
        return int(said)
    return max(1, len(os.sched_getaffinity(0)) // model.instances)


def model_file(repository: Path, model: ServedModel) -> Path:
    """The graph of the version that is served."""
    path = repository / model.name / model.version / "model.onnx"
    return path / "model.onnx" if path.is_dir() else path


def check(repository: Path, model: ServedModel) -> None:
    """Raise BadValue where a model cannot be run beside the server."""
    if model.device != "cpu":
        why = f"it runs ONNX Runtime on this machine's CPU, and {model.name} is served on a GPU"
        raise BadValue("baseline", "true", why, "leave it out, or measure with `gpus=cpu`")
    path = model_file(repository, model)
    if not path.is_file():
        raise BadValue("baseline", "true", f"{model.name} has no file {path}", "`repository` names the models")
