"""Publish models to S3, which cannot replace several objects in one step.

The graph is uploaded first and `config.pbtxt` last, so that a server finds all files that a config names. After an
interrupted upload the digests in the provenance differ from those of the objects, and the next build makes the model
again.
"""

import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from generator.errors import TritongenError
from generator.repository.folder import is_ours, not_ours, staging_below
from generator.repository.layout import CONFIG_FILE, MODEL_FILE, PROVENANCE_FILE, VERSION
from generator.repository.s3.bucket import Bucket
from generator.repository.s3.lease import Lease, leased
from generator.repository.s3.url import S3Url, for_triton
from generator.system.files import cache_home, digest_of


@dataclass(frozen=True)
class S3Model:
    """The objects of a model, with their sizes from a listing."""

    bucket: Bucket
    name: str
    listed: Mapping[str, int]

    def names(self) -> list[str]:
        """Return the names of all objects."""
        return sorted(self.listed)

    def size_bytes(self, name: str) -> int:
        """Return the size of an object."""
        if name not in self.listed:
            raise FileNotFoundError(name)
        return self.listed[name]

    def read(self, name: str, limit: int) -> bytes:
        """Return at most `limit` bytes from the start of an object."""
        end = min(limit, self.size_bytes(name))
        return self.bucket.read(f"{self.name}/{name}", 0, end) if end else b""

    def digest(self, name: str) -> str:
        """Return the BLAKE3 of an object in hex."""
        return self.bucket.digest(f"{self.name}/{name}", self.size_bytes(name))

    def check_ours(self) -> None:
        """Raise TritongenError unless tritongen wrote the model; the provenance and config may not be uploaded yet."""
        if not is_ours(self) and not all(self.bucket.mark(f"{self.name}/{name}") for name in self.listed):
            raise not_ours(self.bucket.url / self.name)


class S3Destination:
    """A repository in S3; its objects are listed once per build."""

    def __init__(self, url: S3Url) -> None:
        self.url = url
        self.bucket = Bucket(url)
        self._lease: Lease | None = None

    @cached_property
    def address(self) -> str:
        """The URL with its endpoint, for Triton."""
        return for_triton(self.url, self.bucket.endpoint)

    @cached_property
    def sizes(self) -> dict[str, int]:
        """The sizes of all objects at the start of the build."""
        return self.bucket.sizes()

    def check(self) -> None:
        """Raise TritongenError if Triton cannot read a repository at this URL."""
        _ = self.address

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """Lock the repository and make a folder in the cache of this machine."""
        places = cache_home() / "staging"
        for left in places.glob("*"):  # by killed builds; a running build holds the lock of its folder
            with suppress(TritongenError), staging_below(left, left, left):
                pass
        root = places / digest_of(self.address.encode())[:16]
        with staging_below(root, self.url, root) as folder, leased(Bucket(self.url)) as self._lease:
            yield folder

    def published(self, name: str) -> S3Model:
        """Return the objects of a model."""
        return self.listed(name, self.sizes)

    def listed(self, name: str, sizes: Mapping[str, int]) -> S3Model:
        """Return a model as the sizes of objects list it, without marks of folders."""
        start, files = f"{name}/", {key: size for key, size in sizes.items() if not key.endswith("/")}
        mine = {key.removeprefix(start): size for key, size in files.items() if key.startswith(start)}
        return S3Model(self.bucket, name, mine)

    def check_replaceable(self, name: str) -> None:
        """Raise TritongenError if an object has this name, or a model has it that tritongen did not make."""
        if name in self.sizes:
            raise not_ours(self.location(name))
        self.published(name).check_ours()

    def publish(self, staged: Path, kept: Iterable[str]) -> None:
        """Upload the files that changed, then remove the objects that the new model does not have."""
        self.check_held()
        self.bucket.end_uploads(f"{staged.name}/")
        model = self.listed(staged.name, self.bucket.sizes(staged.name))
        model.check_ours()  # it may have been written since the check
        files = {path.relative_to(staged).as_posix(): path for path in staged.rglob("*") if path.is_file()}
        for name in sorted(files, key=lambda name: (upload_order(name), name)):
            digest = digest_of(files[name])
            if name not in model.listed or model.digest(name) != digest:
                self.check_held()
                self.bucket.put(files[name], f"{staged.name}/{name}", digest)
        for name in sorted(model.listed.keys() - files.keys() - set(kept)):
            self.check_held()
            self.bucket.remove(f"{staged.name}/{name}")
        shutil.rmtree(staged)

    def check_held(self) -> None:
        """Raise StorageFailed if another build may hold the lock."""
        assert self._lease is not None  # staging() took it  # noqa: S101
        self._lease.check()

    def location(self, name: str) -> S3Url:
        """Return the URL of a model."""
        return self.url / name


def upload_order(name: str) -> int:
    """Order: external data, graph, files that configs name, configs of GPUs, provenance, `config.pbtxt`."""
    if name.startswith(f"{VERSION}/"):
        return 1 if name == MODEL_FILE else 0
    if name.startswith("configs/"):
        return 3
    return {PROVENANCE_FILE: 4, CONFIG_FILE: 5}.get(name, 2)
