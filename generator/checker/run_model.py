"""Load and run a model in ONNX Runtime on the CPU, for the problems that reading it cannot show."""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from generator.checker.rules.basics import INTERNAL, Caution, Config, Refusal, shape_text, sizes
from generator.checker.rules.folder import inside
from generator.checker.rules.session_parameters import session_settings
from generator.checker.rules.warmup import data_path
from generator.graph.datatypes import numpy_type

Array = np.ndarray[Any, Any]
Feeds = dict[str, Array]

LARGEST_BATCH = 8
LARGEST_BYTES = 1 << 30  # of one input; a config can ask for more than any machine has
ERROR = re.compile(r"^\[ONNXRuntimeError\] : (\d+) : \w+ : ")


def run_model(path: Path, folder: Path, config: Config) -> Iterator[Caution]:
    """Load a model, run its warm-up samples, then its largest batch, 8 at most; raise Refusal as the server would."""
    try:
        session = open_session(path, config)
    except Refusal:
        raise
    except Exception as error:
        raise Refusal(backend_words(error), "correct the model", status=INTERNAL) from error
    for index, sample in enumerate(config["model_warmup"]):
        if sample["batch_size"]:
            yield from warm_up(session, folder, config, index)
    yield from largest_batch(session, config)


def warm_up(session: onnxruntime.InferenceSession, folder: Path, config: Config, index: int) -> Iterator[Caution]:
    """Run one sample, without inputs that the config does not have; raise Refusal if it fails, as on the server."""
    sample, at = config["model_warmup"][index], ("model_warmup", index)
    rows = sample["batch_size"] if config["max_batch_size"] else None
    given = [entry for entry in config["input"] if entry["name"] in sample["inputs"]]
    if too_large(given, rows):
        yield Caution(f"the warm-up sample '{sample['name']}' is too large to run here", "run it on the server", at)
        return
    try:
        run(session, config, {e["name"]: data(e, sample["inputs"][e["name"]], folder, rows) for e in given})
    except Exception as error:
        sentence = f"failed to run warmup sample '{sample['name']}': {backend_words(error)}"
        raise Refusal(sentence, "correct the model or the sample", at, INTERNAL) from error


def largest_batch(session: onnxruntime.InferenceSession, config: Config) -> Iterator[Caution]:
    """Warn of a graph that does not take the largest batch: a server loads it, and then fails requests."""
    rows, at = min(config["max_batch_size"], LARGEST_BATCH) or None, ("max_batch_size",)
    if any(dim < 0 for entry in config["input"] for dim in sizes(entry["dims"])):
        return  # the config does not say which sizes the model takes
    if too_large(config["input"], rows):
        yield Caution(f"a batch of {rows or 1} is too large to run here", "run it on the server", at)
        return
    try:
        results = run(session, config, {e["name"]: zeros(e, rows) for e in config["input"]})
    except Exception as error:  # noqa: BLE001 (any error will fail requests)
        fix = "correct the graph, or lower max_batch_size"
        yield Caution(f"a batch of {rows or 1} fails: {backend_words(error)}", fix, at)
        return
    for name, result in results.items():
        if rows and np.shape(result)[:1] != (rows,):
            yield Caution(
                f"a batch of {rows} returns '{name}' of shape {shape_text(np.shape(result))}: rows are lost or mixed",
                "the first dimension must stay the batch",
                at,
            )


def run(session: onnxruntime.InferenceSession, config: Config, tensors: Feeds) -> Feeds:
    """Run inputs in the shapes of the config, reshaped as the config says; return the outputs of the config."""
    ranks = {argument.name: len(argument.shape) for argument in session.get_inputs()}
    feeds = {}
    for entry in config["input"]:
        array = tensors[entry["name"]]
        if "reshape" in entry:
            batch = array.shape[:1] if config["max_batch_size"] else ()
            array = array.reshape(*batch, *sizes(entry["reshape"].get("shape", [])))
        feeds[entry["name"]] = array if ranks[entry["name"]] else array.reshape(())  # a scalar has one element
    names = list(dict.fromkeys(entry["name"] for entry in config["output"]))
    return dict(zip(names, session.run(names, feeds), strict=True))


def data(entry: Config, sample: Config, folder: Path, rows: int | None) -> Array:
    """Return an input of a sample: zeros, random bytes, or a file's data, repeated for each request of the batch.

    A file outside the model's folder is not read: zeros replace it.
    """
    dims, datatype = sizes(sample["dims"]), np.dtype(numpy_type(entry["data_type"]))
    size = math.prod(dims)
    if datatype == np.object_ or sample.get("zero_data"):
        return zeros(entry, rows, dims)
    if sample.get("random_data"):
        row = np.frombuffer(np.random.default_rng(0).bytes(size * datatype.itemsize), datatype)
        row = row.astype(np.uint8).astype(np.bool_) if datatype == np.bool_ else row
    else:
        path = data_path(folder, sample["input_data_file"])
        if not inside(path, folder):
            return zeros(entry, rows, dims)
        row = np.fromfile(path, datatype, count=size)
    return row.reshape(dims) if rows is None else np.repeat(row.reshape((1, *dims)), rows, axis=0)


def zeros(entry: Config, rows: int | None, dims: Sequence[int] | None = None) -> Array:
    """Return a tensor of zeros or empty strings, by default in the config's shape."""
    full = (*([] if rows is None else [rows]), *(sizes(entry["dims"]) if dims is None else dims))
    datatype = np.dtype(numpy_type(entry["data_type"]))
    return np.full(full, "", datatype) if datatype == np.object_ else np.zeros(full, datatype)


def too_large(entries: Iterable[Config], rows: int | None) -> bool:
    """Return True if an input is larger than LARGEST_BYTES; an open dimension counts as one."""
    return any(
        math.prod(max(1, dim) for dim in sizes(entry["dims"]))
        * (rows or 1)
        * np.dtype(numpy_type(entry["data_type"])).itemsize
        > LARGEST_BYTES
        for entry in entries
    )


def open_session(path: Path, config: Config) -> onnxruntime.InferenceSession:
    """Open a session on the CPU with the settings of the config, without its threads."""
    settings = session_settings(config)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, settings.graph_level)
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def backend_words(error: Exception) -> str:
    """Return `onnx runtime error 2: …`, as the C++ backend writes ONNX Runtime's errors."""
    return " ".join(ERROR.sub(r"onnx runtime error \1: ", str(error)).split())
