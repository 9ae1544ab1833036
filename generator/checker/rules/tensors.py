"""The config's inputs and outputs against the ONNX model's: completed and compared as onnxruntime_backend does.

Source: onnxruntime_backend, `ModelState::AutoCompleteConfig`, `ModelInstanceState::ValidateInputs` and
`ValidateOutputs` (src/onnxruntime.cc), `CompareDimsSupported` (src/onnxruntime_utils.cc); backend,
`CheckAllowedModelInput` and `CheckAllowedModelOutput` (src/backend_common.cc).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from generator.checker.rules.basics import INTERNAL, VARIABLE, Config, Refusal, Row, refuse, shape_text, sizes
from generator.graph.datatypes import TYPES

DEFAULT_MAX_BATCH_SIZE = 4  # without --backend-config=onnxruntime,default-max-batch-size
INPUT_CONTROLS = (
    "CONTROL_SEQUENCE_START", "CONTROL_SEQUENCE_END", "CONTROL_SEQUENCE_READY", "CONTROL_SEQUENCE_CORRID",
)  # fmt: skip


@dataclass(frozen=True)
class ModelTensor:
    """An input or output of the ONNX graph; -1 in `shape` is a dimension known at run time only.

    If `ranked` is False the shape is unknown, as for an output whose shape the file does not declare.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    ranked: bool = True


def is_complete(config: Config) -> bool:
    """Return True if the backend has nothing to fill in."""
    return bool(config.get("input") and config.get("output"))


def autocompleted(config: Config, inputs: Sequence[ModelTensor], outputs: Sequence[ModelTensor]) -> dict[str, Any]:
    """Return the fields that the backend fills in; raise Refusal for a batch that the model does not have.

    Source: onnxruntime_backend, src/onnxruntime.cc:1019 and :1170.
    """
    if is_complete(config):
        return {}
    batching = all(tensor.shape and tensor.shape[0] == VARIABLE for tensor in (*inputs, *outputs))
    if not batching and config["max_batch_size"] != 0:
        raise Refusal(
            f"autofill failed for model '{config['name']}': model does not support batching while non-zero "
            "max_batch_size is specified",
            "export the model with an open first dimension, or max_batch_size: 0",
            ("max_batch_size",),
            INTERNAL,
        )
    fields: dict[str, Any] = {}
    if batching:
        fields["max_batch_size"] = size = config["max_batch_size"] or DEFAULT_MAX_BATCH_SIZE
        if size > 1 and not {"sequence_batching", "dynamic_batching"} & config.keys():
            fields["dynamic_batching"] = {"preferred_batch_size": [size]}
    for kind, tensors in (("input", inputs), ("output", outputs)):
        if not config.get(kind):
            fields[kind] = [
                {"name": tensor.name, "data_type": tensor.datatype, "dims": list(tensor.shape[batching:]) or [1]}
                for tensor in tensors
            ]
    return fields


def check_io(config: Config, inputs: Iterable[ModelTensor], outputs: Iterable[ModelTensor]) -> None:
    """Raise a refusal if the config's inputs or outputs are not the model's; a config may leave outputs out."""
    refuse(io_rows(config, inputs, outputs))


def io_rows(config: Config, inputs: Iterable[ModelTensor], outputs: Iterable[ModelTensor]) -> Iterator[Row]:
    """Yield the rows for inputs, then outputs (onnxruntime_backend, src/onnxruntime.cc:1666 and :1828)."""
    name, declared = config["name"], config.get("input", [])
    model = {tensor.name: tensor for tensor in inputs}
    optional = [entry for entry in declared if entry.get("optional")]
    expected = len(declared) - len(optional) + len(config.get("batch_input", [])) + sequence_inputs(config)
    sentence = f"unable to load model '{name}', configuration expects {expected} inputs, model provides {len(model)}"
    fix = f"the model's inputs: {', '.join(model)}{'; leave optional out' if optional else ''}"
    yield expected != len(model), sentence, fix, ("input", 0)
    for index, entry in enumerate(declared):
        yield (entry.get("optional") and config["max_batch_size"] != 0,
               (f"unable to load model '{name}', optional input '{entry['name']}' is not supported for models that "
                "support batching"), "leave optional out", ("input", index, "optional"))  # fmt: skip
        yield from tensor_rows(config, ("input", index), entry, model)
    model = {tensor.name: tensor for tensor in outputs}
    for index, entry in enumerate(config.get("output", [])):
        yield from tensor_rows(config, ("output", index), entry, model)


def sequence_inputs(config: Config) -> int:
    """Return how many inputs the sequence batcher's controls and states add."""
    batching = config.get("sequence_batching", {})
    controls = [control for entry in batching.get("control_input", []) for control in entry.get("control", [])]
    kinds = [control.get("kind", INPUT_CONTROLS[0]) for control in controls]
    return sum(kind in INPUT_CONTROLS for kind in kinds) + len(batching.get("state", []))


def tensor_rows(config: Config, at: tuple[str, int], entry: Config, model: Mapping[str, ModelTensor]) -> Iterator[Row]:
    """Yield the rows for one input or output (onnxruntime_backend, src/onnxruntime.cc:1721)."""
    kind, name, tensor_name, datatype = at[0], config["name"], entry["name"], entry["data_type"]
    sentence = f"unexpected inference {kind} '{tensor_name}', allowed {kind}s are: {', '.join(sorted(model))}"
    yield tensor_name not in model, sentence, "use the model's name", (*at, "name")
    tensor = model[tensor_name]
    yield from [
        (datatype not in TYPES, f"unsupported datatype {datatype} for {kind} '{tensor_name}' for model '{name}'",
         f"data_type: {tensor.datatype}", (*at, "data_type")),
        (datatype != tensor.datatype,
         (f"unable to load model '{name}', configuration expects datatype {datatype} for {kind} '{tensor_name}', model "
          f"provides {tensor.datatype}"), f"data_type: {tensor.datatype}", (*at, "data_type")),
    ]  # fmt: skip
    if not tensor.ranked:
        return
    dims, shape = sizes(entry.get("reshape", {}).get("shape", entry["dims"])), shape_text(tensor.shape)
    if kind == "input" and entry.get("allow_ragged_batch"):
        yield (tensor.shape != (VARIABLE,),
               (f"unable to load model '{name}', configuration expects model provides input with shape [-1]  for "
                f"ragged input '{tensor_name}', model provides {shape}"),
               "leave allow_ragged_batch out", (*at, "allow_ragged_batch"))  # fmt: skip
    elif not tensor.shape:
        yield (any(dim != 1 for dim in dims),
               (f"unable to load model '{name}', scalar tensor '{tensor_name}', should only provide 1 in the model "
                "configuration when the model doesn't support batching. Model configuration provided: "
                f"{shape_text(dims)}."), "dims: [ 1 ]", (*at, "dims"))  # fmt: skip
    else:
        yield from dims_rows(config, tensor, dims, at)


def dims_rows(config: Config, tensor: ModelTensor, dims: Sequence[int], at: tuple[str, int]) -> list[Row]:
    """Return the rows for dims; of an input they may fix an open dimension (src/onnxruntime_utils.cc:504)."""
    about, shape, text = f"model '{config['name']}', tensor '{tensor.name}': ", tensor.shape, shape_text(tensor.shape)
    batching = config["max_batch_size"] > 0
    full = [VARIABLE] * batching + [*dims]
    fits = len(full) == len(shape) and all(
        have == want or (have == VARIABLE and at[0] == "input") for have, want in zip(shape, full, strict=True)
    )
    batch_words = (
        "an initial batch dimension because max_batch_size > 0 followed by the explicit tensor shape, making complete "
    )
    return [
        (batching and shape[0] != VARIABLE,
         (f"{about}for the model to support batching the shape should have at least 1 dimension and the first "
          f"dimension must be -1; but shape expected by the model is {text}"),
         "export the model with an open first dimension, or max_batch_size: 0", at),
        (not fits,
         (f"{about}the model expects {len(shape)} dimensions (shape {text}) but the model configuration specifies "
          f"{len(full)} dimensions ({batch_words if batching else ''}shape {shape_text(full)})"),
         f"dims: {shape_text(shape[batching:])}", (*at, "dims")),
    ]  # fmt: skip
