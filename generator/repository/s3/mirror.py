"""A repository in S3 as a folder of this machine, for as long as something looks into it.

Every object is a file of the right length; of which of them the content is fetched depends on who looks. What is not
fetched is a hole in the file, which takes no disk.
"""

from __future__ import annotations

import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

from generator.errors import OutputFailed, RepositoryNotFound, StorageFailed
from generator.repository.s3.bucket import READ_WHOLE_BYTES, Bucket

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from generator.repository.s3.url import S3Url

    # The configs; of a large file of a version an ONNX file's structure, and all others; everything.
    Wanted = Literal["configs", "headers", "everything"]

BLOCK_BYTES = 1 << 17  # of 1534 MB in ten models, 219 are fetched then, in 1670 requests
AT_ONCE = 8
LARGEST_TEXT_BYTES = 1 << 24  # outside of a version, where no rule reads more: a bucket may hold other things too
LONGEST_NAME_BYTES = 255  # of a file on Linux


@contextmanager
def mirrored(url: S3Url, wanted: Wanted) -> Iterator[Path]:
    """The folder, which is gone when the context ends.

    Raises:
        RepositoryNotFound: nothing is there.
        StorageFailed: it cannot be read, or an object has a name that no file can have.
    """
    with tempfile.TemporaryDirectory(prefix="tritongen-") as folder:
        root = Path(folder) / "repository"
        root.mkdir()
        fill(Bucket(url), root, wanted)
        yield root


def fill(bucket: Bucket, root: Path, wanted: Wanted) -> None:
    """Make the files and fetch what is wanted of them."""
    sizes = bucket.sizes()
    if not sizes:  # a folder that a console made is nothing either
        raise RepositoryNotFound(bucket.url, "nothing is there")
    for name, size_bytes in sizes.items():
        check_name(bucket, name, sizes)
        try:
            if name.endswith("/"):  # drawn by a tool
                (root / name).mkdir(parents=True, exist_ok=True)
                continue
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            with (root / name).open("xb") as file:
                file.truncate(size_bytes)
        except OSError as error:
            raise StorageFailed(bucket.url / name, "a file", error) from error
    files = {name: size_bytes for name, size_bytes in sizes.items() if size_bytes and not name.endswith("/")}
    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        for _ in pool.map(lambda name: fetch(bucket, root / name, name, files[name], wanted), files):
            pass
    finally:
        pool.shutdown(cancel_futures=True)  # after Ctrl-C only those that have begun are waited for


def check_name(bucket: Bucket, name: str, names: Container[str]) -> None:
    """Raise StorageFailed where a key would lead out of the folder, cannot be a path, or goes on from another's."""
    parts = name.removesuffix("/").split("/")
    if any(part in ("", ".", "..") or "\0" in part or len(os.fsencode(part)) > LONGEST_NAME_BYTES for part in parts):
        why = ValueError("its name is no path of files")
        raise StorageFailed(bucket.url / name, "looked into", why, "remove the object")
    if above := next((str(path) for path in PurePosixPath(name).parents if str(path) in names), None):
        why = ValueError("other objects are below it")
        raise StorageFailed(bucket.url / above, "a file", why, "remove the object")


def fetch(bucket: Bucket, path: Path, name: str, size_bytes: int, wanted: Wanted) -> None:
    """What is wanted of one object.

    Raises:
        OutputFailed: there is no room for it.
    """
    if wanted == "configs" and not name.endswith(".pbtxt"):
        return
    try:
        if wanted == "everything" or size_bytes <= READ_WHOLE_BYTES:
            bucket.fetch(name, path)
        elif in_version(name):
            fetch_header(bucket, path, name, size_bytes)
        elif size_bytes <= LARGEST_TEXT_BYTES:
            bucket.fetch(name, path)
    except OSError as error:
        raise OutputFailed(path, error) from error


def in_version(name: str) -> bool:
    """Whether it is in a model's version: `densenet121/1/model.onnx`."""
    parts = PurePosixPath(name).parts
    return len(parts) > len(("model", "version")) and parts[1].isdecimal()


def fetch_header(bucket: Bucket, path: Path, name: str, size_bytes: int) -> None:
    """What `read_header` reads of an ONNX file; of a file that is none, as far as it goes."""
    from generator.graph.header import HeaderUnreadable, walked

    with path.open("r+b") as file, suppress(HeaderUnreadable):
        walked(Blocks(bucket, name, size_bytes, file.fileno()).pread, size_bytes)


class Blocks:
    """An object that is fetched block by block, as it is read, into a file."""

    def __init__(self, bucket: Bucket, name: str, size_bytes: int, file: int) -> None:
        self._bucket = bucket
        self._name = name
        self._size_bytes = size_bytes
        self._file = file
        self._there: set[int] = set()

    def pread(self, length: int, at: int) -> bytes:
        """The bytes from there on, as `os.pread` gives them."""
        end = min(self._size_bytes, at + length)
        missing = [block for block in range(at // BLOCK_BYTES, -(-end // BLOCK_BYTES)) if block not in self._there]
        for block in missing:
            start = block * BLOCK_BYTES
            os.pwrite(
                self._file, self._bucket.read(self._name, start, min(self._size_bytes, start + BLOCK_BYTES)), start
            )
            self._there.add(block)
        return os.pread(self._file, length, at)
