"""Which file is of which network."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from generator.errors import BadValue, quoted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from generator.networks.types import Network

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".pdparams")
# What repositories of the Hugging Face hub call them, the one to take first.
HUB_FILES = ("model.safetensors", "pytorch_model.bin")
QUOTED_NAMES = 3
HINT = "a file is named after its network: dpn92.pth, dpn92-….safetensors, DPN92_pretrained.pdparams"


def find(path: Path, networks: Sequence[Network]) -> dict[str, Path]:
    """The weights file of each network by its name: `path` itself, or what is named after the network in that folder.

    Raises:
        BadValue: there is no such path, a file for several networks, or not exactly one file for each.
    """
    try:
        there = sorted(path.iterdir()) if path.is_dir() else None
        exists = path.exists()
    except OSError as error:
        raise BadValue("weights", path, (error.strerror or str(error)).lower()) from error
    if not exists:
        raise BadValue("weights", path, "there is no such file or folder")
    if there is None:
        if len(networks) != 1:
            why = f"a file needs exactly one network ({len(networks)} selected)"
            raise BadValue("weights", path, why, "name the network with `models`, or give a folder")
        return {networks[0].name: path}
    found = {network.name: of(network, there) for network in networks}
    if missing := [name for name, files in found.items() if not files]:
        held = f"it holds {listed([entry.relative_to(path) for entry in there])}" if there else "it is empty"
        raise BadValue("weights", path, f"nothing in it is of {', '.join(missing)}; {held}", HINT)
    for name, files in found.items():
        if len(files) > 1:
            why = f"{len(files)} files in it are of {name}: {listed([file.relative_to(path) for file in files])}"
            raise BadValue("weights", path, why, "keep one of them there, or give the file itself")
    return {name: files[0] for name, files in found.items()}


def of(network: Network, there: Sequence[Path]) -> list[Path]:
    """The weights files among a folder's entries that are named after the network."""
    named = [path for path in there if re.match(rf"{re.escape(network.name)}(?![^\W_])", path.name, re.IGNORECASE)]
    files = [path for path in named if path.suffix.lower() in SUFFIXES and path.is_file()]
    for folder in named:
        files += [path for name in HUB_FILES if (path := folder / name).is_file()][:1]
    return files


def listed(paths: Sequence[Path]) -> str:
    """The names in a folder: the first, and how many more there are."""
    more = len(paths) - QUOTED_NAMES
    return ", ".join(quoted(str(path)) for path in paths[:QUOTED_NAMES]) + (f" and {more} more" if more > 0 else "")
