"""Single files: written whole or not at all, and told from others."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from blake3 import blake3

from generator.errors import OutputFailed

if TYPE_CHECKING:
    from collections.abc import Mapping


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file by one rename; what was there stays until then.

    Raises:
        OutputFailed: it cannot be written; nothing is left of the attempt.
    """
    partial = path.with_name(f".tritongen-{os.getpid()}")  # short: the name may be as long as names can be
    try:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise OutputFailed(path, error) from error


def sha256_of(path: Path) -> str:
    """In hex, as publishers state it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cache_home() -> Path:
    """`$XDG_CACHE_HOME/tritongen`, or `~/.cache/tritongen`."""
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))  # the base directory specification ignores a relative one
    return (named if named.is_absolute() else Path.home() / ".cache") / "tritongen"


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
