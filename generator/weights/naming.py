"""Who publishes weights: what they call the parameters, and how their networks take them.

Our names are torchvision's for DenseNet and timm's for DPN. The epsilon of the batch norms and the normalisation of
images belong to the weights: the published networks were trained with them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from generator.networks.types import DenseNetShape, DPNShape
from generator.types import Preprocessing

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from generator.networks.types import Network


BN_EPS = 1e-5
IMAGENET = Preprocessing()
# timm normalises for DPN as MXNet did: the mean of 8-bit values, and one factor for all three colours.
MXNET = Preprocessing(mean=(124 / 255, 117 / 255, 104 / 255), std=(1 / (0.0167 * 255),) * 3)


@dataclass(frozen=True)
class Source:
    """A publisher. `in_out` is whether the classifier's matrix is kept as [in, out], torch's being [out, in]."""

    name: str
    rename: Callable[[str, Network], str]
    in_out: bool = False
    dpn_bn_eps: float = BN_EPS
    dpn_preprocessing: Preprocessing = IMAGENET

    def bn_eps(self, network: Network) -> float:
        """The epsilon of the network's batch norms."""
        return self.dpn_bn_eps if isinstance(network.shape, DPNShape) else BN_EPS

    def preprocessing(self, network: Network) -> Preprocessing:
        """How the network takes images."""
        return self.dpn_preprocessing if isinstance(network.shape, DPNShape) else IMAGENET


def undotted(key: str, _: Network) -> str:
    """Our name of torchvision's: before torch 0.4 `norm.1` was what `norm1` is now."""
    return re.sub(r"(\.denselayer\d+\.(?:norm|conv))\.([12]\.)", r"\1\2", key)


PADDLE_LEAVES = {"weight": "weight", "bias": "bias", "_mean": "running_mean", "_variance": "running_var"}
PADDLE_LAYER = r"(?P<part>_conv|_batch_norm)"
DENSENET_PARTS = {"_conv": "conv", "_batch_norm": "norm"}
DPN_PARTS = {"_conv": "conv", "_batch_norm": "bn"}
# Paddle numbers the blocks of a DenseNet from 2, as the paper's table does its stages.
PADDLE_DENSENET = (
    (rf"conv1_func\.{PADDLE_LAYER}", "features.{part}0"),
    (
        rf"db_conv_(?P<stage>\d)\.conv(?P=stage)_(?P<layer>\d+)\.bn_ac_func(?P<half>[12])\.{PADDLE_LAYER}",
        "features.denseblock{block}.denselayer{layer}.{part}{half}",
    ),
    (rf"tr_conv(?P<stage>\d)_blk\.conv_ac_func\.{PADDLE_LAYER}", "features.transition{block}.{part}"),
    (r"batch_norm", "features.norm5"),
    (r"out", "classifier"),
)
# Paddle numbers the blocks of a DPN from 1 through all stages.
PADDLE_DPN = (
    (rf"conv1_x_1_func\.{PADDLE_LAYER}", "features.conv1_1.{part}"),
    (rf"dpn(?P<index>\d{{1,3}})\.c1x1_w_func\.{PADDLE_LAYER}", "features.{block}.c1x1_w_s{stride}.{part}"),
    (
        rf"dpn(?P<index>\d{{1,3}})\.(?P<unit>c1x1_a|c3x3_b|c1x1_c)_func\.{PADDLE_LAYER}",
        "features.{block}.{unit}.{part}",
    ),
    (r"conv5_x_x_bn", "features.conv5_bn_ac.bn"),
    (r"out", "classifier"),
)


def from_paddle(key: str, network: Network) -> str:
    """Our name of PaddleClas's, or the same if it is none."""
    layer, _, leaf = key.rpartition(".")
    match network.shape:
        case DenseNetShape():
            ours = densenet_layer(layer)
        case DPNShape():
            ours = dpn_layer(layer, network.shape)
        case _:
            ours = None
    return f"{ours}.{PADDLE_LEAVES[leaf]}" if ours and leaf in PADDLE_LEAVES else key


def densenet_layer(layer: str) -> str | None:
    """Our name of a layer of PaddleClas's DenseNet."""
    for pattern, ours in PADDLE_DENSENET:
        if found := re.fullmatch(pattern, layer):
            words = found.groupdict()
            part, block = DENSENET_PARTS.get(words.pop("part", ""), ""), int(words.get("stage", "1")) - 1
            return ours.format(part=part, block=block, **words)
    return None


def dpn_layer(layer: str, shape: DPNShape) -> str | None:
    """Our name of a layer of PaddleClas's DPN."""
    for pattern, ours in PADDLE_DPN:
        if found := re.fullmatch(pattern, layer):
            words = found.groupdict()
            part = DPN_PARTS.get(words.pop("part", ""), "")
            stage, block = dpn_block(int(words.pop("index", "1")), shape)
            # timm names the projection after its stride.
            return ours.format(part=part, block=f"conv{stage + 2}_{block}", stride=2 if stage else 1, **words)
    return None


def dpn_block(index: int, shape: DPNShape) -> tuple[int, int]:
    """The stage, from 0, and the number in it, from 1, of a block that is counted through all stages from 1."""
    last = len(shape.blocks) - 1
    stage = 0
    while stage < last and index > shape.blocks[stage]:
        index -= shape.blocks[stage]
        stage += 1
    return stage, index


TORCHVISION = Source("torchvision", undotted)
TIMM = Source("timm", undotted, dpn_bn_eps=1e-3, dpn_preprocessing=MXNET)
PADDLECLAS = Source("paddleclas", from_paddle, in_out=True)


def recognise(keys: Collection[str], container: str, network: Network) -> Source | None:
    """Whose names the keys are; torchvision's and timm's DenseNets differ in nothing but the container."""
    if any(key.endswith(("._mean", "._variance")) for key in keys):
        return PADDLECLAS
    if not any(key.startswith("features.") for key in keys):
        return None
    return TIMM if isinstance(network.shape, DPNShape) or container == "safetensors" else TORCHVISION
