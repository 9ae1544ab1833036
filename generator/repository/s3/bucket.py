"""List, read, write and remove the objects of a repository in S3, with s3fs."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import aiohttp
import fsspec
from blake3 import blake3
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointConnectionError,
    InvalidRegionError,
    NoCredentialsError,
    ProfileNotFound,
    SSLError,
)

from generator.errors import StorageFailed
from generator.repository.s3.url import S3Url

DIGEST = "blake3"  # the metadata x-amz-meta-blake3 of an object that tritongen wrote
READ_WHOLE_BYTES = 1 << 20  # a smaller object is read: this is cheaper than a request for its metadata
PIECE_BYTES = 1 << 23
# s3fs repeats what botocore gave up: a dead network costs 3 x 2 attempts of 15 s at most.
TRIES, BOTOCORE_TRIES = 2, 3
PARTS_AT_ONCE = 4  # of 50 MB each, in memory
VERSION_MARK = "?versionId="  # s3fs removes it from a name
HINTS = {
    ProfileNotFound: "AWS_PROFILE names one of ~/.aws/config or ~/.aws/credentials",
    NoCredentialsError: "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    PermissionError: "these credentials may not do it, or are not known there; reading needs s3:ListBucket and "
    "s3:GetObject, writing s3:PutObject and s3:DeleteObject too",
    FileNotFoundError: "make the bucket first; AWS_ENDPOINT_URL names a server that is not AWS's",
    EndpointConnectionError: "AWS_ENDPOINT_URL names a server that is not AWS's",
    SSLError: "a server without TLS is http://HOST:PORT",
    InvalidRegionError: "AWS_DEFAULT_REGION is one such as us-east-1",
    ValueError: "AWS_ENDPOINT_URL is http://HOST:PORT or https://HOST",
}
# botocore raises ValueError for a wrong endpoint.
FAILURES = (OSError, BotoCoreError, ClientError, aiohttp.ClientError, ValueError)


@dataclass(frozen=True)
class Bucket:
    """The objects below a URL, named relative to it. Every method raises StorageFailed if S3 refuses a request."""

    url: S3Url

    @cached_property
    def filesystem(self) -> Any:  # noqa: ANN401 (s3fs has no types)
        """s3fs with the usual credentials; listings are not cached because other programs write too."""
        with self.reporting("reached"):
            made = fsspec.filesystem(
                "s3",
                use_listings_cache=False,
                skip_instance_cache=True,
                client_kwargs={"endpoint_url": self.url.endpoint} if self.url.endpoint else {},
                config_kwargs={"retries": {"mode": "standard", "total_max_attempts": BOTOCORE_TRIES}},
            )
        made.retries = TRIES
        return made

    @property
    def endpoint(self) -> str:
        """The URL of the S3 server."""
        with self.reporting("reached"):
            return str(self.filesystem.s3.meta.endpoint_url)

    def sizes(self, folder: str = "") -> dict[str, int]:
        """Return the size of each object below the URL or a folder; a name that ends with a slash marks a folder."""
        root = f"{self.url.path}/"
        with self.reporting("listed", folder):
            found = self.filesystem.find(f"{root}{folder}/" if folder else root, detail=True)
        sizes = {name.removeprefix(root): entry["size"] for name, entry in found.items() if name.startswith(root)}
        sizes.pop("", None)  # a folder that was made in the console
        if odd := [name for name in sizes if VERSION_MARK in name]:
            why = ValueError(f"{VERSION_MARK} stands in its name")
            raise StorageFailed(self.url / odd[0], "asked for", why, "remove the object")
        return sizes

    def read(self, name: str, start: int = 0, end: int | None = None) -> bytes:
        """Return an object, or a range of its bytes."""
        with self.reporting("read", name):
            return bytes(self.filesystem.cat_file((self.url / name).path, start=start, end=end))

    def digest(self, name: str, size_bytes: int) -> str:
        """Return the BLAKE3 of an object in hex.

        A large object that tritongen wrote has its digest in its metadata. An object that was replaced since has none,
        and is read.
        """
        if size_bytes > READ_WHOLE_BYTES and (mark := self.mark(name)):
            return mark
        hashed = blake3()
        for start in range(0, size_bytes, PIECE_BYTES):
            hashed.update(self.read(name, start, min(size_bytes, start + PIECE_BYTES)))
        return hashed.hexdigest()

    def mark(self, name: str) -> str | None:
        """Return the digest in the metadata of an object that tritongen wrote."""
        mark: str | None = self.call("head_object", name)["Metadata"].get(DIGEST)
        return mark

    def fetch(self, name: str, path: Path) -> None:
        """Copy an object into a file."""
        with self.reporting("read", name):
            self.filesystem.get_file((self.url / name).path, str(path))

    def put(self, path: Path, name: str, digest: str) -> None:
        """Write a file as an object in one step, uploading a large file in parts.

        An interrupt ends the upload and removes its parts.
        """
        with self.reporting("written", name):
            uploading = asyncio.run_coroutine_threadsafe(
                self.filesystem._put_file(  # noqa: SLF001 (the name of fsspec's asynchronous method)
                    str(path), (self.url / name).path, Metadata={DIGEST: digest}, max_concurrency=PARTS_AT_ONCE
                ),
                self.filesystem.loop,
            )
            try:
                uploading.result()
            except KeyboardInterrupt:
                uploading.cancel()
                self.end_uploads(name)
                raise

    def remove(self, name: str) -> None:
        """Remove an object, which may not exist."""
        with self.reporting("removed", name):
            self.filesystem.rm_file((self.url / name).path)

    def end_uploads(self, start: str) -> None:
        """Remove the parts of unfinished uploads of names with this prefix, if the credentials allow it."""
        below = {"Bucket": self.url.bucket, "Prefix": (self.url / start).prefix}
        with suppress(StorageFailed), self.reporting("cleared", start):
            for upload in self.filesystem.call_s3("list_multipart_uploads", **below).get("Uploads", ()):
                ended = {"Bucket": self.url.bucket, "Key": upload["Key"], "UploadId": upload["UploadId"]}
                self.filesystem.call_s3("abort_multipart_upload", **ended)

    def call(self, method: str, name: str, **arguments: object) -> dict[str, Any]:
        """Send a request about an object and return the answer of S3."""
        with self.reporting("asked about" if method.startswith("head") else "written", name):
            key = (self.url / name).prefix
            return dict(self.filesystem.call_s3(method, Bucket=self.url.bucket, Key=key, **arguments))

    @contextmanager
    def reporting(self, what: str, name: str = "") -> Iterator[None]:
        """Raise StorageFailed for an error of S3."""
        try:
            yield
        except FAILURES as error:
            hint = next((text for kind, text in HINTS.items() if isinstance(error, kind)), None)
            raise StorageFailed(self.url / name if name else self.url, what, error, hint) from error


def answered(failed: StorageFailed) -> str | None:
    """Return the error code of S3, which s3fs hides behind Python's errors, or None."""
    error: BaseException | None = failed
    while error is not None and not isinstance(error, ClientError):
        error = error.__cause__
    return None if error is None else str(error.response["Error"].get("Code"))
