"""Parameters and FLOPs as PaddleClas's page counted them, layer by layer.

The rule is that of Paddle 1.x's `fluid/contrib/model_stat.py` under Python 2, where the quotient of two whole
numbers is whole. It takes a filter's channels, which are Cin/groups already, and divides them by the groups
again: a grouped convolution with fewer channels a group than groups counts nothing. Those of the DPNs are such,
all but the last three of DPN68.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from generator.networks.flops import Counts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from generator.networks.flops import Layer


def recount(layers: Iterable[Layer]) -> Counts:
    """The figures the page would print, before rounding."""
    parameters, flops = zip(*map(figures, layers), strict=True)
    return Counts(sum(parameters), sum(flops))


def figures(layer: Layer) -> tuple[int, int]:
    """Parameters and FLOPs of one layer."""
    match layer.kind:
        case "convolution" if layer.places > 1:
            parameters = layer.cout * prod(layer.kernel) * (layer.cin // layer.groups // layer.groups)
            return parameters, 2 * parameters * layer.places
        case "convolution" | "linear":
            # The classifier, a fully connected layer in Paddle also where it is a 1x1 convolution here:
            # one for all of its biases, and a multiply-add is one.
            return layer.cin * layer.cout + 1, layer.cin * layer.cout
        case "batch norm":
            return 2 * layer.cout, 2 * layer.elements
        case "relu":
            # The product of its shape, in which the batch is unknown and written -1.
            return 0, -layer.elements
        case "pool":
            return 0, layer.elements * prod(layer.kernel)
