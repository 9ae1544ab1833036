"""The repository that a build writes to, in a folder or in S3."""

import errno
import os
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from generator.errors import OutputFailed
from generator.repository import folder
from generator.repository.s3.url import S3Url

if TYPE_CHECKING:
    from generator.repository.s3.destination import S3Destination

Destination: TypeAlias = "RepositoryFolder | S3Destination"


@dataclass(frozen=True)
class RepositoryFolder:
    """A repository on a disk; `root` is absolute."""

    root: Path

    def staging(self) -> AbstractContextManager[Path]:
        """Lock the repository, and make a temporary folder for models; raise TritongenError if it is locked."""
        return folder.staging(self.root)

    def check(self) -> None:
        """Raise OutputFailed if the path is a file; nothing is written."""
        if self.root.exists() and not self.root.is_dir():
            raise OutputFailed(self.root, FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)))

    def published(self, name: str) -> folder.ModelFolder:
        """Return the published files of a model."""
        return folder.ModelFolder(self.root / name)

    def check_replaceable(self, name: str) -> None:
        """Raise TritongenError if a model of this name exists and tritongen did not make it."""
        target = self.root / name
        with folder.reporting(target):
            if target.exists() and not folder.is_ours(folder.ModelFolder(target)):
                raise folder.not_ours(target)

    def publish(self, staged: Path, kept: Iterable[str]) -> None:
        """Replace a model by the staged one and the published files that are kept, or raise TritongenError."""
        self.check_replaceable(staged.name)  # it may have been written since the check
        folder.link_files(self.root / staged.name, staged, kept)
        folder.publish(staged, self.root)

    def location(self, name: str) -> Path:
        """Return the folder of a model."""
        return self.root / name


def destination(output: Path | S3Url) -> Destination:
    """Return the repository at a path or URL."""
    if isinstance(output, Path):
        return RepositoryFolder(output.resolve())
    from generator.repository.s3.destination import S3Destination

    return S3Destination(output)
