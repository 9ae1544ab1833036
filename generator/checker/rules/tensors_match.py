"""The config's tensors against the ONNX model's, as onnxruntime_backend compares them at load.

Source: onnxruntime_backend, `ModelInstanceState::ValidateInputs` and `ValidateOutputs` (src/onnxruntime.cc),
`CompareDimsSupported` (src/onnxruntime_utils.cc), `CheckAllowedModelInput` and `CheckAllowedModelOutput`
(backend, src/backend_common.cc). The sentences are the backend's. `config` is the model configuration as Triton
hands it to a backend: JSON with the field names of model_config.proto.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from generator.checker.rules.outcomes import Refused
from generator.graph.datatypes import TYPES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    Config = Mapping[str, Any]


@dataclass(frozen=True)
class ModelTensor:
    """An input or output of the ONNX graph; -1 in `shape` is a dimension known at run time only.

    Without `ranked` the shape is not known at all, as of an output in a file that does not say it.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    ranked: bool = True


def check_io(config: Config, inputs: Iterable[ModelTensor], outputs: Iterable[ModelTensor]) -> None:
    """Raise Refused where the backend would refuse the model, in the order in which it looks."""
    check_inputs(config, {tensor.name: tensor for tensor in inputs})
    check_outputs(config, {tensor.name: tensor for tensor in outputs})


def check_inputs(config: Config, model: Mapping[str, ModelTensor]) -> None:
    """The number of inputs first, then each one of the config.

    Source: onnxruntime_backend, src/onnxruntime.cc:1666.
    """
    name = config["name"]
    declared = config.get("input", [])
    expected = sum(not entry.get("optional") for entry in declared) + len(config.get("batch_input", []))
    expected += sequence_inputs(config)
    if expected != len(model):
        raise Refused(
            f"unable to load model '{name}', configuration expects {expected} inputs, model provides {len(model)}",
            f"the model's inputs: {', '.join(model)}"
            + ("; leave optional out" if any(entry.get("optional") for entry in declared) else ""),
            ("input", 0),
        )
    for place, entry in enumerate(declared):
        if entry.get("optional") and config["max_batch_size"] != 0:
            raise Refused(
                f"unable to load model '{name}', optional input '{entry['name']}' is not supported for models "
                "that support batching",
                "leave optional out",
                ("input", place, "optional"),
            )
        check_tensor(config, ("input", place), entry, model)


def check_outputs(config: Config, model: Mapping[str, ModelTensor]) -> None:
    """Each output of the config; leaving some out is fine.

    Source: onnxruntime_backend, src/onnxruntime.cc:1828.
    """
    for place, entry in enumerate(config.get("output", [])):
        check_tensor(config, ("output", place), entry, model)


def check_tensor(config: Config, at: tuple[str, int], entry: Config, model: Mapping[str, ModelTensor]) -> None:
    """Name, data type and dimensions of one input or output.

    Source: onnxruntime_backend, src/onnxruntime.cc:1721.
    """
    kind = at[0]
    name, tensor_name, datatype = config["name"], entry["name"], entry["data_type"]
    if tensor_name not in model:
        raise Refused(
            f"unexpected inference {kind} '{tensor_name}', allowed {kind}s are: {', '.join(sorted(model))}",
            "name it as the model does",
            (*at, "name"),
        )
    tensor = model[tensor_name]
    if datatype not in TYPES:
        raise Refused(
            f"unsupported datatype {datatype} for {kind} '{tensor_name}' for model '{name}'",
            f"data_type: {tensor.datatype}",
            (*at, "data_type"),
        )
    if datatype != tensor.datatype:
        raise Refused(
            f"unable to load model '{name}', configuration expects datatype {datatype} for {kind} '{tensor_name}', "
            f"model provides {tensor.datatype}",
            f"data_type: {tensor.datatype}",
            (*at, "data_type"),
        )
    if not tensor.ranked:
        return
    dims = [int(dim) for dim in entry.get("reshape", {}).get("shape", entry["dims"])]
    if kind == "input" and entry.get("allow_ragged_batch"):
        if tensor.shape != (-1,):
            raise Refused(
                f"unable to load model '{name}', configuration expects model provides input with shape [-1]  for "
                f"ragged input '{tensor_name}', model provides {shape_text(tensor.shape)}",
                "leave allow_ragged_batch out",
                (*at, "allow_ragged_batch"),
            )
    elif not tensor.shape:
        if any(dim != 1 for dim in dims):
            raise Refused(
                f"unable to load model '{name}', scalar tensor '{tensor_name}', should only provide 1 in the model "
                "configuration when the model doesn't support batching. Model configuration provided: "
                f"{shape_text(dims)}.",
                "dims: [ 1 ]",
                (*at, "dims"),
            )
    else:
        batching = config["max_batch_size"] > 0
        check_dims(name, tensor, dims, batching=batching, at=at)


def check_dims(name: str, tensor: ModelTensor, dims: Sequence[int], *, batching: bool, at: tuple[str, int]) -> None:
    """The config may narrow an input's dimension that the model leaves open, never an output's.

    Source: onnxruntime_backend, src/onnxruntime_utils.cc:504.
    """
    about = f"model '{name}', tensor '{tensor.name}': "
    if batching and tensor.shape[0] != -1:
        raise Refused(
            f"{about}for the model to support batching the shape should have at least 1 dimension and the first "
            f"dimension must be -1; but shape expected by the model is {shape_text(tensor.shape)}",
            "export the model with an open first dimension, or max_batch_size: 0",
            at,
        )
    exact = at[0] == "output"
    full = (-1, *dims) if batching else tuple(dims)
    fits = len(full) == len(tensor.shape) and all(
        have == want or (have == -1 and not exact) for have, want in zip(tensor.shape, full, strict=True)
    )
    if not fits:
        expects = f"{about}the model expects {len(tensor.shape)} dimensions (shape {shape_text(tensor.shape)})"
        how = (
            "an initial batch dimension because max_batch_size > 0 followed by the explicit tensor shape, making "
            f"complete shape {shape_text(full)}"
            if batching
            else f"shape {shape_text(full)}"
        )
        raise Refused(
            f"{expects} but the model configuration specifies {len(full)} dimensions ({how})",
            f"dims: {shape_text(tensor.shape[1:] if batching else tensor.shape)}",
            (*at, "dims"),
        )


def sequence_inputs(config: Config) -> int:
    """How many inputs the sequence batcher's controls and states add."""
    batching = config.get("sequence_batching", {})
    kinds = {
        "CONTROL_SEQUENCE_START",
        "CONTROL_SEQUENCE_END",
        "CONTROL_SEQUENCE_READY",
        "CONTROL_SEQUENCE_CORRID",
    }
    controls = [
        control
        for entry in batching.get("control_input", [])
        for control in entry.get("control", [])
        if control.get("kind", "CONTROL_SEQUENCE_START") in kinds
    ]
    return len(controls) + len(batching.get("state", []))


def shape_text(shape: Iterable[int]) -> str:
    """`[-1,3,224,224]`, as Triton prints shapes."""
    return f"[{','.join(map(str, shape))}]"
