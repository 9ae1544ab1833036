"""The model repository on disk: its paths, and the one place that writes it.

A model appears whole or not at all. It is staged beside the repository, never in it (Triton takes every folder
there for a model), on the same filesystem, and moved in by one rename.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import shutil
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from generator.errors import OutputFailed, TritongenError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from generator.repository.s3.url import S3Url


AT_FDCWD = -100
RENAME_EXCHANGE = 2  # linux/fs.h


@contextmanager
def staging(repository: Path) -> Iterator[Path]:
    """An empty folder beside the repository, gone when the context ends; so is what a killed build left there.

    One build at a time has it. A repository that was made for this and got no model goes too.

    Raises:
        TritongenError: another build writes to the repository.
        OutputFailed: the folder or the repository cannot be made.
    """
    repository = repository.resolve()
    new = not repository.exists()
    with emptied(repository.parent / f".{repository.name}.staging", repository, repository) as folder:
        try:
            with reporting(repository):
                repository.mkdir(parents=True, exist_ok=True)
                check_movable(folder, repository)
            yield folder
        finally:
            if new:
                with suppress(OSError):  # it has models, or was never made
                    repository.rmdir()


@contextmanager
def emptied(root: Path, repository: Path | S3Url, written: Path) -> Iterator[Path]:
    """An empty folder below the root for one build at a time, gone when the context ends, and its root with it.

    Raises:
        TritongenError: another build writes to the repository.
        OutputFailed: it cannot be made; `written` is what is said not to be written then.
    """
    folder = root / "models"
    with locked(root, repository, written):
        try:
            with reporting(written):
                make_empty(folder)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def locked(root: Path, repository: Path | S3Url, written: Path) -> Iterator[None]:
    """Hold a lock file below the root, which is made; the kernel frees it whatever becomes of the process.

    The one that holds it removes it at the end: who has opened a file that is gone by then tries again.
    """
    path = root / "lock"
    while True:
        with reporting(written):
            try:
                root.mkdir(parents=True, exist_ok=True)
            except FileExistsError:
                if root.is_file():
                    raise
                continue  # the root was there, and went
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            except FileNotFoundError:
                continue  # the root went in between
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise TritongenError(f"another build writes to {repository}", "wait for its end") from None
            except OSError as error:  # a filesystem without locks
                raise OutputFailed(written, error) from error
            if not there(path, descriptor):
                continue
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
                with suppress(OSError):  # the next has begun
                    root.rmdir()
            return
        finally:
            os.close(descriptor)


def there(path: Path, descriptor: int) -> bool:
    """Whether the path still names the open file."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def make_empty(folder: Path) -> None:
    """A folder with nothing in it, whatever was there."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir()


def check_movable(folder: Path, repository: Path) -> None:
    """Raise OSError unless a model can be renamed from one to the other."""
    if not os.access(repository, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    if folder.stat().st_dev != repository.stat().st_dev:
        inside = repository / "models"
        raise OSError(errno.EXDEV, f"a model cannot be staged beside the root of a filesystem; choose {inside}")


def write_model(staged: Path, files: Mapping[str, bytes | Path | Iterator[bytes]]) -> None:
    """Write a model's files, named relative to its folder, whole or in pieces; a path is a file that is copied."""
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
    """Give a staged model some files of the published one: they are the same ones, and take no more room."""
    for name in names:
        path = staged / name
        with reporting(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                path.hardlink_to(target / name)
            except OSError:  # a filesystem that has no links
                shutil.copyfile(target / name, path)


def publish(staged: Path, repository: Path) -> None:
    """Move a staged model into the repository, in place of the one that it replaces.

    Raises:
        OutputFailed: the move failed; the repository holds what it held before.
    """
    target = repository.resolve() / staged.name
    with reporting(target):
        if target.exists():
            exchange(staged, target)
            shutil.rmtree(staged)
        else:
            staged.rename(target)


def exchange(one: Path, other: Path) -> None:
    """Swap two folders: in one step where the filesystem can (Linux, renameat2), else in two."""
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
    """Turn what the operating system says of a write into OutputFailed."""
    try:
        yield
    except OSError as error:
        raise OutputFailed(path, error) from error
