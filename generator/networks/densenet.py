"""DenseNet in torch, under torchvision's attribute names so that its state dicts load with strict=True.

Every layer reads all feature maps before it: `x[l] = H(concat(x[0], …, x[l-1]))` with
`H = BN-ReLU-1x1(4k)-BN-ReLU-3x3(k)` (Huang et al. 2017, arXiv:1608.06993, section 3).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, relu

from generator.networks.types import BOTTLENECK

if TYPE_CHECKING:
    from generator.networks.architectures import DenseNetShape


class DenseLayer(nn.Module):
    """BN-ReLU-1x1(4k)-BN-ReLU-3x3(k): [N,channels,H,W] -> [N,k,H,W]."""

    def __init__(self, channels: int, growth: int, bn_eps: float) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels, eps=bn_eps)
        self.conv1 = nn.Conv2d(channels, BOTTLENECK * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(BOTTLENECK * growth, eps=bn_eps)
        self.conv2 = nn.Conv2d(BOTTLENECK * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the new feature maps of `x`."""
        x = self.conv1(relu(self.norm1(x)))
        out: Tensor = self.conv2(relu(self.norm2(x)))
        return out


class DenseBlock(nn.ModuleDict):
    """Layers that each append k maps: [N,channels,H,W] -> [N,channels+layers*k,H,W]."""

    def __init__(self, channels: int, growth: int, layers: int, bn_eps: float) -> None:
        super().__init__(
            {f"denselayer{i + 1}": DenseLayer(channels + i * growth, growth, bn_eps) for i in range(layers)}
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return all maps, the new ones last."""
        for layer in self.values():
            x = torch.cat([x, layer(x)], dim=1)
        return x


class Transition(nn.Module):
    """BN-ReLU-1x1-average pool between two blocks: halves the maps, the height and the width."""

    def __init__(self, channels: int, bn_eps: float) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, eps=bn_eps)
        self.conv = nn.Conv2d(channels, channels // 2, 1, bias=False)
        self.pool = nn.AvgPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N,C,H,W] to [N,C/2,H/2,W/2]."""
        out: Tensor = self.pool(self.conv(relu(self.norm(x))))
        return out


class DenseNet(nn.Module):
    """[N,3,224,224] -> [N,classes] logits."""

    def __init__(self, shape: DenseNetShape, classes: int, bn_eps: float) -> None:
        super().__init__()
        layers: OrderedDict[str, nn.Module] = OrderedDict(
            conv0=nn.Conv2d(3, shape.stem, 7, stride=2, padding=3, bias=False),
            norm0=nn.BatchNorm2d(shape.stem, eps=bn_eps),
            relu0=nn.ReLU(),
            pool0=nn.MaxPool2d(3, stride=2, padding=1),
        )
        channels = shape.stem
        for i, depth in enumerate(shape.blocks, start=1):
            layers[f"denseblock{i}"] = DenseBlock(channels, shape.growth, depth, bn_eps)
            channels += depth * shape.growth
            if i < len(shape.blocks):
                layers[f"transition{i}"] = Transition(channels, bn_eps)
                channels //= 2
        layers["norm5"] = nn.BatchNorm2d(channels, eps=bn_eps)
        self.features = nn.Sequential(layers)
        self.classifier = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of normalised images."""
        x = adaptive_avg_pool2d(relu(self.features(x)), 1)
        logits: Tensor = self.classifier(torch.flatten(x, 1))
        return logits
