"""Parameters and FLOPs of a network, counted while shapes flow through the module itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from generator.networks import INPUT_DIMS, create

if TYPE_CHECKING:
    from collections.abc import Callable

    from generator.spec import Network

# They change no shape, and take most of the time on the meta device.
SAME_SHAPE = (functional.relu, functional.batch_norm)


@dataclass(frozen=True)
class Counts:
    """Parameters, and FLOPs of one image in convolutions and the classifier; a multiply-add is two."""

    parameters: int
    flops: int


class Counter(TorchFunctionMode):
    """Adds up the FLOPs of convolutions and matrix products as they are called.

    torch.utils.flop_counter gives the same and takes several times as long.
    """

    flops = 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Call the function, or skip it where only its shape matters."""
        if func in SAME_SHAPE:
            return args[0]
        out = func(*args, **(kwargs or {}))
        if func in (functional.conv2d, functional.linear):
            # Each output is one dot product with a filter: [Cout, Cin/groups, kh, kw] or [out, in].
            self.flops += 2 * out.numel() * args[1][0].numel()
        return out


def count(network: Network) -> Counts:
    """Count on the meta device: no memory for weights, no arithmetic."""
    module = create(network)
    with torch.no_grad(), Counter() as counter:
        module(torch.empty(1, *INPUT_DIMS, device="meta"))
    return Counts(sum(parameter.numel() for parameter in module.parameters()), counter.flops)
