"""Export a torch module to ONNX with a dynamic batch, in memory."""

import inspect
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from generator.errors import ExportFailed, first_line
from generator.graph.datatypes import zeros
from generator.graph.types import Exported
from generator.system.native import silent
from generator.types import TensorSpec

# Opset 18 (IR 8) is the lowest that torch's current exporter writes; every ONNX Runtime since Triton 24.05 reads it
# (1.18 reads opset 21, IR 10).
OPSET = 18
BATCH = "N"
ROWS = 2  # of the example input: the current exporter treats a batch of 1 as a constant
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)  # a subclass may compute something else


def export(name: str, module: nn.Module, inputs: Sequence[TensorSpec], outputs: Sequence[str]) -> Exported:
    """Export an evaluation-mode module with a dynamic batch.

    The TorchScript exporter is deprecated but several times faster; a torch that no longer has it falls back
    to the current exporter, whose graph simplifies to the same nodes.

    The module takes one tensor [N,*dims] per input, in order; `name` is for errors.

    Raises:
        ExportFailed: the exporter failed, or wrote a different opset.
    """
    try:
        with quiet(), torch.no_grad(), unit_variances(module):
            try:
                model, exporter = export_torchscript(module, inputs, outputs), "torchscript"
            except Exception:  # noqa: BLE001 (this torch has no dynamo=False, or it cannot export this module)
                model, exporter = export_dynamo(module, inputs, outputs), "dynamo"
    except Exception as error:
        # The current exporter wraps the cause in general advice.
        raise ExportFailed(name, first_line(error.__cause__ or error)) from error
    opset = next(entry.version for entry in model.opset_import if entry.domain == "")
    if opset != OPSET:
        raise ExportFailed(name, f"the exporter wrote opset {opset} instead of {OPSET}")
    return Exported(model, exporter)


def export_torchscript(module: nn.Module, inputs: Sequence[TensorSpec], outputs: Sequence[str]) -> onnx.ModelProto:
    """Export with the TorchScript exporter, which traces the module."""
    names = [spec.name for spec in inputs]
    file = MemoryFile()
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


class MemoryFile(io.RawIOBase):
    """A file in memory that keeps a single write without a copy; a BytesIO would copy all the weights."""

    content = b""

    def write(self, data: Any, /) -> int:  # noqa: ANN401 (bytes; the base class has a wider type)
        """Append data."""
        self.content = self.content + data if self.content else bytes(data)
        return len(data)


def export_dynamo(module: nn.Module, inputs: Sequence[TensorSpec], outputs: Sequence[str]) -> onnx.ModelProto:
    """Export with the current exporter, which uses torch.export."""
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
    assert program is not None  # without a file argument it returns the program  # noqa: S101
    return program.model_proto


@contextmanager
def unit_variances(module: nn.Module) -> Iterator[None]:
    """Give batch norms the variance 1 and the epsilon 0, and divide their weights by the deviation instead.

    Exporters fold batch norms into convolutions. For that they call `torch.sqrt`, which rounds in another way on each
    kind of processor (MKL), but gives 1 for 1 on all. numpy's root is rounded as IEEE 754 demands it.
    """
    norms = [layer for layer in module.modules() if isinstance(layer, BATCH_NORMS) and type(layer) in BATCH_NORMS]
    kept = [(norm, norm.weight, variance, norm.eps) for norm in norms if (variance := norm.running_var) is not None]
    for norm, weight, variance, eps in kept:
        if variance.dtype == torch.float32:
            scale = 1 / np.sqrt(variance.double().numpy(force=True) + eps)
            if norm.affine:
                scale *= weight.double().numpy(force=True)
            norm.weight = nn.Parameter(torch.from_numpy(scale).float(), requires_grad=False)
            norm.running_var, norm.eps = torch.ones_like(variance), 0.0
    try:
        yield
    finally:
        for norm, weight, variance, eps in kept:
            norm.weight, norm.running_var, norm.eps = weight, variance, eps


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress the exporters' warnings and progress lines; errors still raise."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"), silent(1):  # the exporter prints a graph that fails
            yield
    finally:
        log.setLevel(level)
