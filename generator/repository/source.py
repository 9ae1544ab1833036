"""A repository that is to be served: where its configs can be read, and how Triton is told of it."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from generator.errors import RepositoryNotFound
from generator.repository.layout import CONFIG_FILE
from generator.repository.s3.url import S3Url, for_triton, location

if TYPE_CHECKING:
    from collections.abc import Iterator

# Where Triton copies models of S3 to while they are loaded: core, src/filesystem/implementations/s3.h.
MOUNT_VARIABLE = "TRITON_AWS_MOUNT_DIRECTORY"


@dataclass(frozen=True)
class Source:
    """A folder to look into, and the words of --model-repository.

    `named` is how the user calls it, `env` what a server on this machine needs to be told. In S3, `folder` has the
    content of the configs alone.
    """

    folder: Path
    address: str
    named: Path | S3Url
    env: dict[str, str] = field(default_factory=dict)

    @property
    def remote(self) -> bool:
        """Whether Triton fetches it."""
        return isinstance(self.named, S3Url)

    def check(self) -> None:
        """Raise RepositoryNotFound unless it is a folder with a model in it."""
        check_models(self.folder, self.named)


def check_models(folder: Path, named: Path | S3Url) -> None:
    """Raise RepositoryNotFound unless there is a model in the folder; `named` is how the user calls it."""
    if not folder.is_dir():
        raise RepositoryNotFound(named, "it is a file" if folder.exists() else "there is no such folder")
    if not any(entry.is_dir() for entry in folder.iterdir()):
        raise RepositoryNotFound(named, "it holds no models")
    if (folder / CONFIG_FILE).is_file():
        raise RepositoryNotFound(named, "it is a model's folder", f"name the folder that it is in: {named.parent}")


def of_folder(path: Path) -> Source:
    """The source of a folder, there or not."""
    return Source(path, str(path.resolve()), path)


@contextmanager
def opened(repository: str | Path | S3Url | Source) -> Iterator[Source]:
    """The source of a repository, for as long as it is served; a folder is taken as it is, there or not.

    Raises:
        RepositoryNotFound, StorageFailed: nothing is there in S3, or it cannot be read.
    """
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
