"""The repository that a build writes to, in a folder or in S3."""

from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from generator.repository.folder import RepositoryFolder
from generator.repository.s3.url import S3Url

if TYPE_CHECKING:
    from generator.repository.s3.destination import S3Destination

Destination: TypeAlias = "RepositoryFolder | S3Destination"


def destination(output: Path | S3Url) -> Destination:
    """Return the repository at a path or URL."""
    if isinstance(output, Path):
        return RepositoryFolder(output.resolve())
    from generator.repository.s3.destination import S3Destination

    return S3Destination(output)
