"""Dual path networks in torch, under timm's attribute names so that its state dicts load with strict=True.

Two paths are kept as one tensor `[residual | dense]`. A block adds its first channels to the residual path, like
ResNeXt, and appends its last channels to the dense path, like DenseNet
(Chen et al. 2017, arXiv:1707.01629, section 4).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, relu

if TYPE_CHECKING:
    from generator.networks.architectures import DPNShape


class ConvBNReLU(nn.Module):
    """The stem: convolution, batch norm, ReLU; halves height and width."""

    def __init__(self, channels: int, kernel: int, bn_eps: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, channels, kernel, stride=2, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(channels, eps=bn_eps)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N,3,H,W] to [N,channels,H/2,W/2]."""
        return relu(self.bn(self.conv(x)))


class BNReLU(nn.Module):
    """The end of the last stage: batch norm, ReLU."""

    def __init__(self, channels: int, bn_eps: float) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(channels, eps=bn_eps)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N,C,H,W] to the same shape."""
        return relu(self.bn(x))


class BNReLUConv(nn.Module):
    """Batch norm, ReLU, convolution: the form of every convolution after the stem."""

    def __init__(
        self, channels: int, out: int, kernel: int, *, bn_eps: float, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(channels, eps=bn_eps)
        self.conv = nn.Conv2d(channels, out, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N,channels,H,W] to [N,out,H/stride,W/stride]."""
        out: Tensor = self.conv(relu(self.bn(x)))
        return out


class DualPathBlock(nn.Module):
    """1x1, grouped 3x3, 1x1; the first block of a stage also projects its input.

    [N,channels,H,W] -> [N,self.channels,H/stride,W/stride].
    """

    def __init__(self, shape: DPNShape, stage: int, channels: int, *, first: bool, bn_eps: float) -> None:
        super().__init__()
        growth, bottleneck = shape.growth[stage], shape.bottleneck * 2**stage
        self.residual = shape.width * 2**stage
        self.channels = self.residual + 3 * growth if first else channels + growth
        stride = 2 if first and stage else 1
        self.projection = f"c1x1_w_s{stride}" if first else None  # timm's name
        if self.projection:
            width = self.residual + 2 * growth
            self.add_module(self.projection, BNReLUConv(channels, width, 1, stride=stride, bn_eps=bn_eps))
        self.c1x1_a = BNReLUConv(channels, bottleneck, 1, bn_eps=bn_eps)
        self.c3x3_b = BNReLUConv(bottleneck, bottleneck, 3, stride=stride, groups=shape.groups, bn_eps=bn_eps)
        self.c1x1_c = BNReLUConv(bottleneck, self.residual + growth, 1, bn_eps=bn_eps)

    def forward(self, x: Tensor) -> Tensor:
        """Return `[residual + new residual | dense | new dense]`."""
        path = self.get_submodule(self.projection)(x) if self.projection else x
        new = self.c1x1_c(self.c3x3_b(self.c1x1_a(x)))
        split = self.residual
        return torch.cat([path[:, :split] + new[:, :split], path[:, split:], new[:, split:]], dim=1)


class DPN(nn.Module):
    """[N,3,224,224] -> [N,classes] logits."""

    def __init__(self, shape: DPNShape, classes: int, bn_eps: float) -> None:
        super().__init__()
        layers: OrderedDict[str, nn.Module] = OrderedDict(
            conv1_1=ConvBNReLU(shape.stem, shape.stem_kernel, bn_eps),
            conv1_pool=nn.MaxPool2d(3, stride=2, padding=1),
        )
        channels = shape.stem
        for stage, blocks in enumerate(shape.blocks):
            for number in range(blocks):
                block = DualPathBlock(shape, stage, channels, first=not number, bn_eps=bn_eps)
                layers[f"conv{stage + 2}_{number + 1}"] = block
                channels = block.channels
        layers["conv5_bn_ac"] = BNReLU(channels, bn_eps)
        self.features = nn.Sequential(layers)
        self.classifier = nn.Conv2d(channels, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of normalised images."""
        x = adaptive_avg_pool2d(self.features(x), 1)
        return torch.flatten(self.classifier(x), 1)
