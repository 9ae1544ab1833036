"""`check --run`: what only loading and running a model can show, in ONNX Runtime on the CPU."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

from generator.checker.rules.outcomes import Hurts, Refused
from generator.checker.rules.paths import inside
from generator.checker.rules.session_parameters import session_settings
from generator.checker.rules.tensors_match import shape_text
from generator.checker.rules.warmup import FOLDER
from generator.graph.datatypes import numpy_type

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    Config = Mapping[str, Any]
    Array = np.ndarray[Any, Any]
    Feeds = dict[str, Array]

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
            yield from warm_up(session, folder, config, place)
    yield from largest_batch(session, config)


def warm_up(session: onnxruntime.InferenceSession, folder: Path, config: Config, place: int) -> Iterator[Hurts]:
    """Run one sample; inputs that the config does not have are passed over, as the server does.

    Raises:
        Refused: it fails.
    """
    sample, at = config["model_warmup"][place], ("model_warmup", place)
    rows = sample["batch_size"] if config["max_batch_size"] else None
    given = [entry for entry in config["input"] if entry["name"] in sample["inputs"]]
    if too_large(given, rows):
        yield Hurts(f"the warm-up sample '{sample['name']}' is too large to be run here", "run it on the server", at)
        return
    try:
        run(session, config, {e["name"]: data(e, sample["inputs"][e["name"]], folder, rows) for e in given})
    except Exception as error:
        sentence = f"failed to run warmup sample '{sample['name']}': {backend_words(error)}"
        raise Refused(sentence, "mend the model, or the sample", at, "Internal") from error


def largest_batch(session: onnxruntime.InferenceSession, config: Config) -> Iterator[Hurts]:
    """A server loads a model whose graph does not take the batch, and then fails requests."""
    rows, at = min(config["max_batch_size"], LARGEST_BATCH) or None, ("max_batch_size",)
    if any(int(dim) < 0 for entry in config["input"] for dim in entry["dims"]):
        return  # which sizes it takes, the config does not say
    if too_large(config["input"], rows):
        yield Hurts(f"a batch of {rows or 1} is too large to be run here", "run it on the server", at)
        return
    try:
        results = run(session, config, {e["name"]: zeros(e, rows) for e in config["input"]})
    except Exception as error:  # noqa: BLE001 (whatever it is, requests will meet it)
        yield Hurts(
            f"a batch of {rows or 1} fails: {backend_words(error)}", "mend the graph, or lower max_batch_size", at
        )
        return
    for name, result in results.items():
        if rows and np.shape(result)[:1] != (rows,):
            yield Hurts(
                f"a batch of {rows} gives '{name}' of shape {shape_text(np.shape(result))}: rows are lost or mixed",
                "the first dimension must stay the batch",
                at,
            )


def run(session: onnxruntime.InferenceSession, config: Config, tensors: Feeds) -> Feeds:
    """The outputs of the config, of inputs in the shapes of the config: they are reshaped as the config says."""
    ranks = {argument.name: len(argument.shape) for argument in session.get_inputs()}
    feeds = {}
    for entry in config["input"]:
        array = tensors[entry["name"]]
        if "reshape" in entry:
            batch = array.shape[:1] if config["max_batch_size"] else ()
            array = array.reshape(*batch, *map(int, entry["reshape"].get("shape", [])))
        feeds[entry["name"]] = array if ranks[entry["name"]] else array.reshape(())  # a scalar has one element
    names = list(dict.fromkeys(entry["name"] for entry in config["output"]))
    return dict(zip(names, session.run(names, feeds), strict=True))


def data(entry: Config, sample: Config, folder: Path, rows: int | None) -> Array:
    """An input of a sample: zeros, random bytes, or a file's, repeated for each request of the batch.

    A file outside the model's folder is not read: zeros stand for it.
    """
    dims, datatype = tuple(map(int, sample["dims"])), np.dtype(numpy_type(entry["data_type"]))
    size = math.prod(dims)
    if datatype == np.object_ or sample.get("zero_data"):
        return zeros(entry, rows, dims)
    if sample.get("random_data"):
        row = np.frombuffer(np.random.default_rng(0).bytes(size * datatype.itemsize), datatype)
        row = row.astype(np.uint8).astype(np.bool_) if datatype == np.bool_ else row
    else:
        path = folder / FOLDER / sample["input_data_file"].lstrip("/")
        if not inside(path, folder):
            return zeros(entry, rows, dims)
        row = np.fromfile(path, datatype, count=size)
    return row.reshape(dims) if rows is None else np.repeat(row.reshape((1, *dims)), rows, axis=0)


def zeros(entry: Config, rows: int | None, dims: Sequence[int] | None = None) -> Array:
    """A tensor of zeros, or of empty strings, in the config's shape where no other is given."""
    full = (*([] if rows is None else [rows]), *(map(int, entry["dims"]) if dims is None else dims))
    datatype = np.dtype(numpy_type(entry["data_type"]))
    return np.full(full, "", datatype) if datatype == np.object_ else np.zeros(full, datatype)


def too_large(entries: Iterable[Config], rows: int | None) -> bool:
    """Whether an input has more bytes than a check should take; an open dimension counts as one."""
    return any(
        math.prod(max(1, int(dim)) for dim in entry["dims"])
        * (rows or 1)
        * np.dtype(numpy_type(entry["data_type"])).itemsize
        > LARGEST_BYTES
        for entry in entries
    )


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
