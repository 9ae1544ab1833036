"""Prepare a user's torch module: export and simplify it, and check its inputs and outputs."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from generator.builder.types import Prepared
from generator.config.types import BuildOptions
from generator.errors import NetworkUnusable, first_line
from generator.graph.datatypes import zeros
from generator.graph.export import ROWS, export
from generator.graph.signature import signature
from generator.graph.simplify import simplify
from generator.networks.user_networks import TorchNetwork
from generator.types import Weights
from generator.verify.compare import row_dependence
from generator.verify.references import TorchReference
from generator.verify.samples import image_preprocessing


def prepare_torch(
    name: str, definition: TorchNetwork, options: BuildOptions, on_step: Callable[[str], None]
) -> Prepared:
    """Export and simplify a user's torch module.

    Raises:
        NetworkUnusable: its rows are not independent, or the exporter dropped an input or the batch.
    """
    on_step("weights")
    target = definition.target or name
    module = TupleOutput(definition.module(name)).eval()  # the exporter keeps the mode of a module
    outputs = output_names(target, module, definition)
    reference = TorchReference(module)
    preprocessing = image_preprocessing(definition.inputs, definition.image.given())
    reason = row_dependence(reference, definition.inputs, preprocessing)
    if reason:
        raise NetworkUnusable(target, reason, "Triton batches requests along the first dimension")
    on_step("export")
    exported = export(name, module, definition.inputs, outputs)
    on_step("simplify")
    simplified = simplify(name, exported, options.rewrites)
    served = signature(name, simplified.model)
    for spec in definition.inputs:
        if spec.name not in {kept.name for kept in served.inputs}:
            raise NetworkUnusable(target, f"its answer does not depend on its input {spec.name!r}")
    if served.unbatched:
        why = f"exported, {served.unbatched}"
        raise NetworkUnusable(target, why, "the exporter treats len(x) as a constant, but not x.shape[0]")
    weights = Weights(definition.target or "plugin")
    return Prepared(exported.exporter, simplified, served, reference, weights, preprocessing)


class TupleOutput(nn.Module):
    """A module that returns the output of another as a tuple of tensors."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the tensors in order."""
        return tensors(self.module(*inputs))


def tensors(answer: Any) -> tuple[torch.Tensor, ...]:  # noqa: ANN401 (a module may return anything)
    """Return the tensors of a module's output: a tensor, sequence or mapping; none for anything else."""
    match answer:
        case torch.Tensor():
            return (answer,)
        case dict():
            return tuple(answer.values())
        case list() | tuple():
            return tuple(answer)
        case _:
            return ()


def output_names(target: str, wrapped: TupleOutput, definition: TorchNetwork) -> tuple[str, ...]:
    """Return the names of the outputs: the keys of a mapping, `output`, or `output_0`, `output_1` and so on.

    Raises:
        NetworkUnusable: the module rejects these inputs, or returns anything but tensors.
    """
    try:
        with torch.no_grad():
            answer = wrapped.module(*zeros(definition.inputs, ROWS))
    except Exception as error:
        raise NetworkUnusable(target, f"it does not take its inputs: {first_line(error)}", "see `inputs`") from error
    values = tensors(answer)
    if not values or not all(isinstance(value, torch.Tensor) for value in values):
        raise NetworkUnusable(target, "it answers with something else than tensors")
    if any(value.dtype == torch.bfloat16 for value in values):
        raise NetworkUnusable(target, "it answers in bfloat16, which Triton's ONNX Runtime backend does not serve")
    if not isinstance(answer, dict):
        return ("output",) if len(values) == 1 else tuple(f"output_{i}" for i in range(len(values)))
    names = tuple(map(str, answer))
    for taken in {spec.name for spec in definition.inputs}.intersection(names):
        raise NetworkUnusable(target, f"an input and an output are both {taken!r}", "name the input with `inputs`")
    return names
