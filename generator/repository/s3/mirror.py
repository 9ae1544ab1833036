"""Copy a repository in S3 into a temporary folder.

Every object becomes a file of the right length. Content that is not needed is not fetched: it is a hole in the file,
which takes no disk.
"""

import os
import re
import tempfile
from collections.abc import Container, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Literal

from generator.errors import OutputFailed, RepositoryNotFound, StorageFailed
from generator.repository.s3.bucket import READ_WHOLE_BYTES, Bucket
from generator.repository.s3.url import S3Url

Wanted = Literal["configs", "headers", "everything"]
BLOCK_BYTES = 1 << 17  # of ten models with 1534 MB, 219 MB are fetched in 1670 requests
AT_ONCE = 8
LARGEST_TEXT_BYTES = 1 << 24  # of a file outside a version: no rule reads more
LONGEST_NAME_BYTES = 255  # of a file on Linux


@contextmanager
def mirrored(url: S3Url, wanted: Wanted) -> Iterator[Path]:
    """Make the folder and remove it at the end.

    Raises:
        RepositoryNotFound: there is no object.
        StorageFailed: S3 cannot be read, or the name of an object is not a valid path.
    """
    with tempfile.TemporaryDirectory(prefix="tritongen-") as folder:
        root = Path(folder) / "repository"
        root.mkdir()
        fill(Bucket(url), root, wanted)
        yield root


def fill(bucket: Bucket, root: Path, wanted: Wanted) -> None:
    """Make the files and fetch the content that is wanted."""
    sizes = bucket.sizes()
    if not sizes:
        raise RepositoryNotFound(bucket.url, "nothing is there")
    for name, size_bytes in sizes.items():
        check_name(bucket, name, sizes)
        try:
            if name.endswith("/"):  # a mark of a folder
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
        pool.shutdown(cancel_futures=True)  # Ctrl-C waits for running requests only


def check_name(bucket: Bucket, name: str, names: Container[str]) -> None:
    """Raise StorageFailed if a name is not a valid path inside the folder, or an object is below another object."""
    parts = name.removesuffix("/").split("/")
    if any(part in ("", ".", "..") or "\0" in part or len(os.fsencode(part)) > LONGEST_NAME_BYTES for part in parts):
        why = ValueError("its name is no path of files")
        raise StorageFailed(bucket.url / name, "looked into", why, "remove the object")
    if above := next((str(path) for path in PurePosixPath(name).parents if str(path) in names), None):
        why = ValueError("other objects are below it")
        raise StorageFailed(bucket.url / above, "a file", why, "remove the object")


def fetch(bucket: Bucket, path: Path, name: str, size_bytes: int, wanted: Wanted) -> None:
    """Fetch the content of one object that is wanted; raise OutputFailed if the file cannot be written."""
    if wanted == "configs" and not name.endswith(".pbtxt"):
        return
    in_version = re.match(r"[^/]+/\d+/", name)  # such as densenet121/1/model.onnx
    largest = READ_WHOLE_BYTES if in_version else LARGEST_TEXT_BYTES
    try:
        if wanted == "everything" or size_bytes <= largest:
            bucket.fetch(name, path)
        elif in_version:
            fetch_header(bucket, path, name, size_bytes)
    except OSError as error:
        raise OutputFailed(path, error) from error


def fetch_header(bucket: Bucket, path: Path, name: str, size_bytes: int) -> None:
    """Fetch the blocks that `read_header` reads of an ONNX file; stop at the first error in another file."""
    from generator.graph.header import HeaderUnreadable, walked

    fetched: set[int] = set()

    def pread(length: int, at: int) -> bytes:
        """Read like `os.pread`, and fetch the missing blocks first."""
        end = min(size_bytes, at + length)
        for block in sorted({*range(at // BLOCK_BYTES, -(-end // BLOCK_BYTES))} - fetched):
            start = block * BLOCK_BYTES
            content = bucket.read(name, start, min(size_bytes, start + BLOCK_BYTES))
            os.pwrite(file.fileno(), content, start)
            fetched.add(block)
        return os.pread(file.fileno(), length, at)

    with path.open("r+b") as file, suppress(HeaderUnreadable):
        walked(pread, size_bytes)
