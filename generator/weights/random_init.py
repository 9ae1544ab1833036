"""Seeded random parameters, calibrated to a trained network's scale and equal on every processor.

Processors add in different orders, and some round fewer times, so the last bits of a sum of floats differ between
them. No result here depends on that: numbers are drawn as integers, every sum is exact since its integers are small,
and IEEE 754 rounds every other operation in only one way.
"""

import math
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from generator.networks import INPUT_DIMS
from generator.networks.types import BN_EPS, Network
from generator.system.native import torch_threads
from generator.types import Weights

CALIBRATION_BATCH = 4
CALIBRATION_SIDES_PX = (7, 14, 28, 56, 112, 224)
FLOAT32_BITS = 24  # it holds every integer up to 2**24
UNIFORM_STD = 1 / math.sqrt(12)  # of numbers between -1/2 and 1/2


def random_network(network: Network, seed: int) -> tuple[nn.Module, Weights]:
    """Return the network with random parameters: equal bytes for equal seeds, on every processor.

    He initialisation (He et al. 2015, arXiv:1502.01852) keeps the scale through convolutions only if batch norm
    normalises. PyTorch's defaults give logits that hardly depend on the image, and random running statistics explode
    in the deepest networks. So the running statistics are measured.
    """
    # Each network has a stream of its own.
    generator = np.random.Generator(np.random.PCG64([zlib.crc32(network.name.encode()), seed]))
    module = network.module(bn_eps=BN_EPS).to_empty(device="cpu")
    with torch.no_grad(), torch_threads(1):  # threads of concurrent builds would wait for each other
        initialise(module, generator)
        calibrate(module.get_submodule("features"), pink_noise(CALIBRATION_BATCH, generator))
    return module, Weights("random", seed=seed, bn_eps=BN_EPS)


def uniform(shape: tuple[int, ...], std: float, generator: np.random.Generator) -> torch.Tensor:
    """Draw float32 numbers of mean zero; normal ones need logarithms, which libraries round differently."""
    centred = generator.random(shape, dtype=np.float32) - np.float32(0.5)
    return torch.from_numpy(centred * np.float32(std / UNIFORM_STD))


def pink_noise(batch_size: int, generator: np.random.Generator) -> torch.Tensor:
    """Draw [N,3,224,224] of unit variance, with equal structure at every scale, like photographs.

    A network that is calibrated with white noise leaves the scale when it sees photographs.
    """
    channels, height, width = INPUT_DIMS
    noise = torch.zeros(batch_size, channels, height, width)
    for side in CALIBRATION_SIDES_PX:
        scale = uniform((batch_size, channels, side, side), 1 / math.sqrt(len(CALIBRATION_SIDES_PX)), generator)
        noise += scale.repeat_interleave(height // side, dim=2).repeat_interleave(width // side, dim=3)
    return noise


def initialise(module: nn.Module, generator: np.random.Generator) -> None:
    """Draw He uniform convolutions, a classifier of unit scale, and batch norms that scale by about 1.

    Batch norms that read the same tensor must differ, as in trained networks: a simplifier merges equal ones, and the
    random network would be faster than a trained one.
    """
    for layer in module.modules():
        match layer:
            case nn.BatchNorm2d():
                layer.reset_running_stats()
                layer.weight.copy_(1 + uniform(layer.weight.shape, 0.2 * UNIFORM_STD, generator))
                nn.init.zeros_(layer.bias)
            case nn.Conv2d() | nn.Linear():
                # Only the classifier has a bias, and no ReLU after it.
                gain = nn.init.calculate_gain("relu" if layer.bias is None else "linear")
                layer.weight.copy_(uniform(layer.weight.shape, gain / math.sqrt(layer.weight[0].numel()), generator))
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)


def calibrate(features: nn.Module, noise: torch.Tensor) -> None:
    """Set the running statistics of every batch norm to those of one batch, [N,3,H,W]."""
    with ExactSums():
        features(noise)


class ExactSums(TorchFunctionMode):
    """Convolutions and batch norms of rounded values, whose sums are exact; a batch norm keeps its statistics."""

    def __torch_function__(
        self,
        func: Callable[..., torch.Tensor],
        _types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> torch.Tensor:
        """Replace convolutions and batch norms by the exact ones."""
        kwargs = kwargs or {}
        if func is functional.conv2d:
            return convolve(*args)
        if func is functional.batch_norm:
            x, mean, variance = args
            return normalise(x, mean, variance, kwargs["weight"], kwargs["bias"], kwargs["eps"])
        return func(*args, **kwargs)


def convolve(x: torch.Tensor, weight: torch.Tensor, bias: None, *geometry: Any) -> torch.Tensor:  # noqa: ANN401
    """Convolve integers without a bias; they are so small that float32 holds every sum of their products."""
    bits = FLOAT32_BITS - weight[0].numel().bit_length()
    x, unit = integers(x, bits - bits // 2)
    weight, weight_unit = integers(weight, bits // 2)
    return functional.conv2d(x, weight, bias, *geometry).mul_(unit * weight_unit)


def normalise(
    x: torch.Tensor, mean: torch.Tensor, variance: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float
) -> torch.Tensor:
    """Normalise [N,C,H,W] by its own statistics, which become the running ones."""
    values, unit = integers(x, (FLOAT32_BITS - x.shape[3].bit_length()) // 2)  # float32 holds a row's squares
    count = values.numel() / x.shape[1]
    means, squares = (row.sum(3).double().sum((0, 2)).numpy() / count for row in (values, values.square()))
    variances = squares - means * means
    mean.copy_(torch.from_numpy(means * unit))
    variance.copy_(torch.from_numpy(variances * unit * unit))
    scale = weight / torch.from_numpy(np.sqrt(variance.numpy() + np.float32(eps)))
    return x.sub(mean[:, None, None]).mul_(scale[:, None, None]).add_(bias[:, None, None])


def integers(values: torch.Tensor, bits: int) -> tuple[torch.Tensor, float]:
    """Return the values rounded to integers from -2**bits to 2**bits, and the unit, a power of two."""
    low, high = torch.aminmax(values)
    _, exponent = math.frexp(max(-float(low), float(high)))
    return values.mul(2.0 ** (bits - exponent)).round_(), 2.0 ** (exponent - bits)
