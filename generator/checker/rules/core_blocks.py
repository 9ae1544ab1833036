"""Core's rules for the input, output and instance group blocks of a config, before the model file is read.

Source: core, `ValidateModelIOConfig`, `ValidateIOShape`, `ValidateModelInput`, `ValidateModelOutput`,
`ValidateBatchIO`, `NormalizeInstanceGroup` and `ValidateInstanceGroup` (src/model_config_utils.cc).
"""

from collections.abc import Sequence
from math import prod

from generator.checker.rules.outcomes import DIES, INTERNAL, Config, Place, Refusal, refuse
from generator.checker.rules.shapes import VARIABLE, sizes

DIMS_OF_AN_IMAGE = 3
NO_KIND = "leave kind and gpus out: a GPU is used if the server has one; `gpu` checks for a GPU server"
KINDS = ("KIND_AUTO", "KIND_GPU", "KIND_CPU", "KIND_MODEL")
MINIMUM_COMPUTE_CAPABILITY = "6.000000"  # default of --min-supported-compute-capability, up to 24.10


def check_blocks(config: Config) -> None:
    """Check the inputs, then the outputs."""
    for kind in ("input", "output"):
        for index, block in enumerate(config[kind]):
            check_block(config, kind, block, (kind, index))


def check_block(config: Config, kind: str, block: Config, at: Place) -> None:
    """Check the name, type, dims, reshape and format of an input or output.

    Source: core, src/model_config_utils.cc:296 and :1830.
    """
    name, about, dims = config["name"], f"model {kind} '{block['name']}'", sizes(block["dims"])
    refuse(
        (not block["name"], f"model {kind} must specify 'name' for {name}", f"name the {kind} as the model does", at),
        (block["data_type"] == "TYPE_INVALID", f"{about} must specify 'data_type' for {name}",
         "such as data_type: TYPE_FP32", at),
        (not dims, f"{about} must specify 'dims' for {name}", "write the shape without the batch", at),
    )  # fmt: skip
    if "reshape" in block:
        check_reshape(config, about, dims, sizes(block["reshape"].get("shape", [])), (*at, "reshape"))
    wrong = [dim for dim in dims if dim < 1 and dim != VARIABLE]
    an_image = kind == "input" and block["format"] != "FORMAT_NONE"
    refuse(
        (wrong, f"{about} dimension must be integer >= 1, or -1 to indicate a variable-size dimension for {name}",
         f"{next(iter(wrong), '')} is not a size", (*at, "dims")),
        (an_image and len(dims) != DIMS_OF_AN_IMAGE, f"model input NHWC/NCHW require 3 dims for {name}",
         "dims exclude the batch if max_batch_size is above 0; or leave format out", (*at, "format")),
        (block["is_shape_tensor"], f"shape tensors are only supported for TensorRT platform for {name}",
         "leave is_shape_tensor out", at),
        (block["is_non_linear_format_io"],
         f"Non-linear IO format is only supported for the TensorRT platform for {name}",
         "leave is_non_linear_format_io out", at),
    )  # fmt: skip


def check_reshape(config: Config, about: str, dims: Sequence[int], shape: Sequence[int], at: Place) -> None:
    """Check that a reshape keeps the number of elements, also between variable dimensions.

    Source: core, src/model_config_utils.cc:328.
    """
    name, before, after = config["name"], counts(dims), counts(shape)
    has_variable = len(before) > 1, len(after) > 1
    different = f"{about} has different size for dims and reshape for {name}", "the sizes must agree", at
    refuse(
        (not shape and config["max_batch_size"] == 0,
         f"{about} cannot have empty reshape for non-batching model as scalar tensors are not supported for {name}",
         "leave reshape out", at),
        (any(dim < 1 and dim != VARIABLE for dim in shape),
         f"{about} reshape dimensions must be integer >= 1, or -1 to indicate a variable-size dimension for {name}",
         "reshape { shape: [ ] } is a scalar", at),
        (has_variable[0] != has_variable[1], *different),
        (len(before) != len(after),
         f"{about} has different number of variable-size dimensions for dims and reshape for {name}",
         "both need the same number of -1", at),
        (before != after, *different),
    )  # fmt: skip


def counts(shape: Sequence[int]) -> list[int]:
    """Return the number of elements before, between and after the variable dimensions."""
    parts: list[list[int]] = [[]]
    for dim in shape:
        if dim == VARIABLE:
            parts.append([])
        else:
            parts[-1].append(dim)
    return [prod(part) for part in parts]


def check_batch_blocks(config: Config) -> None:
    """Check the blocks of tensors that core makes of a batch: one source each, and outputs as targets, each once.

    Source: core, src/model_config_utils.cc, ValidateBatchIO.
    """
    name = config["name"]
    inputs, outputs = ({block["name"] for block in config[kind]} for kind in ("input", "output"))
    for kind in ("batch_input", "batch_output"):
        for index, block in enumerate(config[kind]):
            sources, targets, at = block["source_input"], block["target_name"], (kind, index)
            source = next(iter(sources), "")
            refuse(
                (len(sources) != 1,
                 (f"{kind.replace('_', ' ')} kind '{block['kind']}' expects 1 source input, got {len(sources)} for "
                  f"{name}"), "name one source_input", at),
                (kind == "batch_input" and block["data_type"] not in ("TYPE_INT32", "TYPE_FP32"),
                 f"batch input data type must be TYPE_INT32 or TYPE_FP32 for {name}", "data_type: TYPE_FP32", at),
                (source not in inputs, f"unknown source input name '{source}' for {name}",
                 "name an input of the config", at),
            )  # fmt: skip
            if kind == "batch_input":
                continue
            if not targets:
                raise Refusal("Signal (11) received.", "name target_name: without it the whole server dies", at, DIES)
            for number, target in enumerate(targets):
                refuse(
                    (target not in outputs, f"unknown target output name '{target}' for {name}",
                     "name an output of the config", at),
                    (target in targets[:number],
                     f"target output name '{target}' can only be specified once for {name}", "name it once", at),
                )  # fmt: skip


def resolved_kind(group: Config, gpus: Sequence[int]) -> str:
    """Return the kind of a group: KIND_AUTO is the GPU if the server has every listed GPU, otherwise the CPU.

    Source: core, src/model_config_utils.cc:827.
    """
    if group["kind"] != "KIND_AUTO":
        return str(group["kind"])
    return "KIND_GPU" if gpus and all(gpu in gpus for gpu in group["gpus"]) else "KIND_CPU"


def check_instance_groups(config: Config, gpus: Sequence[int]) -> None:
    """Check that the server has the devices of each group (core, src/model_config_utils.cc:1703)."""
    if "ensemble_scheduling" in config:
        return
    for index, group in enumerate(config["instance_group"]):
        at, kind = ("instance_group", index), resolved_kind(group, gpus)
        title = group["name"] or f"{config['name']}_{index}"
        about = f"instance group {title} of model {config['name']}"
        if group["kind"] not in KINDS:  # a number that no kind has; the word is core's
            raise Refusal(f"{about} has unexpected kind KIND_AUTO", "leave kind out", (*at, "kind"), INTERNAL)
        missing = [gpu for gpu in group["gpus"] if gpu not in gpus]
        on_gpu, listed = kind == "KIND_GPU", ", ".join(map(str, gpus))
        refuse(
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
        )  # fmt: skip


RULES = (("blocks-are-whole", check_blocks), ("batch-io-is-whole", check_batch_blocks))
