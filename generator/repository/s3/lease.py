"""Lock a repository in S3 for one build with an object that the build keeps renewing.

S3 does not free the lock of a process that dies, so the lock is a lease: it expires unless it is renewed. A build
takes it by a PUT that fails if the object exists. It renews the lock, or takes over an expired one, by a PUT that fails
if the object has changed (Amazon S3 User Guide, "conditional writes"). The object is in the root of the repository: a
build may write there, and Triton ignores it.
"""

import math
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from threading import Event, Lock, Thread
from typing import Any

from generator.errors import StorageFailed, TritongenError
from generator.repository.s3.bucket import Bucket, answered

LOCK = ".tritongen.lock"
LEASE_S = 60.0  # by the clock of S3
RENEWED_EVERY_S = 15.0
HOLDER = "holder"  # the metadata x-amz-meta-holder of the lock
# S3 answers 409 to one of two writes at the same time.
CHANGED = ("PreconditionFailed", "412", "ConditionalRequestConflict", "409")
GONE = ("NoSuchKey", "404")


class Lease:
    """The lock that this process holds; call `check` before each write."""

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
        """Raise StorageFailed if another build may hold the lock now or soon.

        The age counts from before the PUT was sent, S3 counts from its arrival. The last part of the lease is a margin
        for the next write and for the clock of S3, which has whole seconds.
        """
        if self.age_s >= LEASE_S - RENEWED_EVERY_S:
            self._renew()  # the machine may have slept
        if self.age_s >= LEASE_S - RENEWED_EVERY_S:
            why = TimeoutError("it is gone, or another build may have taken it")
            raise StorageFailed(self._bucket.url / LOCK, "renewed", why, "build again: what was written is found again")

    @property
    def age_s(self) -> float:
        """Seconds since the lock was taken or renewed."""
        return now_s() - self._since_s

    def end(self) -> None:
        """Remove the lock if this process still holds it."""
        self._ended.set()
        self._thread.join(1)
        if self.age_s < LEASE_S and self._renewing.acquire(timeout=1):
            with suppress(StorageFailed):
                if self._bucket.call("head_object", LOCK)["Metadata"].get(HOLDER) == self._holder:
                    self._bucket.remove(LOCK)

    def _keep(self) -> None:
        """Renew the lock until the end."""
        while not self._ended.wait(RENEWED_EVERY_S):
            self._renew()

    def _renew(self) -> None:
        """Renew the lock once; the age becomes infinite if the lock is lost, and grows after any other failure."""
        since_s = now_s()
        with self._renewing:
            try:
                self._etag = put(self._bucket, self._holder, IfMatch=self._etag)
            except StorageFailed as failed:
                if answered(failed) not in (*CHANGED, *GONE):
                    return
                since_s = -math.inf
            self._since_s = since_s


@contextmanager
def leased(bucket: Bucket) -> Iterator[Lease]:
    """Hold the lock, or raise TritongenError if another build does; uploads by the same bucket would delay renewals."""
    holder, since_s = uuid.uuid4().hex, now_s()
    lease = Lease(bucket, holder, taken(bucket, holder), since_s)
    try:
        yield lease
    finally:
        lease.end()


def now_s() -> float:
    """Read a clock that continues while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def taken(bucket: Bucket, holder: str) -> str:
    """Take the lock and return its ETag."""
    try:
        return put(bucket, holder, IfNoneMatch="*")
    except StorageFailed as failed:
        if answered(failed) not in CHANGED:
            raise
    hint = "wait for its end"
    try:
        seen = bucket.call("head_object", LOCK)
        if (left_s := LEASE_S - silent_s(seen)) <= 0:
            return put(bucket, holder, IfMatch=seen["ETag"])
        hint += f"; if it was killed, its lock expires in {left_s:.0f} s"
    except StorageFailed as failed:
        if answered(failed) not in (*CHANGED, *GONE):  # it was removed, or a third build took it
            raise
    raise TritongenError(f"another build writes to {bucket.url}", hint)


def silent_s(seen: dict[str, Any]) -> float:
    """Return the age of the lock by the clock of the server."""
    date = seen["ResponseMetadata"]["HTTPHeaders"].get("date")
    now = parsedate_to_datetime(date) if date else datetime.now(UTC)
    return float((now - seen["LastModified"]).total_seconds())


def put(bucket: Bucket, holder: str, **condition: str) -> str:
    """Write the lock and return its ETag.

    The client repeats a PUT whose answer was lost. The condition fails then, but the lock has this holder already.
    """
    body = f"a build of tritongen writes here: {uuid.uuid4()}\n".encode()
    try:
        answer = bucket.call("put_object", LOCK, Body=body, Metadata={HOLDER: holder}, **condition)
    except StorageFailed as failed:
        if answered(failed) not in CHANGED:
            raise
        with suppress(StorageFailed):
            answer = bucket.call("head_object", LOCK)
            if answer["Metadata"].get(HOLDER) == holder:
                return str(answer["ETag"])
        raise
    return str(answer.get("ETag", ""))
