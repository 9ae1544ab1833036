"""Warm-up samples: each becomes requests before the model is READY, and one that fails ends the load.

Source: core, `WarmUpData` in src/backend_model_instance.cc and `InferenceRequest::Normalize` (src/infer_request.cc);
the size of a batch: onnxruntime_backend, `ProcessRequests` (src/onnxruntime.cc).
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from generator.rules.labels import inside, unreadable
from generator.rules.refused import Refused

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from generator.rules.refused import Place

    Config = Mapping[str, Any]

FOLDER = "warmup"
UNNAMED = "[request id: <id_unknown>] "
BYTES = {
    "TYPE_BOOL": 1, "TYPE_UINT8": 1, "TYPE_UINT16": 2, "TYPE_UINT32": 4, "TYPE_UINT64": 8, "TYPE_INT8": 1,
    "TYPE_INT16": 2, "TYPE_INT32": 4, "TYPE_INT64": 8, "TYPE_FP16": 2, "TYPE_FP32": 4, "TYPE_FP64": 8, "TYPE_BF16": 2,
}  # fmt: skip
DATA = ("zero_data", "random_data", "input_data_file")


def samples_can_be_asked(config: Config, folder: Path) -> None:
    """Each sample is a request that the model takes."""
    for place, sample in enumerate(config["model_warmup"]):
        if sample["batch_size"]:
            check_data(sample, folder, ("model_warmup", place))
            check_request(config, sample, ("model_warmup", place))
            check_batch(config, sample, ("model_warmup", place))


def check_data(sample: Config, folder: Path, at: Place) -> None:
    """The data that are said can be made, or read."""
    for name, entry in sorted(sample["inputs"].items()):
        dims = [int(dim) for dim in entry["dims"]]
        if any(dim < 0 for dim in dims):
            raise Refused(
                f"warmup setting expects all variable-size dimensions are specified for input '{name}'",
                "give every dimension of the sample",
                (*at, "inputs"),
            )
        if not any(kind in entry for kind in DATA):
            raise Refused(
                f"warmup setting expects input '{name}' to have input_data_type set", "zero_data: true", (*at, "inputs")
            )
        if "input_data_file" in entry:
            check_file(entry, dims, folder, at)


def check_file(entry: Config, dims: Sequence[int], folder: Path, at: Place) -> None:
    """A file in `warmup/` with the bytes of one request; one outside is not looked at."""
    path = folder / FOLDER / entry["input_data_file"]
    if not inside(path, folder):
        raise Refused(
            f"the warm-up data '{entry['input_data_file']}' are outside model directory",
            f"put the file into {FOLDER}/",
            (*at, "inputs"),
        )
    if why := unreadable(path):
        raise Refused(
            f"failed to open text file for read {path}: {why}",
            f"put the file into {FOLDER}/",
            (*at, "inputs"),
            "Internal",
        )
    wanted = BYTES.get(entry["data_type"], 0) * prod(dims)
    size = path.stat().st_size
    if size < wanted:
        raise Refused(
            f"warmup setting expects {wanted} bytes, but the data provided from {entry['input_data_file']}only has "
            f"{size} bytes",
            "the raw data of one request, without the batch",
            (*at, "inputs"),
        )


def check_request(config: Config, sample: Config, at: Place) -> None:
    """The inputs are the model's, with its types and shapes."""
    name, given = config["name"], sample["inputs"]
    declared = {block["name"]: block for block in config["input"]}
    required = sorted(block["name"] for block in config["input"] if not block["optional"])
    for asked, entry in sorted(given.items()):
        block = declared.get(asked)
        if block is None:
            raise Refused(
                f"{UNNAMED}unexpected inference input '{asked}' for model '{name}'",
                f"inputs: {', '.join(declared)}",
                at,
            )
        if entry["data_type"] != block["data_type"]:
            raise Refused(
                f"{UNNAMED}inference input '{asked}' data-type is '{plain(entry['data_type'])}', but model '{name}' "
                f"expects '{plain(block['data_type'])}'",
                f"data_type: {block['data_type']}",
                (*at, "inputs"),
            )
        got, want = [int(dim) for dim in entry["dims"]], [int(dim) for dim in block["dims"]]
        if len(got) != len(want) or any(w not in (-1, g) for g, w in zip(got, want, strict=True)):
            batch = config["max_batch_size"] > 0
            raise Refused(
                f"{UNNAMED}unexpected shape for input '{asked}' for model '{name}'. Expected "
                f"{shape([-1] * batch + want)}, got {shape([1] * batch + got)}",
                f"dims: {shape(want)}",
                (*at, "inputs"),
            )
    missing = [wanted for wanted in required if wanted not in given]
    if missing:
        raise Refused(
            f"{UNNAMED}expected {len(declared)} inputs but got {len(given)} inputs for model '{name}'. Got input(s) "
            f"[{quoted(given)}], but missing required input(s) [{quoted(missing)}]. Please provide all required "
            "input(s).",
            f"give the sample an input {missing[0]}",
            at,
        )


def check_batch(config: Config, sample: Config, at: Place) -> None:
    """The requests of a sample run as one batch."""
    size, largest = sample["batch_size"], config["max_batch_size"]
    if size != 1 and size > largest:
        raise Refused(
            f"failed to run warmup sample '{sample['name']}': batch size {size} for '{config['name']}', max allowed is "
            f"{largest}",
            f"batch_size: {largest or 1}",
            (*at, "batch_size"),
            "Internal",
        )


def plain(datatype: str) -> str:
    """The protocol's word for a type of the config."""
    return "BYTES" if datatype == "TYPE_STRING" else datatype.removeprefix("TYPE_")


def shape(dims: Sequence[int]) -> str:
    """As Triton prints them."""
    return f"[{','.join(map(str, dims))}]"


def quoted(names: Iterable[str]) -> str:
    """As Triton lists them."""
    return ",".join(f"'{name}'" for name in names)
