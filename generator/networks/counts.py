"""Parameters and FLOPs of a network, counted from the module itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from generator.networks import INPUT_DIMS, create

if TYPE_CHECKING:
    from generator.spec import Network


@dataclass(frozen=True)
class Counts:
    """Parameters, and FLOPs of one image in convolutions and the classifier; a multiply-add is two."""

    parameters: int
    flops: int


def count(network: Network) -> Counts:
    """Count while shapes flow on the meta device; no arithmetic is done.

    A fraction of the time that torch.utils.flop_counter takes, which gives the same.
    """
    module = create(network)
    parameters = sum(parameter.numel() for parameter in module.parameters())
    flops: list[int] = []

    def add(layer: nn.Module, _inputs: object, output: Tensor) -> None:
        # Each output is one dot product with a filter: [Cout, Cin/groups, kh, kw] or [out, in].
        flops.append(2 * output.numel() * layer.get_parameter("weight")[0].numel())

    for layer in list(module.modules()):
        for name, child in layer.named_children():
            if isinstance(child, nn.BatchNorm2d):  # changes no shape, and takes most of the time on the meta device
                setattr(layer, name, nn.Identity())
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            layer.register_forward_hook(add)
    with torch.no_grad():
        module(torch.empty(1, *INPUT_DIMS, device="meta"))
    return Counts(parameters, sum(flops))
