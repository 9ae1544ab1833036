"""Parameters and FLOPs by the formula behind the figures of the PaddleClas page.

The formula is that of Paddle 1.x's `fluid/contrib/model_stat.py` under Python 2, where integer division rounds down. It
divides the channels of a filter, which are Cin/groups already, by the groups a second time. So a grouped convolution
with fewer channels per group than groups counts zero: all grouped convolutions of the DPNs but the last three of DPN68.
"""

from collections.abc import Iterable

from generator.networks.types import Counts, Layer


def recount(layers: Iterable[Layer]) -> Counts:
    """Return the figures that the page prints, before rounding."""
    parameters, flops = zip(*map(figures, layers), strict=True)
    return Counts(sum(parameters), sum(flops))


def figures(layer: Layer) -> tuple[int, int]:
    """Return the parameters and FLOPs of one layer."""
    match layer.kind:
        case "convolution":
            parameters = layer.channels * layer.kernel**2 * (layer.inputs // layer.groups // layer.groups)
            return parameters, 2 * parameters * layer.side**2
        case "linear":  # one parameter for all biases, and a multiply-add is one
            return layer.inputs * layer.channels + 1, layer.inputs * layer.channels
        case "batch norm":
            return 2 * layer.channels, 2 * layer.elements
        case "relu":  # the product of the output's shape, in which the unknown batch is -1
            return 0, -layer.elements
        case "pool":
            return 0, layer.elements * layer.kernel**2
