"""Warm-up samples: the server sends each as requests before the model is READY; one that fails ends the load.

Source: core, `WarmUpData` (src/backend_model_instance.cc) and `InferenceRequest::Normalize` (src/infer_request.cc);
for the size of a batch, onnxruntime_backend, `ProcessRequests` (src/onnxruntime.cc).
"""

from collections.abc import Iterable, Iterator, Sequence
from math import prod
from pathlib import Path

import numpy as np

from generator.checker.rules.outcomes import Caution, Config, Place, refuse
from generator.checker.rules.paths import check_text_file, inside
from generator.checker.rules.shapes import VARIABLE, fits, shape_text, sizes
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


def check_samples(config: Config, folder: Path) -> None:
    """Check that the model takes each sample as a request."""
    for index, sample in enumerate(config["model_warmup"]):
        if sample["batch_size"]:
            at = ("model_warmup", index)
            check_data(sample, folder, at)
            check_request(config, sample, at)
            check_batch(config, sample, (*at, "batch_size"))


def data_path(folder: Path, filename: str) -> Path:
    """Return the path of a data file; core joins an absolute path to the folder as well."""
    return folder / FOLDER / filename.lstrip("/")


def check_data(sample: Config, folder: Path, at: Place) -> None:
    """Check that the server can make or read the data of a sample.

    Source: core, src/backend_model_instance.cc:382 and :491.
    """
    for name, entry in sorted(sample["inputs"].items()):
        dims = sizes(entry["dims"])
        refuse(
            (VARIABLE in dims,
             f"warmup setting expects all variable-size dimensions are specified for input '{name}'",
             "write every dimension of the sample", (*at, "inputs")),
            (not any(kind in entry for kind in DATA),
             f"{UNNAMED}warmup setting expects input '{name}' to have input_data_type set",
             "zero_data: true", (*at, "inputs")),
        )  # fmt: skip
        if "input_data_file" in entry:
            check_file(entry, dims, folder, at)


def check_file(entry: Config, dims: Sequence[int], folder: Path, at: Place) -> None:
    """Check that a data file has the bytes of one request; a file outside the model is not read.

    Source: core, src/backend_model_instance.cc:478.
    """
    path = data_path(folder, entry["input_data_file"])
    if not inside(path, folder):
        return
    check_text_file(path, f"put the file into {FOLDER}/", (*at, "inputs"), at)
    datatype = np.dtype(numpy_type(entry["data_type"])) if entry["data_type"] in TYPES else np.dtype(np.object_)
    wanted = 0 if datatype == np.object_ else datatype.itemsize * prod(dims)  # strings differ in length
    size = path.stat().st_size
    refuse(
        (size < wanted,  # the missing blank before "only" is core's
         (f"{UNNAMED}warmup setting expects {wanted} bytes, but the data provided from {entry['input_data_file']}only "
          f"has {size} bytes"), "write the raw data of one request, without the batch", (*at, "inputs")),
    )  # fmt: skip


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


def check_request(config: Config, sample: Config, at: Place) -> None:
    """Check that a sample has the model's inputs, with their types and shapes; the server skips others.

    Source: core, src/infer_request.cc, Normalize.
    """
    model, blocks, batched = config["name"], config["input"], config["max_batch_size"] > 0
    names = [block["name"] for block in blocks]
    given = {name: sample["inputs"][name] for name in names if name in sample["inputs"]}
    missing = [block["name"] for block in blocks if not block["optional"] and block["name"] not in given]
    refuse(
        (missing,
         (f"{UNNAMED}expected {len(blocks)} inputs but got {len(given)} inputs for model '{model}'. Got input(s) "
          f"[{listed(given)}], but missing required input(s) [{listed(missing)}]. Please provide all "
          "required input(s)."),
         f"add the input '{next(iter(missing), '')}' to the sample", at),
    )  # fmt: skip
    for block in blocks:
        name = block["name"]
        if name not in given:
            continue
        datatypes = [
            "<invalid>" if kind == "TYPE_INVALID" else wire_type(str(kind))
            for kind in (given[name]["data_type"], block["data_type"])
        ]
        shape, dims = sizes(given[name]["dims"]), sizes(block["dims"])
        refuse(
            (datatypes[0] != datatypes[1],
             (f"{UNNAMED}inference input '{name}' data-type is '{datatypes[0]}', but model '{model}' expects "
              f"'{datatypes[1]}'"), f"data_type: {block['data_type']}", (*at, "inputs")),
            (not fits(shape, dims),
             (f"{UNNAMED}unexpected shape for input '{name}' for model '{model}'. Expected "
              f"{shape_text([VARIABLE] * batched + dims)}, got {shape_text([1] * batched + shape)}."
              f"{NOTE if batched else ''}"), f"dims: {shape_text(dims)}", (*at, "inputs")),
        )  # fmt: skip


def check_batch(config: Config, sample: Config, at: Place) -> None:
    """Check that the requests of a sample fit one batch; each request that fails repeats the sentence.

    Source: onnxruntime_backend, src/onnxruntime.cc, ProcessRequests.
    """
    size, largest = sample["batch_size"], config["max_batch_size"]
    groups = [entry["name"] or f"{config['name']}_0" for entry in config["instance_group"]] or [config["name"]]
    why = f"batch size {size} for '{groups[0]}_0', max allowed is {largest};"
    refuse(
        (size > max(1, largest),
         f"failed to run warmup sample '{sample['name']}': {' '.join([why] * min(size, MAX_REPEATS))}",
         f"batch_size: {largest or 1}", at),
    )  # fmt: skip


def listed(names: Iterable[str]) -> str:
    """Return names in quotes, as Triton lists them."""
    return ",".join(f"'{name}'" for name in names)
