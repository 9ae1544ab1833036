"""Models in a repository on a disk: read, written, and if tritongen made them.

A model is staged beside the repository, because Triton takes every folder in it for a model, and published by one
rename.
"""

import ctypes
import errno
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from generator.errors import OutputFailed, TritongenError
from generator.repository.layout import CONFIG_FILE, LARGEST_BYTES, PROVENANCE_FILE, SEAL
from generator.system.files import digest_of, locked

if TYPE_CHECKING:
    from generator.repository.s3.destination import S3Model

AT_FDCWD = -100
RENAME_EXCHANGE = 2  # linux/fs.h
ATTEMPTS = 100
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


@contextmanager
def staging(repository: Path) -> Iterator[Path]:
    """Make an empty folder beside the repository for one build at a time, and remove it at the end.

    What a killed build left there is removed. A repository that was made for this build and got no model is removed.

    Raises:
        TritongenError: another build writes to the repository.
        OutputFailed: the folder or the repository cannot be made.
    """
    repository = repository.resolve()
    new = not repository.exists()
    with staging_below(repository.parent / f".{repository.name}.staging", repository, repository) as folder:
        try:
            with reporting(repository):
                repository.mkdir(parents=True, exist_ok=True)
                check_movable(folder, repository)
            yield folder
        finally:
            if new:
                remove_if_empty(repository)


@contextmanager
def staging_below(root: Path, repository: object, written: Path) -> Iterator[Path]:
    """Lock `root` and make an empty folder in it; remove both at the end. OutputFailed names `written`."""
    busy = TritongenError(f"another build writes to {repository}", "wait for its end")
    folder = root / "models"
    with ExitStack() as cleanup:
        cleanup.callback(remove_if_empty, root)
        with reporting(written):
            for attempt in range(ATTEMPTS):
                try:
                    cleanup.enter_context(locked(root / "lock", busy))
                    break
                except (FileExistsError, FileNotFoundError):  # another build that ended removed the root
                    if attempt == ATTEMPTS - 1:
                        raise
            cleanup.callback(shutil.rmtree, folder, ignore_errors=True)
            if folder.exists():
                shutil.rmtree(folder)
            folder.mkdir()
        yield folder


def remove_if_empty(folder: Path) -> None:
    """Remove a folder unless it holds something or is gone."""
    with suppress(OSError):
        folder.rmdir()


def check_movable(folder: Path, repository: Path) -> None:
    """Raise OSError unless a folder can be renamed into the repository."""
    if not os.access(repository, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    if folder.stat().st_dev != repository.stat().st_dev:
        inside = repository / "models"
        raise OSError(errno.EXDEV, f"a model cannot be staged beside the root of a filesystem; choose {inside}")


def write_model(staged: Path, files: Mapping[str, bytes | Path | Iterator[bytes]]) -> None:
    """Write the files of a model: bytes, pieces of bytes, or the path of a file to copy."""
    for name, content in files.items():
        path = staged / name
        with reporting(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, os.PathLike):
                shutil.copyfile(content, path)
                continue
            with path.open("wb") as file:
                file.writelines([content] if isinstance(content, bytes) else content)


def link_files(target: Path, staged: Path, names: Iterable[str]) -> None:
    """Hard-link files of the published model into the staged one."""
    for name in names:
        path = staged / name
        with reporting(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                path.hardlink_to(target / name)
            except OSError:  # the filesystem has no hard links
                shutil.copyfile(target / name, path)


def publish(staged: Path, repository: Path) -> None:
    """Move a staged model into the repository and remove the replaced one; OutputFailed leaves all unchanged."""
    target = repository.resolve() / staged.name
    with reporting(target):
        if target.exists():
            exchange(staged, target)
            shutil.rmtree(staged)
        else:
            staged.rename(target)


def exchange(one: Path, other: Path) -> None:
    """Swap two folders in one step, or in three if the filesystem has no RENAME_EXCHANGE."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(AT_FDCWD, bytes(one), AT_FDCWD, bytes(other), RENAME_EXCHANGE) == 0:
        return
    code = ctypes.get_errno()
    if code not in (errno.ENOSYS, errno.EINVAL):
        raise OSError(code, os.strerror(code))
    aside = one.with_name(f"{one.name}.replaced")
    other.rename(aside)
    one.rename(other)
    aside.rename(one)


@contextmanager
def reporting(path: Path) -> Iterator[None]:
    """Raise OutputFailed for an OSError."""
    try:
        yield
    except OSError as error:
        raise OutputFailed(path, error) from error


@dataclass(frozen=True)
class RepositoryFolder:
    """A repository on a disk; `root` is absolute."""

    root: Path

    def staging(self) -> AbstractContextManager[Path]:
        """Lock the repository, and make a temporary folder for models; raise TritongenError if it is locked."""
        return staging(self.root)

    def check(self) -> None:
        """Raise OutputFailed if the path is a file; nothing is written."""
        if self.root.exists() and not self.root.is_dir():
            raise OutputFailed(self.root, FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)))

    def published(self, name: str) -> ModelFolder:
        """Return the published files of a model."""
        return ModelFolder(self.root / name)

    def check_replaceable(self, name: str) -> None:
        """Raise TritongenError if a model of this name exists and tritongen did not make it."""
        target = self.root / name
        with reporting(target):
            if target.exists() and not is_ours(ModelFolder(target)):
                raise not_ours(target)

    def publish(self, staged: Path, kept: Iterable[str]) -> None:
        """Replace a model by the staged one and the published files that are kept, or raise TritongenError."""
        self.check_replaceable(staged.name)  # it may have been written since the check
        link_files(self.root / staged.name, staged, kept)
        publish(staged, self.root)

    def location(self, name: str) -> Path:
        """Return the folder of a model."""
        return self.root / name
