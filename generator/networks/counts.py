"""Parameters and FLOPs of a network, counted from the module itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.utils.flop_counter import FlopCounterMode

from generator.networks import INPUT_DIMS, create

if TYPE_CHECKING:
    from generator.spec import Network


@dataclass(frozen=True)
class Counts:
    """Parameters, and FLOPs of one image; a multiplication and its addition are two."""

    parameters: int
    flops: int


def count(network: Network) -> Counts:
    """Count on the meta device: shapes flow, no arithmetic is done."""
    module = create(network)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(torch.empty(1, *INPUT_DIMS, device="meta"))
    return Counts(sum(parameter.numel() for parameter in module.parameters()), counter.get_total_flops())
