"""Where the publishers keep their trained weights: a function a publisher from a network to its address."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from generator.errors import BadValue

if TYPE_CHECKING:
    from collections.abc import Callable

    from generator.networks.types import Network

# The eight hex digits open the file's SHA-256 (torch.hub, `HASH_REGEX`).
TORCHVISION_FILES = {
    "densenet121": "densenet121-a639ec97.pth",
    "densenet161": "densenet161-8d451a50.pth",
    "densenet169": "densenet169-b2777c0a.pth",
    "densenet201": "densenet201-c1103571.pth",
}
# timm's names of the weights that torchvision and the authors of DPN trained.
TIMM_TAGS = {
    **dict.fromkeys(TORCHVISION_FILES, "tv_in1k"),
    **dict.fromkeys(("dpn68", "dpn92", "dpn98", "dpn107", "dpn131"), "mx_in1k"),
}
PADDLECLAS = "https://paddle-imagenet-models-name.bj.bcebos.com/dygraph"


@dataclass(frozen=True)
class Remote:
    """A file at a publisher's, the name it is kept under, and how its SHA-256 begins, where that is published."""

    url: str
    file: str
    sha256_prefix: str = ""


def torchvision(network: Network) -> Remote | None:
    """The four DenseNets that torchvision trained."""
    file = TORCHVISION_FILES.get(network.name)
    if file is None:
        return None
    (digits,) = re.findall(r"-([0-9a-f]{8})\.", file)
    return Remote(f"https://download.pytorch.org/models/{file}", file, digits)


def timm(network: Network) -> Remote | None:
    """The Hugging Face hub, or its mirror that HF_ENDPOINT names; it tells the SHA-256 with the file."""
    if network.name not in TIMM_TAGS:
        return None
    name = f"{network.name}.{TIMM_TAGS[network.name]}"
    hub = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    return Remote(f"{hub}/timm/{name}/resolve/main/model.safetensors", f"{name}.safetensors")


def paddleclas(network: Network) -> Remote | None:
    """All ten; no digest is published."""
    file = f"{network.title}_pretrained.pdparams"
    return Remote(f"{PADDLECLAS}/{file}", file)


PUBLISHERS: dict[str, Callable[[Network], Remote | None]] = {
    "torchvision": torchvision,
    "timm": timm,
    "paddleclas": paddleclas,
}


def remote(publisher: str, network: Network) -> Remote:
    """A publisher's file of a network.

    Raises:
        BadValue: it publishes none.
    """
    found = PUBLISHERS[publisher](network)
    if found is None:
        raise BadValue("weights", publisher, f"{publisher} has no {network.name}", "paddleclas has all ten")
    return found
