"""The files of a published model, in a folder or in S3, and if tritongen made them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from generator.errors import TritongenError
from generator.repository.layout import CONFIG_FILE, LARGEST_BYTES, PROVENANCE_FILE, SEAL
from generator.system.files import digest_of

if TYPE_CHECKING:
    from generator.repository.s3.url import S3Url

# Text that every version of tritongen writes into these files, and nobody else does.
MARKS = {CONFIG_FILE: b'key: "tritongen.weights"', PROVENANCE_FILE: f'"{SEAL}"'.encode()}


class Published(Protocol):
    """The files of a model, by their names relative to its folder. A missing or unreadable file raises OSError."""

    def names(self) -> list[str]:
        """Return the names of all files, or none if there is no such model."""

    def size_bytes(self, name: str) -> int:
        """Return the size of a file."""

    def read(self, name: str, limit: int) -> bytes:
        """Return at most `limit` bytes from the start of a file."""

    def digest(self, name: str) -> str:
        """Return the BLAKE3 of a file in hex."""


@dataclass(frozen=True)
class ModelFolder:
    """A model on a disk."""

    path: Path

    def names(self) -> list[str]:
        """Return the names of all files; links to folders are not followed."""
        return sorted(path.relative_to(self.path).as_posix() for path in self.path.rglob("*") if path.is_file())

    def size_bytes(self, name: str) -> int:
        """Return the size of a file."""
        return (self.path / name).stat().st_size

    def read(self, name: str, limit: int) -> bytes:
        """Return at most `limit` bytes from the start of a file."""
        with (self.path / name).open("rb") as file:
            return file.read(limit)

    def digest(self, name: str) -> str:
        """Return the BLAKE3 of a file in hex."""
        return digest_of(self.path / name)


def is_ours(model: Published) -> bool:
    """Return True if tritongen made the model; either of the two marked files may be edited or missing.

    Raises:
        OSError: the files cannot be read.
    """
    names = model.names()
    return any(name in names and mark in model.read(name, LARGEST_BYTES) for name, mark in MARKS.items())


def not_ours(place: Path | S3Url) -> TritongenError:
    """Make the error for a model that is not replaced."""
    return TritongenError(
        f"{place} was not made by tritongen and would be replaced", "move it away, or choose another `output`"
    )
