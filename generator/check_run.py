"""`check --run`: what only loading and running a model can show, in ONNX Runtime on the CPU."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

from generator.datatypes import numpy_type
from generator.rules.parameters import session_settings
from generator.rules.refused import Hurts, Refused
from generator.rules.warmup import FOLDER, shape

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    Config = Mapping[str, Any]
    Feeds = dict[str, np.ndarray[Any, Any]]

LARGEST_BATCH = 8
LARGEST_BYTES = 1 << 30  # of one input; a config can ask for more than any machine has
ERROR = re.compile(r"^\[ONNXRuntimeError\] : (\d+) : \w+ : ")


def run_model(path: Path, folder: Path, config: Config) -> Iterator[Hurts]:
    """Load a model, run its warm-up samples, then its largest batch, 8 at most.

    Raises:
        Refused: it does not load, or a sample fails: so does the server.
    """
    try:
        session = open_session(path, config)
    except Refused:
        raise
    except Exception as error:
        raise Refused(backend_words(error), "mend the model", status="Internal") from error
    for place, sample in enumerate(config["model_warmup"]):
        if sample["batch_size"]:
            at = ("model_warmup", place)
            rows = sample["batch_size"] if config["max_batch_size"] else None
            try:
                session.run(None, {name: given(entry, folder, rows) for name, entry in sample["inputs"].items()})
            except Exception as error:
                sentence = f"failed to run warmup sample '{sample['name']}': {backend_words(error)}"
                raise Refused(sentence, "mend the model, or the sample", at, "Internal") from error
    yield from largest_batch(session, config)


def largest_batch(session: onnxruntime.InferenceSession, config: Config) -> Iterator[Hurts]:
    """A server loads a model whose graph does not take the batch, and then fails requests."""
    rows = min(config["max_batch_size"], LARGEST_BATCH) or None
    shapes = {
        entry["name"]: tuple(map(int, entry.get("reshape", entry).get("shape", entry["dims"])))
        for entry in config["input"]
    }
    if any(dim < 0 for dims in shapes.values() for dim in dims):
        return  # which sizes it takes, the config does not say
    try:
        feeds = {entry["name"]: zeros(entry["data_type"], shapes[entry["name"]], rows) for entry in config["input"]}
        results = session.run(None, feeds)
    except Exception as error:  # noqa: BLE001 (whatever it is, requests will meet it)
        yield Hurts(
            f"a batch of {rows or 1} fails: {backend_words(error)}",
            "mend the graph, or lower max_batch_size",
            ("max_batch_size",),
        )
        return
    for output, result in zip(session.get_outputs(), results, strict=True):
        if rows and np.shape(result)[:1] != (rows,):
            yield Hurts(
                f"a batch of {rows} gives '{output.name}' of shape {shape(np.shape(result))}: rows are lost or mixed",
                "the first dimension must stay the batch",
                ("max_batch_size",),
            )


def given(entry: Config, folder: Path, rows: int | None) -> np.ndarray[Any, Any]:
    """The data of a sample: zeros, random bytes, or a file's, repeated for each request of the batch."""
    dims = tuple(map(int, entry["dims"]))
    if entry.get("zero_data"):
        return zeros(entry["data_type"], dims, rows)
    size = math.prod(dims)
    datatype = np.dtype(numpy_type(entry["data_type"]))
    if entry.get("random_data") and datatype != np.object_:
        row = np.frombuffer(np.random.default_rng(0).bytes(size * datatype.itemsize), datatype)
        row = row.astype(np.uint8).astype(np.bool_) if datatype == np.bool_ else row
    elif "input_data_file" in entry and datatype != np.object_:
        row = np.fromfile(folder / FOLDER / entry["input_data_file"], datatype, count=size)
    else:
        return zeros(entry["data_type"], dims, rows)
    return row.reshape(dims) if rows is None else np.repeat(row.reshape((1, *dims)), rows, axis=0)


def zeros(datatype: str, dims: Sequence[int], rows: int | None) -> np.ndarray[Any, Any]:
    """A tensor of zeros, or of empty strings."""
    full = tuple(dims) if rows is None else (rows, *dims)
    dtype = np.dtype(numpy_type(datatype))
    if math.prod(full) * dtype.itemsize > LARGEST_BYTES:
        raise ValueError(f"an input of shape {shape(full)} has more than {LARGEST_BYTES >> 30} GiB")
    return np.full(full, "", dtype) if dtype == np.object_ else np.zeros(full, dtype)


def open_session(path: Path, config: Config) -> onnxruntime.InferenceSession:
    """A session on the CPU with the settings of the config, but for its threads."""
    settings = session_settings(config)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, settings.graph_level)
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def backend_words(error: Exception) -> str:
    """`onnx runtime error 2: …`, as the C++ backend writes ONNX Runtime's errors."""
    return " ".join(ERROR.sub(r"onnx runtime error \1: ", str(error)).split())
