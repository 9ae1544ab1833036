"""The files of a published model, in a folder or in S3, and if tritongen made them."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from generator.errors import TritongenError
from generator.repository.layout import CONFIG_FILE, LARGEST_BYTES, PROVENANCE_FILE, SEAL
from generator.system.files import digest_of

if TYPE_CHECKING:
    from generator.repository.s3.destination import S3Model

# Text that every version of tritongen writes into these files, and nobody else does.
MARKS = {CONFIG_FILE: b'key: "tritongen.weights"', PROVENANCE_FILE: f'"{SEAL}"'.encode()}
Published: TypeAlias = "ModelFolder | S3Model"


@dataclass(frozen=True)
class ModelFolder:
    """A model on a disk. Files are named relative to its folder; a missing or unreadable file raises OSError."""

    path: Path

    def names(self) -> list[str]:
        """Return the names of all files, or none if there is no such model; links to folders are not followed."""
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
    """Return True if tritongen made the model, and raise OSError if it cannot be read; one mark may be missing."""
    names = model.names()
    return any(name in names and mark in model.read(name, LARGEST_BYTES) for name, mark in MARKS.items())


def not_ours(place: object) -> TritongenError:
    """Make the error for a model at a path or URL that is not replaced."""
    return TritongenError(
        f"{place} was not made by tritongen and would be replaced", "move it away, or choose another `output`"
    )
