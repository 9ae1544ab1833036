"""Warm-up samples: the server sends each as requests before the model is READY; one that fails ends the load.

Source: core, `WarmUpData` (src/backend_model_instance.cc) and `InferenceRequest::Normalize` (src/infer_request.cc);
for the size of a batch, onnxruntime_backend, `ProcessRequests` (src/onnxruntime.cc).
"""

from collections.abc import Iterable, Iterator, Sequence
from math import prod
from pathlib import Path

import numpy as np

from generator.checker.rules.basics import VARIABLE, Caution, Config, Place, Row, fits, shape_text, sizes
from generator.checker.rules.folder import check_text_file, inside
from generator.graph.datatypes import TYPES, numpy_type, wire_type

FOLDER = "warmup"
UNNAMED = "[request id: <id_unknown>] "
NOTE = (
    " NOTE: Setting a non-zero max_batch_size in the model config requires a batch dimension to be prepended to each "
    "input shape. If you want to specify the full shape including the batch dim in your input dims config, try setting "
    "max_batch_size to zero. See the model configuration docs for more info on max_batch_size."
)
MAX_REPEATS = 64  # of one sentence in a message
DATA = ("zero_data", "random_data", "input_data_file")


def sample_rows(config: Config, folder: Path) -> Iterator[Row]:
    """Yield the rows for each sample, which the model must take as a request."""
    for index, sample in enumerate(config["model_warmup"]):
        if sample["batch_size"]:
            at = ("model_warmup", index)
            yield from data_rows(sample, folder, at)
            yield from request_rows(config, sample, at)
            yield batch_row(config, sample, (*at, "batch_size"))


def data_path(folder: Path, filename: str) -> Path:
    """Return the path of a data file; core joins an absolute path to the folder as well."""
    return folder / FOLDER / filename.lstrip("/")


def data_rows(sample: Config, folder: Path, at: Place) -> Iterator[Row]:
    """Yield the rows for a sample's data (core, src/backend_model_instance.cc:382 and :491)."""
    for name, entry in sorted(sample["inputs"].items()):
        dims = sizes(entry["dims"])
        yield from [
            (VARIABLE in dims,
             f"warmup setting expects all variable-size dimensions are specified for input '{name}'",
             "write every dimension of the sample", (*at, "inputs")),
            (not any(kind in entry for kind in DATA),
             f"{UNNAMED}warmup setting expects input '{name}' to have input_data_type set",
             "zero_data: true", (*at, "inputs")),
        ]  # fmt: skip
        if "input_data_file" in entry and inside(path := data_path(folder, entry["input_data_file"]), folder):
            yield file_row(entry, dims, path, at)


def file_row(entry: Config, dims: Sequence[int], path: Path, at: Place) -> Row:
    """Return the row for a data file, which has the bytes of one request (core, src/backend_model_instance.cc:478)."""
    check_text_file(path, f"put the file into {FOLDER}/", (*at, "inputs"), at)
    datatype = np.dtype(numpy_type(entry["data_type"])) if entry["data_type"] in TYPES else np.dtype(np.object_)
    wanted = 0 if datatype == np.object_ else datatype.itemsize * prod(dims)  # strings differ in length
    size = path.stat().st_size
    sentence = (  # the missing blank before "only" is core's
        f"{UNNAMED}warmup setting expects {wanted} bytes, but the data provided from {entry['input_data_file']}only "
        f"has {size} bytes"
    )
    return size < wanted, sentence, "write the raw data of one request, without the batch", (*at, "inputs")


def data_outside(config: Config, folder: Path) -> Iterator[Caution]:
    """Warn of data files outside the model, which Triton reads."""
    for index, sample in enumerate(config["model_warmup"]):
        for entry in sample["inputs"].values():
            name = entry.get("input_data_file")
            if name is not None and not inside(data_path(folder, name), folder):
                yield Caution(
                    f"the warm-up data '{name}' are outside model directory, and were not read",
                    f"put the file into {FOLDER}/",
                    ("model_warmup", index, "inputs"),
                )


def request_rows(config: Config, sample: Config, at: Place) -> Iterator[Row]:
    """Yield the rows for the model's inputs, with their types and shapes; the server skips other inputs of a sample."""
    model, blocks, batched = config["name"], config["input"], config["max_batch_size"] > 0
    names = [block["name"] for block in blocks]
    given = {name: sample["inputs"][name] for name in names if name in sample["inputs"]}
    missing = [block["name"] for block in blocks if not block["optional"] and block["name"] not in given]
    yield (missing,
           (f"{UNNAMED}expected {len(blocks)} inputs but got {len(given)} inputs for model '{model}'. Got input(s) "
            f"[{listed(given)}], but missing required input(s) [{listed(missing)}]. Please provide all "
            "required input(s)."),
           f"add the input '{next(iter(missing), '')}' to the sample", at)  # fmt: skip
    for block in blocks:
        name = block["name"]
        if name not in given:
            continue
        datatypes = [
            "<invalid>" if kind == "TYPE_INVALID" else wire_type(str(kind))
            for kind in (given[name]["data_type"], block["data_type"])
        ]
        shape, dims = sizes(given[name]["dims"]), sizes(block["dims"])
        yield from [
            (datatypes[0] != datatypes[1],
             (f"{UNNAMED}inference input '{name}' data-type is '{datatypes[0]}', but model '{model}' expects "
              f"'{datatypes[1]}'"), f"data_type: {block['data_type']}", (*at, "inputs")),
            (not fits(shape, dims),
             (f"{UNNAMED}unexpected shape for input '{name}' for model '{model}'. Expected "
              f"{shape_text([VARIABLE] * batched + dims)}, got {shape_text([1] * batched + shape)}."
              f"{NOTE if batched else ''}"), f"dims: {shape_text(dims)}", (*at, "inputs")),
        ]  # fmt: skip


def batch_row(config: Config, sample: Config, at: Place) -> Row:
    """Return the row for requests that do not fit one batch; each request that fails repeats the sentence."""
    size, largest = sample["batch_size"], config["max_batch_size"]
    groups = [entry["name"] or f"{config['name']}_0" for entry in config["instance_group"]] or [config["name"]]
    why = f"batch size {size} for '{groups[0]}_0', max allowed is {largest};"
    sentence = f"failed to run warmup sample '{sample['name']}': {' '.join([why] * min(size, MAX_REPEATS))}"
    return size > max(1, largest), sentence, f"batch_size: {largest or 1}", at


def listed(names: Iterable[str]) -> str:
    """Return names in quotes, as Triton lists them."""
    return ",".join(f"'{name}'" for name in names)
