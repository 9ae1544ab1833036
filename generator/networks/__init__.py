"""The table of networks, and how to select from it.

Hyper-parameters: Huang et al. 2017 (DenseNet), Chen et al. 2017 (DPN). Published figures: the PaddleClas page
on DPN and DenseNet. The table loads no torch: the modules are imported when one is made.
"""

from collections.abc import Iterable

from generator.errors import UnknownName
from generator.imagenet import SIDE_PX
from generator.networks.architectures import DenseNetShape, DPNShape
from generator.networks.types import Network, Published
from generator.networks.user_networks import plugins
from generator.system.text import matching
from generator.types import TensorSpec

# ruff: noqa: E501 (one row per line)
# fmt: off
NETWORKS: tuple[Network, ...] = (
    #                                      stem  k   layers per block               top-1  top-5  reference    GFLOPs  M params
    Network("densenet121", "DenseNet121", DenseNetShape(64, 32, (6, 12, 24, 16)), Published(0.757, 0.926, 0.750, None, 5.69, 7.98)),
    Network("densenet161", "DenseNet161", DenseNetShape(96, 48, (6, 12, 36, 24)), Published(0.786, 0.941, 0.778, None, 15.49, 28.68)),
    Network("densenet169", "DenseNet169", DenseNetShape(64, 32, (6, 12, 32, 32)), Published(0.768, 0.933, 0.764, None, 6.74, 14.15)),
    Network("densenet201", "DenseNet201", DenseNetShape(64, 32, (6, 12, 48, 32)), Published(0.776, 0.937, 0.775, None, 8.61, 20.01)),
    Network("densenet264", "DenseNet264", DenseNetShape(64, 32, (6, 12, 64, 48)), Published(0.780, 0.939, 0.779, None, 11.54, 33.37)),
    #                            stem  w    r   G   blocks         growth
    Network("dpn68",  "DPN68",  DPNShape(10, 3,  64, 128, 32, (3, 4, 12, 3), (16, 32, 32, 64)),  Published(0.768, 0.934, 0.764, 0.931, 4.03, 10.78)),
    Network("dpn92",  "DPN92",  DPNShape(64, 7, 256,  96, 32, (3, 4, 20, 3), (16, 32, 24, 128)), Published(0.799, 0.948, 0.793, 0.946, 12.54, 36.29)),
    Network("dpn98",  "DPN98",  DPNShape(96, 7, 256, 160, 40, (3, 6, 20, 3), (16, 32, 32, 128)), Published(0.806, 0.951, 0.799, 0.949, 22.22, 58.46)),
    Network("dpn107", "DPN107", DPNShape(128, 7, 256, 200, 50, (4, 8, 20, 3), (20, 64, 64, 128)), Published(0.809, 0.953, 0.802, 0.951, 35.06, 82.97)),
    Network("dpn131", "DPN131", DPNShape(128, 7, 256, 160, 40, (4, 8, 28, 3), (16, 32, 32, 128)), Published(0.807, 0.951, 0.801, 0.949, 30.51, 75.36)),
)
# fmt: on

INPUT_DIMS = (3, SIDE_PX, SIDE_PX)
INPUT = TensorSpec("input", "TYPE_FP32", INPUT_DIMS)


def networks() -> tuple[Network, ...]:
    """Return the networks of the table, then those of installed plugins under other names."""
    taken = {network.name for network in NETWORKS}
    return (*NETWORKS, *(network for name, network in sorted(plugins().items()) if name not in taken))


def select(patterns: Iterable[str]) -> tuple[Network, ...]:
    """Return the networks that names, glob patterns or `all` match, in the table's order, each once.

    Raises:
        UnknownName: a pattern matches no network.
    """
    known = {network.name: network for network in networks()}
    chosen: set[str] = set()
    for pattern in patterns:
        matched = matching(pattern, known)
        if not matched:
            raise UnknownName("network", pattern, known)
        chosen.update(matched)
    return tuple(network for name, network in known.items() if name in chosen)
