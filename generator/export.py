"""A torch module as ONNX with a dynamic batch, in memory."""

from __future__ import annotations

import io
import logging
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

import onnx
import torch

from generator.errors import ExportFailed
from generator.networks import INPUT_DIMS
from generator.spec import Exported

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

# Opset 18 (IR 8) is the lowest that torch's current exporter writes, and every ONNX Runtime of Triton 24.05
# and later (1.18 reads opset 21, IR 10) reads it.
OPSET = 18
INPUT, OUTPUT, BATCH = "input", "output", "N"


def export(name: str, module: nn.Module) -> Exported:
    """Export an evaluation-mode module, [N,3,224,224] -> [N,classes], with input `input` and output `output`.

    The TorchScript exporter is deprecated but several times faster; a torch that no longer has it falls back
    to the current exporter, whose graph simplifies to the same nodes.

    Raises:
        ExportFailed: the exporter refused, or wrote another opset than asked.
    """
    # The current exporter takes a batch of 1 for a constant; 2 stays dynamic in both.
    example = torch.zeros(2, *INPUT_DIMS)
    try:
        model, exporter = first_that_works(module, example)
    except Exception as error:
        raise ExportFailed(name, str(error).strip().splitlines()[0]) from error
    opset = next(entry.version for entry in model.opset_import if entry.domain == "")
    if opset != OPSET:
        raise ExportFailed(name, f"the exporter wrote opset {opset} instead of {OPSET}")
    return Exported(model, exporter)


def first_that_works(module: nn.Module, example: torch.Tensor) -> tuple[onnx.ModelProto, str]:
    """The graph and the exporter's name; the error is that of the exporter that is here to stay."""
    with quiet(), torch.no_grad():
        try:
            return torchscript(module, example), "torchscript"
        except Exception:  # noqa: BLE001 (dynamo=False is gone, or cannot do this module)
            return dynamo(module, example), "dynamo"


def torchscript(module: nn.Module, example: torch.Tensor) -> onnx.ModelProto:
    """By tracing."""
    buffer = io.BytesIO()
    torch.onnx.export(
        module,
        (example,),
        buffer,  # type: ignore[arg-type]  # a file object is what the TorchScript exporter takes
        opset_version=OPSET,
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamic_axes={INPUT: {0: BATCH}, OUTPUT: {0: BATCH}},
        dynamo=False,
    )
    return onnx.load_model_from_string(buffer.getvalue())


def dynamo(module: nn.Module, example: torch.Tensor) -> onnx.ModelProto:
    """By torch.export."""
    program = torch.onnx.export(
        module,
        (example,),
        opset_version=OPSET,
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamic_shapes=({0: torch.export.Dim(BATCH, min=1, max=4096)},),
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
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
