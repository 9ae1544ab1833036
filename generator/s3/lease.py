"""One build at a time writes to a repository in S3: an object that says so, and that its writer keeps renewing.

S3 frees nothing when a process dies, so the lock is a lease: who does not renew it has lost it. It is taken by a PUT on
the condition that no object is there, renewed and taken over by PUTs on the condition that the object is the one that
was seen (Amazon S3 User Guide, "conditional writes"). The object stands in the repository's root, where it needs no
other rights than the models; Triton takes folders for models, not objects.
"""

from __future__ import annotations

import time
import uuid
from contextlib import contextmanager, suppress
from email.utils import parsedate_to_datetime
from threading import Event, Thread
from typing import TYPE_CHECKING

from generator.errors import StorageFailed, TritongenError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from generator.s3.bucket import Bucket

LOCK = ".tritongen.lock"
LEASE_S = 60.0  # how long a sign of life counts, by S3's own clock
RENEWED_EVERY_S = 15.0


class Lease:
    """The lock as this process holds it; `check` before each write."""

    def __init__(self, bucket: Bucket, etag: str, since_s: float) -> None:
        self._bucket = bucket
        self._etag = etag
        self._since_s = since_s
        self._ended = Event()
        self._thread = Thread(target=self._renew, daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise StorageFailed where it may be another's by now.

        Nobody takes it sooner: S3 counts from when a PUT arrives, this from before it is sent.
        """
        if now_s() - self._since_s >= LEASE_S:
            why = TimeoutError(f"{LEASE_S:.0f} s have passed, and another build may have taken it")
            raise StorageFailed(
                str(self._bucket.url / LOCK), "renewed", why, "build again: what was written is found again"
            )

    def end(self) -> None:
        """Give it back, where it is this one's still."""
        self._ended.set()
        self._thread.join()
        with suppress(StorageFailed):  # it ends by itself
            if self._bucket.call("head_object", LOCK)["ETag"] == self._etag:
                self._bucket.remove(LOCK)

    def _renew(self) -> None:
        """Show life until the end."""
        while not self._ended.wait(RENEWED_EVERY_S):
            since_s = now_s()
            with suppress(StorageFailed):
                self._etag, self._since_s = put(self._bucket, IfMatch=self._etag), since_s


def now_s() -> float:
    """A clock that goes on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@contextmanager
def leased(bucket: Bucket) -> Iterator[Lease]:
    """Hold the lock for as long as the context lasts.

    Raises:
        TritongenError: another build has it.
        StorageFailed: S3 does not take it.
    """
    since_s = now_s()
    lease = Lease(bucket, taken(bucket), since_s)
    try:
        yield lease
    finally:
        lease.end()


def taken(bucket: Bucket) -> str:
    """The ETag of the lock that was taken."""
    try:
        return put(bucket, IfNoneMatch="*")
    except StorageFailed as failed:
        if not isinstance(failed.__cause__, FileExistsError):
            raise
    seen = bucket.call("head_object", LOCK)
    now = parsedate_to_datetime(seen["ResponseMetadata"]["HTTPHeaders"]["date"])
    silent_s = (now - seen["LastModified"]).total_seconds()
    if silent_s < LEASE_S:
        raise TritongenError(
            f"another build writes to {bucket.url}",
            f"wait for its end; if it was killed, its lock is void {LEASE_S - silent_s:.0f} s from now",
        )
    return put(bucket, IfMatch=seen["ETag"])


def put(bucket: Bucket, **condition: str) -> str:
    """Write the lock, with a content of its own; its ETag."""
    body = f"a build of tritongen writes here: {uuid.uuid4()}\n".encode()
    return str(bucket.call("put_object", LOCK, Body=body, **condition)["ETag"])
