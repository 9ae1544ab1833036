"""Publishing to S3, which has no way to replace several objects in one step: their order takes its place.

A model's graph goes up first and `config.pbtxt` last, so that a server which reads a config finds all that it names. A
model of which an upload was cut short is told by its provenance, whose digests are not those of the objects, and is
made again.
"""

from __future__ import annotations

import shutil
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from generator.errors import TritongenError
from generator.repository.folder import staging_below
from generator.repository.layout import CONFIG_FILE, MODEL_FILE, PROVENANCE_FILE, VERSION
from generator.repository.ownership import is_ours, not_ours
from generator.repository.s3.bucket import Bucket
from generator.repository.s3.lease import leased
from generator.repository.s3.url import for_triton
from generator.system.files import cache_home, digest_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from generator.repository.s3.lease import Lease
    from generator.repository.s3.url import S3Url


@dataclass(frozen=True)
class S3Model:
    """A model's objects with their bytes, as a listing had them, without the folders that tools draw."""

    bucket: Bucket
    name: str
    listed: Mapping[str, int]

    def names(self) -> list[str]:
        """As `Published` has it."""
        return sorted(self.listed)

    def size_bytes(self, name: str) -> int:
        """As `Published` has it."""
        if name not in self.listed:
            raise FileNotFoundError(name)
        return self.listed[name]

    def read(self, name: str, limit: int) -> bytes:
        """As `Published` has it."""
        end = min(limit, self.size_bytes(name))
        return self.bucket.read(f"{self.name}/{name}", 0, end) if end else b""

    def digest(self, name: str) -> str:
        """As `Published` has it."""
        return self.bucket.digest(f"{self.name}/{name}", self.size_bytes(name))

    def check_ours(self) -> None:
        """Raise TritongenError unless tritongen wrote it; an upload may have ended before its provenance and config."""
        if not is_ours(self) and not all(self.bucket.mark(f"{self.name}/{name}") for name in self.listed):
            raise not_ours(self.bucket.url / self.name)


class S3Destination:
    """A repository in S3; what is there is listed once, when it is first asked for."""

    def __init__(self, url: S3Url) -> None:
        self.url = url
        self.bucket = Bucket(url)
        self._lease: Lease | None = None

    @cached_property
    def address(self) -> str:
        """The URL with its endpoint, as Triton takes it."""
        return for_triton(self.url, self.bucket.endpoint)

    @cached_property
    def sizes(self) -> dict[str, int]:
        """The objects as they were when the build began."""
        return self.bucket.sizes()

    @cached_property
    def models(self) -> dict[str, dict[str, int]]:
        """Those of each model."""
        return by_model(self.sizes)

    def check(self) -> None:
        """As `Destination` has it: what no Triton could read is not built."""
        _ = self.address

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """As `Destination` has it; the folder is of this machine's cache."""
        places = cache_home() / "staging"
        clear(places)
        root = places / digest_of(self.address.encode())[:16]
        with staging_below(root, self.url, root) as folder, leased(Bucket(self.url)) as self._lease:
            yield folder

    def published(self, name: str) -> S3Model:
        """As `Destination` has it."""
        return S3Model(self.bucket, name, self.models.get(name, {}))

    def check_replaceable(self, name: str) -> None:
        """As `Destination` has it; an object of that very name would be in the way of a folder."""
        if name in self.sizes:
            raise not_ours(self.location(name))
        self.published(name).check_ours()

    def publish(self, staged: Path, kept: Iterable[str]) -> None:
        """As `Destination` has it: what changed goes up, and what is of the old model alone goes last."""
        self.check_held()
        self.bucket.end_uploads(f"{staged.name}/")
        model = S3Model(self.bucket, staged.name, by_model(self.bucket.sizes(staged.name)).get(staged.name, {}))
        model.check_ours()  # others write too
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
        """Raise StorageFailed where the repository may be another build's by now."""
        assert self._lease is not None  # it is held while there is a staging folder  # noqa: S101
        self._lease.check()

    def location(self, name: str) -> S3Url:
        """As `Destination` has it."""
        return self.url / name


def clear(places: Path) -> None:
    """Remove the staging folders that killed builds have left, wherever those wrote to."""
    for root in places.glob("*"):
        with suppress(TritongenError), staging_below(root, root, root):  # a build that lives has its lock
            pass


def by_model(sizes: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """The objects of each folder, by their names in it."""
    found: dict[str, dict[str, int]] = {}
    for key, size_bytes in sizes.items():
        model, _, name = key.partition("/")
        if name and not name.endswith("/"):
            found.setdefault(model, {})[name] = size_bytes
    return found


def upload_order(name: str) -> int:
    """The graph's data, the graph, what configs name, the configs of GPUs, provenance, `config.pbtxt`."""
    if name.startswith(f"{VERSION}/"):
        return 1 if name == MODEL_FILE else 0
    if name.startswith("configs/"):
        return 3
    return {PROVENANCE_FILE: 4, CONFIG_FILE: 5}.get(name, 2)
