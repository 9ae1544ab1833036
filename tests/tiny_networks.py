"""Small networks that build in a second, and networks that misbehave, for tests of worker processes."""

import os
import signal
import time

import torch
from torch import nn

from generator.networks.architectures import DenseNetShape, DPNShape
from generator.networks.types import Network, Published
from generator.networks.user_networks import torch_network

PUBLISHED = Published(0.5, 0.9, 0.5, None, 1.0, 1.0)
TINY_DENSENET = Network("tiny-densenet", "TinyDenseNet", DenseNetShape(8, 4, (1, 1, 1, 1)), PUBLISHED)
TINY_DPN = Network("tiny-dpn", "TinyDPN", DPNShape(8, 3, 16, 8, 4, (1, 1, 1, 1), (4, 4, 4, 4)), PUBLISHED)
SMALL_DENSENET = Network("small-densenet", "SmallDenseNet", DenseNetShape(16, 8, (2, 2, 2, 2)), PUBLISHED)
SMALL_DPN = Network("small-dpn", "SmallDPN", DPNShape(8, 3, 32, 16, 4, (1, 2, 2, 1), (8, 8, 8, 8)), PUBLISHED)
FOUR = (TINY_DENSENET, TINY_DPN, SMALL_DENSENET, SMALL_DPN)


def of(files, network):
    """Return the files of a network's model among a repository's files."""
    return {name: content for name, content in files.items() if name.startswith(f"{network.name}/")}


class Linear(nn.Module):
    """[N,4] -> [N,3]."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)
        with torch.no_grad():
            self.layer.weight.copy_(torch.arange(12).reshape(3, 4) / 12)
            self.layer.bias.zero_()

    def forward(self, x):
        """Apply the layer."""
        return self.layer(x)


def good():
    """Return a module."""
    print("a module is made")  # noqa: T201 (as users' code does)
    return Linear()


def killed():
    """Kill the process, like the kernel if memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)


def refused():
    """Fail, like broken user code."""
    raise ValueError("there are no weights today")


def slow():
    """Sleep longer than any test."""
    time.sleep(600)


def own(function):
    """Return a network from one of these functions, which another process can import."""
    return torch_network(f"tiny_networks:{function.__name__}", inputs=["4"])
