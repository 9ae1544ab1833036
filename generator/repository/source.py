"""The repository that a server loads, in a folder or in S3."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from generator.errors import RepositoryNotFound
from generator.repository.layout import CONFIG_FILE
from generator.repository.s3.url import S3Url, for_triton, location

# The folder that Triton copies models from S3 to. Source: core, src/filesystem/implementations/s3.h.
MOUNT_VARIABLE = "TRITON_AWS_MOUNT_DIRECTORY"


@dataclass(frozen=True)
class Source:
    """A folder with the configs, and the value of Triton's --model-repository.

    `named` is the path or URL that the user gave, `env` the variables that a server on this machine needs. For a
    repository in S3, the files of `folder` have the right sizes but only the configs have content.
    """

    folder: Path
    address: str
    named: Path | S3Url
    env: dict[str, str] = field(default_factory=dict)

    @property
    def remote(self) -> bool:
        """Return True if the repository is in S3."""
        return isinstance(self.named, S3Url)

    def check(self) -> None:
        """Raise RepositoryNotFound unless the folder holds a model."""
        check_models(self.folder, self.named)


def check_models(folder: Path, named: Path | S3Url) -> None:
    """Raise RepositoryNotFound, which names `named`, unless the folder holds a model."""
    if not folder.is_dir():
        raise RepositoryNotFound(named, "it is a file" if folder.exists() else "there is no such folder")
    if not any(entry.is_dir() for entry in folder.iterdir()):
        raise RepositoryNotFound(named, "it holds no models")
    if (folder / CONFIG_FILE).is_file():
        raise RepositoryNotFound(named, "it is a model's folder", f"name the folder that it is in: {named.parent}")


def of_folder(path: Path) -> Source:
    """Return the source of a folder, which may not exist."""
    return Source(path, str(path.resolve()), path)


@contextmanager
def opened(repository: str | Path | S3Url | Source) -> Iterator[Source]:
    """Open a repository, or raise RepositoryNotFound or StorageFailed if S3 has none; a folder may not exist."""
    named = repository if isinstance(repository, Source) else location(repository, "repository")
    match named:
        case Source():
            yield named
        case Path():
            yield of_folder(named)
        case S3Url():
            from generator.repository.s3.bucket import Bucket
            from generator.repository.s3.mirror import mirrored

            with mirrored(named, "configs") as folder, tempfile.TemporaryDirectory(prefix="tritongen-") as copies:
                address = for_triton(named, Bucket(named).endpoint)
                yield Source(folder, address, named, {MOUNT_VARIABLE: copies})
