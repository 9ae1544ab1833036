"""Single files: written whole or not at all, and told from others."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from generator.errors import OutputFailed

if TYPE_CHECKING:
    from pathlib import Path


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
