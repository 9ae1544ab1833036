"""Publishers of weights: their names for the parameters, and how their networks take images.

Our names are torchvision's for DenseNet and timm's for DPN. The epsilon of the batch norms and the normalisation of
images belong to the weights, since the published networks were trained with them.
"""

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass

from generator.networks.architectures import DPNShape
from generator.networks.types import BN_EPS, Network
from generator.types import Preprocessing

IMAGENET = Preprocessing()
# timm normalises for DPN as MXNet did: the mean of 8-bit values, and one factor for all three colours.
MXNET = Preprocessing(mean=(124 / 255, 117 / 255, 104 / 255), std=(1 / (0.0167 * 255),) * 3)


@dataclass(frozen=True)
class Source:
    """A publisher. `in_out` says that the classifier's matrix is [in, out]; torch's is [out, in]."""

    name: str
    rename: Callable[[str, Network], str]
    in_out: bool = False
    bn_eps: float = BN_EPS
    preprocessing: Preprocessing = IMAGENET


def from_torchvision(key: str, _: Network) -> str:
    """Return our name for torchvision's: before torch 0.4 `norm1` was `norm.1`."""
    return re.sub(r"(\.denselayer\d+\.(?:norm|conv))\.([12]\.)", r"\1\2", key)


PADDLE_LEAVES = {"weight": "weight", "bias": "bias", "_mean": "running_mean", "_variance": "running_var"}
LAYER, DPN_BLOCK = r"(?P<part>_conv|_batch_norm)", r"dpn(?P<index>\d{1,3})"
# For each family: our name for a batch norm, and PaddleClas's name for each layer with ours. Paddle numbers the blocks
# of a DenseNet from 2, as the paper numbers its stages, and the blocks of a DPN from 1 through all stages.
PADDLE_NAMES = {
    "densenet": (
        "norm",
        (
            (rf"conv1_func\.{LAYER}", "features.{part}0"),
            (
                rf"db_conv_(?P<index>\d)\.conv(?P=index)_(?P<layer>\d+)\.bn_ac_func(?P<half>[12])\.{LAYER}",
                "features.denseblock{block}.denselayer{layer}.{part}{half}",
            ),
            (rf"tr_conv(?P<index>\d)_blk\.conv_ac_func\.{LAYER}", "features.transition{block}.{part}"),
            (r"batch_norm", "features.norm5"),
            (r"out", "classifier"),
        ),
    ),
    "dpn": (
        "bn",
        (
            (rf"conv1_x_1_func\.{LAYER}", "features.conv1_1.{part}"),
            (rf"{DPN_BLOCK}\.c1x1_w_func\.{LAYER}", "features.{block}.c1x1_w_s{stride}.{part}"),
            (rf"{DPN_BLOCK}\.(?P<unit>c1x1_a|c3x3_b|c1x1_c)_func\.{LAYER}", "features.{block}.{unit}.{part}"),
            (r"conv5_x_x_bn", "features.conv5_bn_ac.bn"),
            (r"out", "classifier"),
        ),
    ),
}


def from_paddle(key: str, network: Network) -> str:
    """Return our name for PaddleClas's; any other name stays as it is."""
    layer, _, leaf = key.rpartition(".")
    norm, names = PADDLE_NAMES[network.definition.family]
    for pattern, ours in names:
        found = re.fullmatch(pattern, layer)
        place = paddle_block(found.groupdict().get("index", "1"), network) if found else None
        if found and place and leaf in PADDLE_LEAVES:
            part = "conv" if found.groupdict().get("part") == "_conv" else norm
            return f"{ours.format(**found.groupdict() | place | {'part': part})}.{PADDLE_LEAVES[leaf]}"
    return key


def paddle_block(index: str, network: Network) -> dict[str, object] | None:
    """Return our name for the block with Paddle's number, and the stride of its projection, which timm's names have."""
    definition = network.definition
    if not isinstance(definition, DPNShape):
        return {"block": int(index) - 1}
    blocks = [(stage, n) for stage, count in enumerate(definition.blocks) for n in range(count)]
    if not 1 <= int(index) <= len(blocks):
        return None
    stage, n = blocks[int(index) - 1]
    return {"block": f"conv{stage + 2}_{n + 1}", "stride": 2 if stage else 1}


TORCHVISION = Source("torchvision", from_torchvision)
TIMM = Source("timm", from_torchvision)
TIMM_DPN = Source("timm", from_torchvision, bn_eps=1e-3, preprocessing=MXNET)
PADDLECLAS = Source("paddleclas", from_paddle, in_out=True)


def recognise(keys: Collection[str], container: str, network: Network) -> Source | None:
    """Return the publisher that names parameters so; only the container tells torchvision's DenseNets from timm's."""
    if any(key.endswith(("._mean", "._variance")) for key in keys):
        return PADDLECLAS
    if not any(key.startswith("features.") for key in keys):
        return None
    if network.definition.family == "dpn":
        return TIMM_DPN
    return TIMM if container == "safetensors" else TORCHVISION
