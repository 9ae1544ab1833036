"""The addresses of the weights that others publish."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from generator.errors import BadValue

if TYPE_CHECKING:
    from generator.networks.types import Network

PUBLISHERS = ("torchvision", "timm", "paddleclas")
# The eight hex digits are the beginning of the file's SHA-256 (torch.hub, `HASH_REGEX`).
TORCHVISION_DIGITS = {
    "densenet121": "a639ec97",
    "densenet161": "8d451a50",
    "densenet169": "b2777c0a",
    "densenet201": "c1103571",
}
# timm's tags of the weights that torchvision and the authors of DPN trained.
TIMM_TAGS = {
    **dict.fromkeys(TORCHVISION_DIGITS, "tv_in1k"),
    **dict.fromkeys(("dpn68", "dpn92", "dpn98", "dpn107", "dpn131"), "mx_in1k"),
}
PADDLECLAS = "https://paddle-imagenet-models-name.bj.bcebos.com/dygraph"


@dataclass(frozen=True)
class Remote:
    """A published file: its address, its name in the cache, and the beginning of its SHA-256, if that is published."""

    url: str
    file: str
    sha256_prefix: str = ""


def remote(publisher: str, network: Network) -> Remote:
    """Return a publisher's file for a network.

    Raises:
        BadValue: the publisher has none.
    """
    name = network.name
    if publisher == "paddleclas":
        file = f"{network.title}_pretrained.pdparams"
        return Remote(f"{PADDLECLAS}/{file}", file)
    if publisher == "torchvision" and name in TORCHVISION_DIGITS:
        file = f"{name}-{TORCHVISION_DIGITS[name]}.pth"
        return Remote(f"https://download.pytorch.org/models/{file}", file, TORCHVISION_DIGITS[name])
    if publisher == "timm" and name in TIMM_TAGS:
        file = f"{name}.{TIMM_TAGS[name]}"
        # HF_ENDPOINT names a mirror of the Hugging Face hub. The hub sends the SHA-256 with the file.
        hub = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
        return Remote(f"{hub}/timm/{file}/resolve/main/model.safetensors", f"{file}.safetensors")
    raise BadValue("weights", publisher, f"{publisher} has no {name}", "paddleclas has all ten")
