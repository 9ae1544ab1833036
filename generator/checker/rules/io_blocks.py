"""Core's rules for the input and output blocks of a config, before the model is looked at.

Source: core, `ValidateModelIOConfig`, `ValidateIOShape`, `ValidateModelInput`, `ValidateModelOutput` and
`ValidateBatchIO` (src/model_config_utils.cc).
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from generator.checker.rules.outcomes import DIES, Refused

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from generator.checker.rules.outcomes import Place

    Config = Mapping[str, Any]

VARIABLE = -1
DIMS_OF_AN_IMAGE = 3


def blocks_are_whole(config: Config) -> None:
    """Each input, then each output."""
    for kind in ("input", "output"):
        for place, block in enumerate(config[kind]):
            check_block(config, kind, block, (kind, place))


def check_block(config: Config, kind: str, block: Config, at: Place) -> None:
    """Name, type, dims, reshape and format of one.

    Source: core, src/model_config_utils.cc:296 and :1830.
    """
    name = config["name"]
    about = f"model {kind} '{block['name']}'"
    if not block["name"]:
        raise Refused(f"model {kind} must specify 'name' for {name}", f"name the {kind} as the model does", at)
    if block["data_type"] == "TYPE_INVALID":
        raise Refused(f"{about} must specify 'data_type' for {name}", "such as data_type: TYPE_FP32", at)
    dims = sizes(block["dims"])
    if not dims:
        raise Refused(f"{about} must specify 'dims' for {name}", "the shape without the batch", at)
    if "reshape" in block:
        check_reshape(config, about, dims, sizes(block["reshape"].get("shape", [])), at)
    if wrong := [dim for dim in dims if dim < 1 and dim != VARIABLE]:
        raise Refused(
            f"{about} dimension must be integer >= 1, or -1 to indicate a variable-size dimension for {name}",
            f"{wrong[0]} is no size",
            (*at, "dims"),
        )
    if kind == "input" and block["format"] != "FORMAT_NONE" and len(dims) != DIMS_OF_AN_IMAGE:
        raise Refused(
            f"model input NHWC/NCHW require 3 dims for {name}",
            "dims are without the batch where max_batch_size is above 0; or leave format out",
            (*at, "format"),
        )
    if block["is_shape_tensor"]:
        raise Refused(
            f"shape tensors are only supported for TensorRT platform for {name}", "leave is_shape_tensor out", at
        )
    if block["is_non_linear_format_io"]:
        raise Refused(
            f"Non-linear IO format is only supported for the TensorRT platform for {name}",
            "leave is_non_linear_format_io out",
            at,
        )


def check_reshape(config: Config, about: str, dims: Sequence[int], shape: Sequence[int], at: Place) -> None:
    """As many elements, and between variable dimensions too.

    Source: core, src/model_config_utils.cc:328.
    """
    name, at = config["name"], (*at, "reshape")
    if not shape and config["max_batch_size"] == 0:
        raise Refused(
            f"{about} cannot have empty reshape for non-batching model as scalar tensors are not supported for {name}",
            "leave reshape out",
            at,
        )
    if any(dim < 1 and dim != VARIABLE for dim in shape):
        raise Refused(
            f"{about} reshape dimensions must be integer >= 1, or -1 to indicate a variable-size dimension for {name}",
            "reshape { shape: [ ] } is a scalar",
            at,
        )
    if (len(parts(dims)) > 1) != (len(parts(shape)) > 1):
        raise Refused(f"{about} has different size for dims and reshape for {name}", "the sizes must agree", at)
    if len(parts(dims)) != len(parts(shape)):
        raise Refused(
            f"{about} has different number of variable-size dimensions for dims and reshape for {name}",
            "as many -1 in one as in the other",
            at,
        )
    if parts(dims) != parts(shape):
        raise Refused(f"{about} has different size for dims and reshape for {name}", "the sizes must agree", at)


def parts(shape: Sequence[int]) -> list[int]:
    """How many elements stand before, between and after the variable dimensions."""
    counts: list[list[int]] = [[]]
    for dim in shape:
        if dim == VARIABLE:
            counts.append([])
        else:
            counts[-1].append(dim)
    return [prod(part) for part in counts]


def sizes(values: Sequence[int | str]) -> list[int]:
    """Dims; JSON has 64-bit numbers as text."""
    return [int(value) for value in values]


def batch_io_is_whole(config: Config) -> None:
    """Tensors that core makes of a batch, from inputs that there are."""
    for kind, known in (("batch_input", config["input"]), ("batch_output", config["output"])):
        for place, block in enumerate(config[kind]):
            check_batch_io(config, kind, block, {entry["name"] for entry in known}, (kind, place))


def check_batch_io(config: Config, kind: str, block: Config, known: Collection[str], at: Place) -> None:
    """One block: a source, and targets that are outputs, each once.

    Source: core, src/model_config_utils.cc, ValidateBatchIO.
    """
    name, sources, targets = config["name"], block["source_input"], block["target_name"]
    if len(sources) != 1:
        about = f"{kind.replace('_', ' ')} kind '{block['kind']}'"
        raise Refused(f"{about} expects 1 source input, got {len(sources)} for {name}", "name one source_input", at)
    if kind == "batch_input" and block["data_type"] not in ("TYPE_INT32", "TYPE_FP32"):
        raise Refused(f"batch input data type must be TYPE_INT32 or TYPE_FP32 for {name}", "data_type: TYPE_FP32", at)
    if sources[0] not in {entry["name"] for entry in config["input"]}:
        raise Refused(f"unknown source input name '{sources[0]}' for {name}", "name an input of the config", at)
    if kind == "batch_output":
        if not targets:
            raise Refused("Signal (11) received.", "name target_name: without it the whole server dies", at, DIES)
        for place, target in enumerate(targets):
            if target not in known:
                raise Refused(f"unknown target output name '{target}' for {name}", "name an output of the config", at)
            if target in targets[:place]:
                raise Refused(
                    f"target output name '{target}' can only be specified once for {name}", "name it once", at
                )


RULES = (blocks_are_whole, batch_io_is_whole)
