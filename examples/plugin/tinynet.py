"""A network of 10 classes for images of 32x32, known to tritongen as `tinynet`."""

import torch
from torch import nn

from tritongen import TensorSpec, TorchNetwork


def create() -> nn.Module:
    """The module, with the weights that it is served with."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10),
    )  # fmt: skip


network = TorchNetwork(create, inputs=(TensorSpec("image", "TYPE_FP32", (3, 32, 32)),))
