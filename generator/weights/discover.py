"""Weights files of networks, found by name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from generator.errors import BadValue
from generator.system.text import listed

if TYPE_CHECKING:
    from generator.networks.types import Network

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".pdparams")
HUB_FILES = ("model.safetensors", "pytorch_model.bin")  # names in repositories of the Hugging Face hub, best first
HINT = "name a file after its network: dpn92.pth, dpn92-….safetensors, DPN92_pretrained.pdparams"


def find(path: Path, networks: Sequence[Network]) -> dict[str, Path]:
    """Return each network's weights file by the network's name: `path` itself, or a file in that folder.

    Raises:
        BadValue: there is no such path, it is one file for several networks, or a network has no file or several.
    """
    try:
        entries = sorted(path.iterdir()) if path.is_dir() else None
        exists = path.exists()
    except OSError as error:
        raise BadValue("weights", path, (error.strerror or str(error)).lower()) from error
    if not exists:
        raise BadValue("weights", path, "there is no such file or folder")
    if entries is None:
        if len(networks) != 1:
            why = f"a file needs exactly one network ({len(networks)} selected)"
            raise BadValue("weights", path, why, "name the network with `models`, or give a folder")
        return {networks[0].name: path}
    found = {network.name: files_of(network, entries) for network in networks}
    if missing := [name for name, files in found.items() if not files]:
        held = f"it holds {listed([entry.relative_to(path) for entry in entries])}" if entries else "it is empty"
        raise BadValue("weights", path, f"no file for {', '.join(missing)}; {held}", HINT)
    for name, files in found.items():
        if len(files) > 1:
            why = f"{len(files)} files for {name}: {listed([file.relative_to(path) for file in files])}"
            raise BadValue("weights", path, why, "keep one of them, or give the file itself")
    return {name: files[0] for name, files in found.items()}


def files_of(network: Network, entries: Sequence[Path]) -> list[Path]:
    """Return the weights files that are named after the network, or in a folder that is."""
    named = [path for path in entries if re.match(rf"{re.escape(network.name)}(?![^\W_])", path.name, re.IGNORECASE)]
    files = [path for path in named if path.suffix.lower() in SUFFIXES and path.is_file()]
    for folder in named:
        files += [path for name in HUB_FILES if (path := folder / name).is_file()][:1]
    return files
