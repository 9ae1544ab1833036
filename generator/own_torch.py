"""A torch module of the user's own, exported and simplified."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from generator.errors import NetworkUnusable, first_line
from generator.export import ROWS, export
from generator.networks.own import module_of, zeros
from generator.prepared import Prepared, preprocessing_of
from generator.references import TorchReference
from generator.signature import signature
from generator.simplify import simplify
from generator.spec import Weights

if TYPE_CHECKING:
    from collections.abc import Callable

    from generator.spec import BuildOptions, TorchNetwork


def from_torch(name: str, definition: TorchNetwork, options: BuildOptions, on_step: Callable[[str], None]) -> Prepared:
    """A torch module of the user's."""
    on_step("weights")
    module = Flat(module_of(definition, name))
    outputs = output_names(definition.target or name, module, definition)
    on_step("export")
    exported = export(name, module, definition.inputs, outputs)
    on_step("simplify")
    simplified = simplify(name, exported, options.rewrites)
    return Prepared(
        exported,
        simplified,
        signature(name, simplified.model),
        TorchReference(module),
        Weights(definition.target or "plugin"),
        preprocessing_of(definition, definition.inputs),
        definition.labels,
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
    """A tensor, or those of a sequence or mapping."""
    if isinstance(answer, torch.Tensor):
        return (answer,)
    return tuple(answer.values() if isinstance(answer, dict) else answer)


def output_names(target: str, flat: Flat, definition: TorchNetwork) -> tuple[str, ...]:
    """The keys of a mapping; else `output`, or `output_0`, `output_1` and so on.

    Raises:
        NetworkUnusable: the module does not take these inputs, or gives something else than tensors.
    """
    try:
        with torch.no_grad():
            answer = flat.module(*zeros(definition.inputs, ROWS))
    except Exception as error:
        raise NetworkUnusable(target, f"it does not take its inputs: {first_line(error)}", "see --input") from error
    values = sequence(answer)
    if not values or not all(isinstance(value, torch.Tensor) for value in values):
        raise NetworkUnusable(target, "it answers with something else than tensors")
    if isinstance(answer, dict):
        return tuple(map(str, answer))
    return ("output",) if len(values) == 1 else tuple(f"output_{i}" for i in range(len(values)))
