"""A model as it was published, wherever its repository is: what a build finds of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from generator.system.files import digest_of

if TYPE_CHECKING:
    from pathlib import Path


class Published(Protocol):
    """A model's files, by their names from its folder on; none where there is no such model.

    A file that is not there, or cannot be read, is an OSError.
    """

    def names(self) -> list[str]:
        """Of every file."""

    def size_bytes(self, name: str) -> int:
        """Of a file."""

    def read(self, name: str, limit: int) -> bytes:
        """A file, or its first bytes where it has more than the limit."""

    def digest(self, name: str) -> str:
        """The BLAKE3 of a file, in hex."""


@dataclass(frozen=True)
class ModelFolder:
    """A model's folder on a disk."""

    path: Path

    def names(self) -> list[str]:
        """As `Published` has it; links to folders are not followed."""
        return sorted(path.relative_to(self.path).as_posix() for path in self.path.rglob("*") if path.is_file())

    def size_bytes(self, name: str) -> int:
        """As `Published` has it."""
        return (self.path / name).stat().st_size

    def read(self, name: str, limit: int) -> bytes:
        """As `Published` has it."""
        with (self.path / name).open("rb") as file:
            return file.read(limit)

    def digest(self, name: str) -> str:
        """As `Published` has it."""
        return digest_of(self.path / name)
