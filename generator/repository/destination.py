"""Where a build writes to: a folder on a disk, or S3."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from generator.errors import OutputFailed
from generator.repository import folder, model_files
from generator.repository.ownership import is_ours, not_ours

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractContextManager

    from generator.repository.model_files import Published
    from generator.repository.s3.url import S3Url


class Destination(Protocol):
    """A repository as `build` sees it."""

    def staging(self) -> AbstractContextManager[Path]:
        """A folder for models on their way, for one build at a time; gone when the context ends.

        Raises:
            TritongenError: another build writes to the repository, or it cannot be written.
        """

    def check(self) -> None:
        """Raise TritongenError where it can be seen without writing that no repository can be."""

    def published(self, name: str) -> Published:
        """The model of that name as it is now."""

    def check_replaceable(self, name: str) -> None:
        """Raise TritongenError where somebody else's model has that name."""

    def publish(self, staged: Path, kept: Iterable[str]) -> None:
        """Put a staged model in the place of the one that is there, of which some files are kept.

        Raises:
            TritongenError: it cannot be written.
        """

    def location(self, name: str) -> Path | S3Url:
        """Where the model is."""


@dataclass(frozen=True)
class RepositoryFolder:
    """A repository on a disk: a model is replaced in one step. `root` is absolute."""

    root: Path

    def staging(self) -> AbstractContextManager[Path]:
        """As `Destination` has it."""
        return folder.staging(self.root)

    def check(self) -> None:
        """As `Destination` has it."""
        if self.root.exists() and not self.root.is_dir():
            raise OutputFailed(self.root, FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)))

    def published(self, name: str) -> Published:
        """As `Destination` has it."""
        return model_files.ModelFolder(self.root / name)

    def check_replaceable(self, name: str) -> None:
        """As `Destination` has it."""
        target = self.root / name
        with folder.reporting(target):
            if target.exists() and not is_ours(model_files.ModelFolder(target)):
                raise not_ours(target)

    def publish(self, staged: Path, kept: Iterable[str]) -> None:
        """As `Destination` has it."""
        self.check_replaceable(staged.name)  # others write too
        folder.link_files(self.root / staged.name, staged, kept)
        folder.publish(staged, self.root)

    def location(self, name: str) -> Path:
        """As `Destination` has it."""
        return self.root / name


def destination(output: Path | S3Url) -> Destination:
    """The one that is named; the client of S3 is imported for S3 only."""
    if isinstance(output, Path):
        return RepositoryFolder(output.resolve())
    from generator.repository.s3.destination import S3Destination

    return S3Destination(output)
