"""BLAKE3 of files and of folders: whether they are still those that were published."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from blake3 import blake3

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def digests(files: Mapping[str, bytes | Path]) -> dict[str, str]:
    """The BLAKE3 of each, in hex."""
    return {name: digest_of(content) for name, content in files.items()}


def digest_of_folder(version: Path) -> str:
    """BLAKE3 over the names and the digests of a version's files as they are on disk, in hex."""
    files = {str(path.relative_to(version)): path for path in version.rglob("*") if path.is_file()}
    return digest_of_digests(digests(files))


def digest_of_digests(digests: Mapping[str, str]) -> str:
    """The same of digests that are known."""
    return digest_of(repr(dict(sorted(digests.items()))).encode())


def digest_of(content: bytes | Path) -> str:
    """BLAKE3 of bytes or of a file, in hex."""
    if isinstance(content, bytes):
        return blake3(content).hexdigest()
    with content.open("rb") as file:
        return hashlib.file_digest(file, blake3).hexdigest()  # type: ignore[arg-type]  # its update takes what can be a buffer
