"""Single files: atomic writes, digests, locks, the cache."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from blake3 import blake3

from generator.errors import OutputFailed, TritongenError


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file by one rename, in a folder that is made if needed.

    Raises:
        OutputFailed: the file cannot be written; an existing file is unchanged.
    """
    partial = path.with_name(f".tritongen-{os.getpid()}")  # not the name and a suffix: names have a maximum length
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content.encode() if isinstance(content, str) else content)
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise OutputFailed(path, error) from error


@contextmanager
def locked(path: Path, busy: TritongenError) -> Iterator[None]:
    """Make a lock file and its folder, hold the lock, and remove the file; the kernel frees a killed process's lock.

    Raises:
        TritongenError: `busy`, if the lock is held already.
        OSError: the lock file cannot be made, or the filesystem has no locks.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path, fallback_to_soft=False)  # a soft lock would outlive its process
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise busy from None
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        lock.release()


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cache_home() -> Path:
    """Return `$XDG_CACHE_HOME/tritongen`, or `~/.cache/tritongen` if the variable holds no absolute path."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (cache if cache.is_absolute() else Path.home() / ".cache") / "tritongen"


def digests(files: Mapping[str, bytes | Path]) -> dict[str, str]:
    """Return the BLAKE3 of each file in hex."""
    return {name: digest_of(content) for name, content in files.items()}


def digest_of_folder(version: Path) -> str:
    """Return the BLAKE3 of the names and digests of all files of a version, in hex."""
    files = {str(path.relative_to(version)): path for path in version.rglob("*") if path.is_file()}
    return digest_of_digests(digests(files))


def digest_of_digests(digests: Mapping[str, str]) -> str:
    """Return the BLAKE3 of names and digests, in hex."""
    return digest_of(repr(dict(sorted(digests.items()))).encode())


def digest_of(content: bytes | Path) -> str:
    """Return the BLAKE3 of bytes or of a file, in hex."""
    if isinstance(content, bytes):
        return blake3(content).hexdigest()
    with content.open("rb") as file:
        return hashlib.file_digest(file, blake3).hexdigest()  # type: ignore[arg-type]  # blake3 accepts any buffer
