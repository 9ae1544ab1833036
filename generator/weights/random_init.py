"""Seeded random parameters, calibrated so that activations keep a trained net's scale."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import torch
from torch import nn

from generator.networks import INPUT_DIMS
from generator.system.native import torch_threads
from generator.types import Weights

if TYPE_CHECKING:
    from generator.networks.types import Network

BN_EPS = 1e-5
CALIBRATION_BATCH = 4
CALIBRATION_SIDES_PX = (7, 14, 28, 56, 112, 224)
STATISTICS_BITS = 12  # mantissa bits kept of a running mean or variance


def random_network(network: Network, seed: int) -> tuple[nn.Module, Weights]:
    """The network with random parameters: the same bytes for the same seed, whatever the thread count.

    He initialisation (He et al. 2015, arXiv:1502.01852) keeps the scale through convolutions only as long as
    batch norm really normalises. PyTorch's own defaults give logits that hardly depend on the image, and
    random running statistics explode in the deepest nets; so the running statistics are measured.
    """
    # Each network its own stream. torch's CPU generator uses 32 bits of the seed, so these are all in it.
    generator = torch.Generator().manual_seed(zlib.crc32(f"{network.name} {seed}".encode()))
    module = network.module(bn_eps=BN_EPS).to_empty(device="cpu")
    with torch.no_grad(), torch_threads(1):
        initialise(module, generator)
        calibrate(module, pink_noise(CALIBRATION_BATCH, generator))
    return module.eval(), Weights("random", seed=seed, bn_eps=BN_EPS)


def pink_noise(batch_size: int, generator: torch.Generator) -> torch.Tensor:
    """[N,3,224,224] of unit variance with as much structure at every scale, as photographs have.

    White noise alone would calibrate the nets for images that nobody sends: photographs then leave the scale.
    """
    channels, height, _ = INPUT_DIMS
    scales = [
        torch.randn(batch_size, channels, side, side, generator=generator)
        .repeat_interleave(height // side, dim=2)
        .repeat_interleave(height // side, dim=3)
        for side in CALIBRATION_SIDES_PX
    ]
    return torch.stack(scales).sum(0).div(len(scales) ** 0.5)


def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """He normal convolutions, a classifier that keeps unit scale, batch norms that scale by 1 or nearly so.

    Two batch norms that read the same tensor must differ, as trained ones do: of equal ones a simplifier leaves one,
    and the random network would be faster than a trained one.
    """
    for layer in module.modules():
        match layer:
            case nn.BatchNorm2d():
                layer.reset_running_stats()
                nn.init.uniform_(layer.weight, 0.9, 1.1, generator=generator)
                nn.init.zeros_(layer.bias)
            case nn.Conv2d() | nn.Linear():
                # Only the classifier has a bias, and no ReLU after it.
                gain = nn.init.calculate_gain("relu" if layer.bias is None else "linear")
                nn.init.normal_(layer.weight, std=gain / layer.weight[0].numel() ** 0.5, generator=generator)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)


def calibrate(module: nn.Module, noise: torch.Tensor) -> None:
    """Set every batch norm's running statistics to those of one batch, [N,3,H,W], rounded.

    Rounding hides the last bits, in which processors differ; one thread (the caller's) hides the rest.
    """
    norms = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = None  # a cumulative average: exactly this batch's statistics
    module.train()
    module(noise)
    module.eval()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        for statistic in (norm.running_mean, norm.running_var):
            assert statistic is not None  # track_running_stats is on  # noqa: S101
            statistic.copy_(rounded(statistic))


def rounded(values: torch.Tensor) -> torch.Tensor:
    """The values with `STATISTICS_BITS` of mantissa."""
    mantissa, exponent = torch.frexp(values)
    return torch.ldexp((mantissa * 2**STATISTICS_BITS).round(), exponent - STATISTICS_BITS)
