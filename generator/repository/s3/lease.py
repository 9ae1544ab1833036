"""One build at a time writes to a repository in S3: an object that says so, and that its writer keeps renewing.

S3 frees nothing when a process dies, so the lock is a lease: who does not renew it has lost it. It is taken by a PUT on
the condition that no object is there, renewed and taken over by PUTs on the condition that the object is the one that
was seen (Amazon S3 User Guide, "conditional writes"). The object stands in the repository's root, where it needs no
other rights than the models; Triton takes folders for models, not objects.
"""

from __future__ import annotations

import math
import time
import uuid
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Any

from generator.errors import StorageFailed, TritongenError
from generator.repository.s3.bucket import answered

if TYPE_CHECKING:
    from collections.abc import Iterator

    from generator.repository.s3.bucket import Bucket

LOCK = ".tritongen.lock"
LEASE_S = 60.0  # how long a sign of life counts, by S3's own clock
RENEWED_EVERY_S = 15.0
HOLDER = "holder"  # who wrote the lock: x-amz-meta-holder
# 409 is for one of two writes that come at once.
NOT_AS_SEEN = ("PreconditionFailed", "412", "ConditionalRequestConflict", "409")
GONE = ("NoSuchKey", "404")


class Lease:
    """The lock as this process holds it; `check` before each write."""

    def __init__(self, bucket: Bucket, holder: str, etag: str, since_s: float) -> None:
        self._bucket = bucket
        self._holder = holder
        self._etag = etag
        self._since_s = since_s
        self._renewing = Lock()
        self._ended = Event()
        self._thread = Thread(target=self._keep, daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise StorageFailed where it may be another's by now, or soon.

        Nobody takes it sooner: S3 counts from when a PUT arrives, this from before it is sent; S3's clock has whole
        seconds, and what is written next takes its time, which is what the last part of a lease is left for.
        """
        if self.age_s >= LEASE_S - RENEWED_EVERY_S:
            self._renew()  # the machine may have slept
        if self.age_s >= LEASE_S - RENEWED_EVERY_S:
            why = TimeoutError("it is gone, or another build may have taken it")
            raise StorageFailed(self._bucket.url / LOCK, "renewed", why, "build again: what was written is found again")

    @property
    def age_s(self) -> float:
        """How long ago it was taken or renewed."""
        return now_s() - self._since_s

    def end(self) -> None:
        """Give it back, where it is this one's still; else it ends by itself."""
        self._ended.set()
        self._thread.join(1)
        if self.age_s < LEASE_S and self._renewing.acquire(timeout=1):
            with suppress(StorageFailed):
                if holder_of(self._bucket.call("head_object", LOCK)) == self._holder:
                    self._bucket.remove(LOCK)

    def _keep(self) -> None:
        """Show life until the end."""
        while not self._ended.wait(RENEWED_EVERY_S):
            self._renew()

    def _renew(self) -> None:
        """Show life once; a failure shows in the age, and a lock that is gone is lost at once."""
        since_s = now_s()
        with self._renewing:
            try:
                self._etag = put(self._bucket, self._holder, IfMatch=self._etag)
            except StorageFailed as failed:
                if answered(failed) not in (*NOT_AS_SEEN, *GONE):
                    return
                since_s = -math.inf
            self._since_s = since_s


@contextmanager
def leased(bucket: Bucket) -> Iterator[Lease]:
    """Hold the lock for as long as the context lasts, by a client of its own: uploads must not hold up its renewal.

    Raises:
        TritongenError: another build has it.
        StorageFailed: S3 does not take it.
    """
    holder, since_s = uuid.uuid4().hex, now_s()
    lease = Lease(bucket, holder, taken(bucket, holder), since_s)
    try:
        yield lease
    finally:
        lease.end()


def now_s() -> float:
    """A clock that goes on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def taken(bucket: Bucket, holder: str) -> str:
    """The ETag of the lock that was taken."""
    try:
        return put(bucket, holder, IfNoneMatch="*")
    except StorageFailed as failed:
        if answered(failed) not in NOT_AS_SEEN:
            raise
    try:
        seen = bucket.call("head_object", LOCK)
        if (left_s := LEASE_S - silent_s(seen)) > 0:
            raise busy(bucket, left_s)
        return put(bucket, holder, IfMatch=seen["ETag"])
    except StorageFailed as failed:  # given back in between, or taken over by a third
        if answered(failed) not in (*NOT_AS_SEEN, *GONE):
            raise
        raise busy(bucket, None) from failed


def busy(bucket: Bucket, left_s: float | None) -> TritongenError:
    """What the second is told."""
    void = f"; if it was killed, its lock is void {left_s:.0f} s from now" if left_s else ""
    return TritongenError(f"another build writes to {bucket.url}", f"wait for its end{void}")


def silent_s(seen: dict[str, Any]) -> float:
    """How long ago the lock was written, by the clock of the server that says so."""
    date = seen["ResponseMetadata"]["HTTPHeaders"].get("date")
    now = parsedate_to_datetime(date) if date else datetime.now(UTC)
    seconds: float = (now - seen["LastModified"]).total_seconds()
    return seconds


def holder_of(seen: dict[str, Any]) -> str | None:
    """Who wrote the lock."""
    name: str | None = seen["Metadata"].get(HOLDER)
    return name


def put(bucket: Bucket, holder: str, **condition: str) -> str:
    """Write the lock, with a content of its own; its ETag.

    An answer that was lost is asked for again by the client, and then the object is not as it was: it is ours already.
    """
    body = f"a build of tritongen writes here: {uuid.uuid4()}\n".encode()
    try:
        answer = bucket.call("put_object", LOCK, Body=body, Metadata={HOLDER: holder}, **condition)
    except StorageFailed as failed:
        if answered(failed) not in NOT_AS_SEEN:
            raise
        with suppress(StorageFailed):
            answer = bucket.call("head_object", LOCK)
            if holder_of(answer) == holder:
                return str(answer["ETag"])
        raise
    return str(answer.get("ETag", ""))
