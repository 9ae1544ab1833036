"""What the backend fills in of a config that leaves inputs or outputs out.

Source: onnxruntime_backend, `ModelState::AutoCompleteConfig` (src/onnxruntime.cc); with both there it fills in nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from generator.checker.rules.outcomes import Refused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from generator.checker.rules.tensors_match import ModelTensor

    Config = Mapping[str, Any]

DEFAULT_MAX_BATCH_SIZE = 4  # --backend-config=onnxruntime,default-max-batch-size, where it is not given


def is_complete(config: Config) -> bool:
    """Whether there is nothing to fill in."""
    return bool(config.get("input") and config.get("output"))


def autocompleted(config: Config, inputs: Sequence[ModelTensor], outputs: Sequence[ModelTensor]) -> dict[str, Any]:
    """The fields that are filled in: `max_batch_size`, `dynamic_batching`, `input`, `output`.

    Source: onnxruntime_backend, src/onnxruntime.cc:1019 and :1170.

    Raises:
        Refused: a batch is asked for that the model does not have.
    """
    if is_complete(config):
        return {}
    batching = all(tensor.shape and tensor.shape[0] == -1 for tensor in (*inputs, *outputs))
    if not batching and config["max_batch_size"] != 0:
        raise Refused(
            f"autofill failed for model '{config['name']}': model does not support batching while non-zero "
            "max_batch_size is specified",
            "export the model with an open first dimension, or max_batch_size: 0",
            ("max_batch_size",),
            "Internal",
        )
    filled: dict[str, Any] = {}
    if batching:
        size = config["max_batch_size"] or DEFAULT_MAX_BATCH_SIZE
        filled["max_batch_size"] = size
        if size > 1 and not {"sequence_batching", "dynamic_batching"} & config.keys():
            filled["dynamic_batching"] = {"preferred_batch_size": [size]}
    for kind, tensors in (("input", inputs), ("output", outputs)):
        if not config.get(kind):
            filled[kind] = [block(tensor, batching=batching) for tensor in tensors]
    return filled


def block(tensor: ModelTensor, *, batching: bool) -> dict[str, Any]:
    """An input or output as the graph has it."""
    dims = list(tensor.shape[1:] if batching else tensor.shape)
    return {"name": tensor.name, "data_type": tensor.datatype, "dims": dims or [1]}
