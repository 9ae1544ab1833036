"""A torch module of the user's own, exported and simplified."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from generator.builder.prepared import Prepared, preprocessing_of
from generator.errors import NetworkUnusable, first_line
from generator.graph.datatypes import zeros
from generator.graph.export import ROWS, export
from generator.graph.signature import signature
from generator.graph.simplify import simplify
from generator.types import Weights
from generator.verify.references import TorchReference
from generator.verify.row_independence import mixing

if TYPE_CHECKING:
    from collections.abc import Callable

    from generator.config.types import BuildOptions
    from generator.networks.user_networks import TorchNetwork
    from generator.types import Signature


def from_torch(name: str, definition: TorchNetwork, options: BuildOptions, on_step: Callable[[str], None]) -> Prepared:
    """A torch module of the user's."""
    on_step("weights")
    target = definition.target or name
    module = Flat(definition.module(name)).eval()  # the exporter leaves it in the mode that it had
    outputs = output_names(target, module, definition)
    reference = TorchReference(module)
    preprocessing = preprocessing_of(definition, definition.inputs)
    reason = mixing(reference, definition.inputs, preprocessing)
    if reason:
        raise NetworkUnusable(target, reason, "Triton batches its requests: the first dimension is theirs")
    on_step("export")
    exported = export(name, module, definition.inputs, outputs)
    on_step("simplify")
    simplified = simplify(name, exported, options.rewrites)
    served = signature(name, simplified.model)
    check_kept(target, definition, served)
    weights = Weights(definition.target or "plugin")
    return Prepared(exported.exporter, simplified, served, reference, weights, preprocessing)


def check_kept(target: str, definition: TorchNetwork, served: Signature) -> None:
    """Raise NetworkUnusable where the exporter dropped an input, or the batch."""
    kept = {spec.name for spec in served.inputs}
    for spec in definition.inputs:
        if spec.name not in kept:
            raise NetworkUnusable(target, f"its answer does not depend on its input {spec.name!r}")
    if served.unbatched:
        raise NetworkUnusable(
            target, f"exported, {served.unbatched}", "the exporter takes len(x) for a constant, and not x.shape[0]"
        )


class Flat(nn.Module):
    """A module whose answer, a tensor, or a sequence or mapping of tensors, is a tuple."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The tensors in order."""
        return sequence(self.module(*inputs))


def sequence(answer: Any) -> tuple[torch.Tensor, ...]:  # noqa: ANN401 (whatever a module returns)
    """A tensor, or those of a sequence or mapping; none of anything else."""
    match answer:
        case torch.Tensor():
            return (answer,)
        case dict():
            return tuple(answer.values())
        case list() | tuple():
            return tuple(answer)
        case _:
            return ()


def output_names(target: str, flat: Flat, definition: TorchNetwork) -> tuple[str, ...]:
    """The keys of a mapping; else `output`, or `output_0`, `output_1` and so on.

    Raises:
        NetworkUnusable: the module does not take these inputs, or gives something else than tensors.
    """
    try:
        with torch.no_grad():
            answer = flat.module(*zeros(definition.inputs, ROWS))
    except Exception as error:
        raise NetworkUnusable(target, f"it does not take its inputs: {first_line(error)}", "see `inputs`") from error
    values = sequence(answer)
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
