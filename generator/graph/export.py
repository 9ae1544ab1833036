"""A torch module as ONNX with a dynamic batch, in memory."""

from __future__ import annotations

import inspect
import io
import logging
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import onnx
import torch

from generator.errors import ExportFailed, first_line
from generator.graph.datatypes import zeros
from generator.graph.types import Exported
from generator.system.native import silent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import nn

    from generator.types import TensorSpec

# Opset 18 (IR 8) is the lowest that torch's current exporter writes, and every ONNX Runtime of Triton 24.05
# and later (1.18 reads opset 21, IR 10) reads it.
OPSET = 18
BATCH = "N"
ROWS = 2  # of the example: the current exporter takes a batch of 1 for a constant; 2 stays dynamic in both


def export(name: str, module: nn.Module, inputs: Sequence[TensorSpec], outputs: Sequence[str]) -> Exported:
    """Export an evaluation-mode module with a dynamic batch.

    The TorchScript exporter is deprecated but several times faster; a torch that no longer has it falls back
    to the current exporter, whose graph simplifies to the same nodes.

    Args:
        name: the model's, for the error.
        module: takes one tensor [N,*dims] an input, in order.
        inputs: their names, types and dims without the batch.
        outputs: names of what the module returns: a tensor, or a sequence of tensors.

    Raises:
        ExportFailed: the exporter refused, or wrote another opset than asked.
    """
    try:
        model, exporter = first_that_works(module, inputs, outputs)
    except Exception as error:
        # The current exporter wraps what went wrong in advice on how to go on.
        raise ExportFailed(name, first_line(error.__cause__ or error)) from error
    opset = next(entry.version for entry in model.opset_import if entry.domain == "")
    if opset != OPSET:
        raise ExportFailed(name, f"the exporter wrote opset {opset} instead of {OPSET}")
    return Exported(model, exporter)


def first_that_works(
    module: nn.Module, inputs: Sequence[TensorSpec], outputs: Sequence[str]
) -> tuple[onnx.ModelProto, str]:
    """The graph and the exporter's name; the error is that of the exporter that is here to stay."""
    with quiet(), torch.no_grad():
        try:
            return torchscript(module, inputs, outputs), "torchscript"
        except Exception:  # noqa: BLE001 (dynamo=False is gone, or cannot do this module)
            return dynamo(module, inputs, outputs), "dynamo"


def torchscript(module: nn.Module, inputs: Sequence[TensorSpec], outputs: Sequence[str]) -> onnx.ModelProto:
    """By tracing."""
    names = [spec.name for spec in inputs]
    file = Written()
    torch.onnx.export(
        module,
        zeros(inputs, ROWS),
        file,  # type: ignore[arg-type]  # a file object is what the TorchScript exporter takes
        opset_version=OPSET,
        input_names=names,
        output_names=list(outputs),
        dynamic_axes={name: {0: BATCH} for name in (*names, *outputs)},
        dynamo=False,
    )
    return onnx.load_model_from_string(file.content)


class Written(io.RawIOBase):
    """A file in memory that keeps what is written to it as it is: a BytesIO copies all the weights."""

    content = b""

    def write(self, data: Any, /) -> int:  # noqa: ANN401 (bytes; the base class has a wider type)
        """All at once, as the exporter does it, or a part."""
        self.content = self.content + data if self.content else bytes(data)
        return len(data)


def dynamo(module: nn.Module, inputs: Sequence[TensorSpec], outputs: Sequence[str]) -> onnx.ModelProto:
    """By torch.export."""
    batch = torch.export.Dim(BATCH, min=1, max=4096)
    shapes = tuple({0: batch} for _ in inputs)
    parameters = inspect.signature(module.forward).parameters.values()
    starred = any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters)
    program = torch.onnx.export(
        module,
        zeros(inputs, ROWS),
        opset_version=OPSET,
        input_names=[spec.name for spec in inputs],
        output_names=list(outputs),
        dynamic_shapes=(shapes,) if starred else shapes,  # `*inputs` is one tuple
        dynamo=True,
        verbose=False,
    )
    assert program is not None  # it returns the program when it is given no file  # noqa: S101
    return program.model_proto


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the exporters' warnings and progress lines from the user; errors still raise."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), silent(1):  # a graph that fails is printed
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
