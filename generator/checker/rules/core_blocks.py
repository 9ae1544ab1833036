"""Core's rules for the input, output and instance group blocks of a config, before the model file is read.

Source: core, `ValidateModelIOConfig`, `ValidateIOShape`, `ValidateModelInput`, `ValidateModelOutput`,
`ValidateBatchIO`, `NormalizeInstanceGroup` and `ValidateInstanceGroup` (src/model_config_utils.cc).
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import prod

from generator.checker.rules.basics import DIES, INTERNAL, VARIABLE, Config, Place, Row, sizes

DIMS_OF_AN_IMAGE = 3
NO_KIND = "leave kind and gpus out: a GPU is used if the server has one; `gpu` checks for a GPU server"
KINDS = ("KIND_AUTO", "KIND_GPU", "KIND_CPU", "KIND_MODEL")
MINIMUM_COMPUTE_CAPABILITY = "6.000000"  # default of --min-supported-compute-capability, up to 24.10


def block_rules(config: Config, gpus: Sequence[int]) -> dict[str, Iterator[Row]]:
    """Return the rows of each rule, by the rule's id; `gpus` are the server's."""
    return {
        "blocks-are-whole": (
            row
            for kind in ("input", "output")
            for index, block in enumerate(config[kind])
            for row in block_rows(config, kind, block, (kind, index))
        ),
        "batch-io-is-whole": batch_rows(config),
        "groups-can-be-placed": group_rows(config, gpus),
    }


def block_rows(config: Config, kind: str, block: Config, at: Place) -> list[Row]:
    """Return the rows for an input or output (core, src/model_config_utils.cc:296 and :1830)."""
    name, about, dims = config["name"], f"model {kind} '{block['name']}'", sizes(block["dims"])
    wrong = [dim for dim in dims if dim < 1 and dim != VARIABLE]
    an_image = kind == "input" and block["format"] != "FORMAT_NONE"
    return [
        (not block["name"], f"model {kind} must specify 'name' for {name}", f"name the {kind} as the model does", at),
        (block["data_type"] == "TYPE_INVALID", f"{about} must specify 'data_type' for {name}",
         "such as data_type: TYPE_FP32", at),
        (not dims, f"{about} must specify 'dims' for {name}", "write the shape without the batch", at),
        *(reshape_rows(config, about, dims, sizes(block["reshape"].get("shape", [])), (*at, "reshape"))
          if "reshape" in block else []),
        (wrong, f"{about} dimension must be integer >= 1, or -1 to indicate a variable-size dimension for {name}",
         f"{next(iter(wrong), '')} is not a size", (*at, "dims")),
        (an_image and len(dims) != DIMS_OF_AN_IMAGE, f"model input NHWC/NCHW require 3 dims for {name}",
         "dims exclude the batch if max_batch_size is above 0; or leave format out", (*at, "format")),
        (block["is_shape_tensor"], f"shape tensors are only supported for TensorRT platform for {name}",
         "leave is_shape_tensor out", at),
        (block["is_non_linear_format_io"],
         f"Non-linear IO format is only supported for the TensorRT platform for {name}",
         "leave is_non_linear_format_io out", at),
    ]  # fmt: skip


def reshape_rows(config: Config, about: str, dims: Sequence[int], shape: Sequence[int], at: Place) -> list[Row]:
    """Return the rows for a reshape, which keeps the number of elements (core, src/model_config_utils.cc:328)."""
    name, before, after = config["name"], counts(dims), counts(shape)
    different = f"{about} has different size for dims and reshape for {name}", "the sizes must agree", at
    return [
        (not shape and config["max_batch_size"] == 0,
         f"{about} cannot have empty reshape for non-batching model as scalar tensors are not supported for {name}",
         "leave reshape out", at),
        (any(dim < 1 and dim != VARIABLE for dim in shape),
         f"{about} reshape dimensions must be integer >= 1, or -1 to indicate a variable-size dimension for {name}",
         "reshape { shape: [ ] } is a scalar", at),
        ((len(before) > 1) != (len(after) > 1), *different),
        (len(before) != len(after),
         f"{about} has different number of variable-size dimensions for dims and reshape for {name}",
         "both need the same number of -1", at),
        (before != after, *different),
    ]  # fmt: skip


def counts(shape: Sequence[int]) -> list[int]:
    """Return the number of elements before, between and after the variable dimensions."""
    ends = [-1, *(index for index, dim in enumerate(shape) if dim == VARIABLE), len(shape)]
    return [prod(shape[start + 1 : end]) for start, end in pairwise(ends)]


def batch_rows(config: Config) -> Iterator[Row]:
    """Yield the rows for the tensors that core makes of a batch: one source each, and outputs as targets, once."""
    name = config["name"]
    inputs, outputs = ({block["name"] for block in config[kind]} for kind in ("input", "output"))
    for kind in ("batch_input", "batch_output"):
        for index, block in enumerate(config[kind]):
            sources, targets, at = block["source_input"], block["target_name"], (kind, index)
            source = next(iter(sources), "")
            yield from [
                (len(sources) != 1,
                 (f"{kind.replace('_', ' ')} kind '{block['kind']}' expects 1 source input, got {len(sources)} for "
                  f"{name}"), "name one source_input", at),
                (kind == "batch_input" and block["data_type"] not in ("TYPE_INT32", "TYPE_FP32"),
                 f"batch input data type must be TYPE_INT32 or TYPE_FP32 for {name}", "data_type: TYPE_FP32", at),
                (source not in inputs, f"unknown source input name '{source}' for {name}",
                 "name an input of the config", at),
            ]  # fmt: skip
            if kind == "batch_input":
                continue
            fix = "name target_name: without it the whole server dies"
            yield not targets, "Signal (11) received.", fix, at, DIES
            for number, target in enumerate(targets):
                unknown = f"unknown target output name '{target}' for {name}"
                yield target not in outputs, unknown, "name an output of the config", at
                twice = f"target output name '{target}' can only be specified once for {name}"
                yield target in targets[:number], twice, "name it once", at


def resolved_kind(group: Config, gpus: Sequence[int]) -> str:
    """Return the kind; KIND_AUTO is the GPU if the server has each listed GPU (core, src/model_config_utils.cc:827)."""
    if group["kind"] != "KIND_AUTO":
        return str(group["kind"])
    return "KIND_GPU" if gpus and all(gpu in gpus for gpu in group["gpus"]) else "KIND_CPU"


def group_rows(config: Config, gpus: Sequence[int]) -> Iterator[Row]:
    """Yield the rows for the devices of each instance group (core, src/model_config_utils.cc:1703)."""
    if "ensemble_scheduling" in config:
        return
    for index, group in enumerate(config["instance_group"]):
        at, kind = ("instance_group", index), resolved_kind(group, gpus)
        title = group["name"] or f"{config['name']}_{index}"
        about = f"instance group {title} of model {config['name']}"
        missing = [gpu for gpu in group["gpus"] if gpu not in gpus]
        on_gpu, listed = kind == "KIND_GPU", ", ".join(map(str, gpus))
        rows: list[Row] = [
            (group["kind"] not in KINDS,  # a number that no kind has; the word is core's
             f"{about} has unexpected kind KIND_AUTO", "leave kind out", (*at, "kind"), INTERNAL),
            (on_gpu and not group["gpus"] and not gpus, f"{about} has kind KIND_GPU but no GPUs are available",
             NO_KIND, (*at, "kind")),
            (on_gpu and missing,
             f"{about} specifies invalid or unsupported gpu id {next(iter(missing), '')}. GPUs with at least the "
             f"minimum required CUDA compute compatibility of {MINIMUM_COMPUTE_CAPABILITY} are: {listed}".rstrip(),
             NO_KIND, (*at, "gpus")),
            (not on_gpu and group["gpus"], f"{about} has kind {kind} but specifies one or more GPUs",
             "leave gpus out", (*at, "gpus")),
            (group["profile"] and config["platform"] != "tensorrt_plan",
             (f"{about} and platform {config['platform']}specifies profile field which is only supported for TensorRT "
              "models"),
             "profiles of ONNX Runtime's TensorRT are the accelerator's trt_profile_* parameters", (*at, "profile")),
        ]  # fmt: skip
        yield from rows
