"""Warm-up samples: each becomes requests before the model is READY, and one that fails ends the load.

Source: core, `WarmUpData` in src/backend_model_instance.cc and `InferenceRequest::Normalize` (src/infer_request.cc);
the size of a batch: onnxruntime_backend, `ProcessRequests` (src/onnxruntime.cc).
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from generator.checker.rules.outcomes import DIES, Hurts, Refused
from generator.checker.rules.paths import ABORTS_ON_A_FOLDER, inside, unreadable
from generator.checker.rules.tensors_match import shape_text
from generator.graph.datatypes import TYPES, numpy_type, wire_type

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from generator.checker.rules.outcomes import Place

    Config = Mapping[str, Any]

FOLDER = "warmup"
UNNAMED = "[request id: <id_unknown>] "
NOTE = (
    " NOTE: Setting a non-zero max_batch_size in the model config requires a batch dimension to be prepended to each "
    "input shape. If you want to specify the full shape including the batch dim in your input dims config, try setting "
    "max_batch_size to zero. See the model configuration docs for more info on max_batch_size."
)
VARIABLE = -1
LARGEST_SAID = 64
DATA = ("zero_data", "random_data", "input_data_file")


def samples_can_be_asked(config: Config, folder: Path) -> None:
    """Each sample is a request that the model takes."""
    for place, sample in enumerate(config["model_warmup"]):
        if sample["batch_size"]:
            check_data(sample, folder, ("model_warmup", place))
            check_request(config, sample, ("model_warmup", place))
            check_batch(config, sample, ("model_warmup", place))


def check_data(sample: Config, folder: Path, at: Place) -> None:
    """The data that are said can be made, or read.

    Source: core, src/backend_model_instance.cc:382 and :491.
    """
    for name, entry in sorted(sample["inputs"].items()):
        dims = [int(dim) for dim in entry["dims"]]
        if VARIABLE in dims:
            raise Refused(
                f"warmup setting expects all variable-size dimensions are specified for input '{name}'",
                "give every dimension of the sample",
                (*at, "inputs"),
            )
        if not any(kind in entry for kind in DATA):
            raise Refused(
                f"{UNNAMED}warmup setting expects input '{name}' to have input_data_type set",
                "zero_data: true",
                (*at, "inputs"),
            )
        if "input_data_file" in entry:
            check_file(entry, dims, folder, at)


def check_file(entry: Config, dims: Sequence[int], folder: Path, at: Place) -> None:
    """A file in `warmup/` with the bytes of one request; one outside is not looked at.

    Source: core, src/backend_model_instance.cc:478.
    """
    path = folder / FOLDER / entry["input_data_file"].lstrip("/")
    if not inside(path, folder):
        return
    if path.is_dir():
        raise Refused(ABORTS_ON_A_FOLDER, f"{path.name} is a folder: the whole server aborts; name a file", at, DIES)
    if why := unreadable(path):
        raise Refused(
            f"failed to open text file for read {path}: {why}",
            f"put the file into {FOLDER}/",
            (*at, "inputs"),
            "Internal",
        )
    wanted = bytes_of(entry["data_type"]) * prod(dims)
    size = path.stat().st_size
    if size < wanted:  # the blank before "only" is missing in core
        raise Refused(
            f"{UNNAMED}warmup setting expects {wanted} bytes, but the data provided from "
            f"{entry['input_data_file']}only has {size} bytes",
            "the raw data of one request, without the batch",
            (*at, "inputs"),
        )


def bytes_of(datatype: str) -> int:
    """Of one element; none where they differ in length, or the type is not served."""
    known = np.dtype(numpy_type(datatype)) if datatype in TYPES else None
    return 0 if known is None or known == np.object_ else known.itemsize


def data_outside(config: Config, folder: Path) -> Iterator[Hurts]:
    """Triton reads them all the same."""
    for place, sample in enumerate(config["model_warmup"]):
        for entry in sample["inputs"].values():
            name = entry.get("input_data_file")
            if name is not None and not inside(folder / FOLDER / name.lstrip("/"), folder):
                yield Hurts(
                    f"the warm-up data '{name}' are outside model directory, and were not read",
                    f"put the file into {FOLDER}/",
                    ("model_warmup", place, "inputs"),
                )


def check_request(config: Config, sample: Config, at: Place) -> None:
    """The model's inputs are there, with its types and shapes; others are passed over.

    Source: core, src/infer_request.cc, Normalize.
    """
    name = config["name"]
    given = {
        block["name"]: sample["inputs"][block["name"]] for block in config["input"] if block["name"] in sample["inputs"]
    }
    missing = [block["name"] for block in config["input"] if not block["optional"] and block["name"] not in given]
    if missing:
        raise Refused(
            f"{UNNAMED}expected {len(config['input'])} inputs but got {len(given)} inputs for model '{name}'. Got "
            f"input(s) [{quoted(given)}], but missing required input(s) [{quoted(missing)}]. Please provide all "
            "required input(s).",
            f"give the sample the input '{missing[0]}'",
            at,
        )
    for block in config["input"]:
        if block["name"] in given:
            check_input(config, block, given[block["name"]], at)


def check_input(config: Config, block: Config, entry: Config, at: Place) -> None:
    """One input's type and shape.

    Source: core, src/infer_request.cc, Normalize.
    """
    name, asked = config["name"], block["name"]
    if entry["data_type"] != block["data_type"]:
        raise Refused(
            f"{UNNAMED}inference input '{asked}' data-type is '{plain(entry['data_type'])}', but model '{name}' "
            f"expects '{plain(block['data_type'])}'",
            f"data_type: {block['data_type']}",
            (*at, "inputs"),
        )
    got, want = [int(dim) for dim in entry["dims"]], [int(dim) for dim in block["dims"]]
    if len(got) == len(want) and all(w in (VARIABLE, g) for g, w in zip(got, want, strict=True)):
        return
    batch = config["max_batch_size"] > 0
    raise Refused(
        f"{UNNAMED}unexpected shape for input '{asked}' for model '{name}'. Expected "
        f"{shape_text([VARIABLE] * batch + want)}, got {shape_text([1] * batch + got)}.{NOTE if batch else ''}",
        f"dims: {shape_text(want)}",
        (*at, "inputs"),
    )


def check_batch(config: Config, sample: Config, at: Place) -> None:
    """The requests of a sample run as one batch; each that fails says so.

    Source: onnxruntime_backend, src/onnxruntime.cc, ProcessRequests.
    """
    size, largest = sample["batch_size"], config["max_batch_size"]
    if size != 1 and size > largest:
        groups = [entry["name"] or f"{config['name']}_0" for entry in config["instance_group"]]
        group = groups[0] if groups else config["name"]
        why = f"batch size {size} for '{group}_0', max allowed is {largest};"
        raise Refused(
            f"failed to run warmup sample '{sample['name']}': {' '.join([why] * min(size, LARGEST_SAID))}",
            f"batch_size: {largest or 1}",
            (*at, "batch_size"),
        )


def plain(datatype: str) -> str:
    """Return the protocol's name for a type of the config."""
    return "<invalid>" if datatype == "TYPE_INVALID" else wire_type(datatype)


def quoted(names: Iterable[str]) -> str:
    """As Triton lists them."""
    return ",".join(f"'{name}'" for name in names)
