"""The lock of a repository in S3: taking, renewing, losing and taking over."""

import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.exceptions import ClientError
from helpers import eventually
from s3_server import LOCK

from generator.errors import StorageFailed, TritongenError
from generator.repository.s3 import lease
from generator.repository.s3.bucket import Bucket
from generator.repository.s3.destination import S3Destination
from generator.repository.s3.lease import leased
from generator.repository.s3.url import location


@pytest.fixture(name="bucket")
def _bucket(s3):
    """The place of a repository."""
    return Bucket(location(s3.url(), ""))


@pytest.fixture(name="short")
def _short(monkeypatch):
    """Leases of three seconds."""
    monkeypatch.setattr(lease, "LEASE_S", 3.0)
    monkeypatch.setattr(lease, "RENEWED_EVERY_S", 0.5)


def lock_exists(s3):
    """Return true if the lock exists."""
    return LOCK in s3.contents()


def test_a_second_build_is_refused(s3, bucket):
    """A second build is refused, with the time left until the lock expires; after the first has ended it gets the lock."""
    with leased(bucket) as held:
        held.check()
        assert lock_exists(s3)
        with pytest.raises(TritongenError, match=f"^another build writes to {s3.url()}$") as caught, leased(bucket):
            pass
        left = re.fullmatch(r"wait for its end; if it was killed, its lock expires in (\d+) s", caught.value.hint)
        assert 50 < int(left[1]) <= 60
    assert not lock_exists(s3)
    with leased(bucket):
        pass


def test_one_of_eight_gets_the_lock(s3):
    """Eight builds try at the same moment, and one gets the lock."""
    had, told = threading.Event(), threading.Barrier(8)

    def attempt(_):
        try:
            with leased(Bucket(location(s3.url(), ""))):
                had.set()
                told.wait(60)
        except TritongenError as error:
            told.wait(60)
            return str(error)
        return "had it"

    with ThreadPoolExecutor(8) as pool:
        said = sorted(pool.map(attempt, range(8)))
    assert said == [f"another build writes to {s3.url()}"] * 7 + ["had it"]


@pytest.mark.usefixtures("short")
def test_an_expired_lock_is_taken_over(s3, bucket):
    """The lock of a killed build expires; of four builds that try then, one gets it."""
    lease.put(bucket, "killed", IfNoneMatch="*")
    with pytest.raises(TritongenError, match="another build writes"):
        lease.taken(bucket, "me")
    time.sleep(4)

    def attempt(number):
        try:
            return lease.taken(bucket, str(number))
        except TritongenError as error:
            assert str(error) == f"another build writes to {s3.url()}"  # noqa: PT017 (of either kind)
            return None

    with ThreadPoolExecutor(4) as pool:
        assert len([etag for etag in pool.map(attempt, range(4)) if etag]) == 1
    assert lock_exists(s3)


@pytest.mark.parametrize(("silent_s", "left_s"), [(31, 29), (59, 1)])
def test_a_lock_is_valid_to_its_end(bucket, monkeypatch, silent_s, left_s):
    """A lock that was not renewed for 31 of 60 s is another build's still."""
    lease.put(bucket, "killed", IfNoneMatch="*")
    monkeypatch.setattr(lease, "silent_s", lambda _seen: silent_s)
    with pytest.raises(TritongenError, match="another build writes") as caught:
        lease.taken(bucket, "me")
    assert caught.value.hint.endswith(f"its lock expires in {left_s} s")


@pytest.mark.usefixtures("short")
def test_a_running_build_keeps_its_lock(bucket):
    """The lock is renewed for as long as the build runs."""
    with leased(bucket) as held:
        for _ in range(8):
            time.sleep(0.5)
            held.check()
            with pytest.raises(TritongenError, match="another build writes"):
                lease.taken(bucket, "me")


@pytest.mark.usefixtures("short")
def test_a_build_that_lost_its_lock_writes_nothing(s3, tmp_path):
    """A build without its lock publishes nothing, and leaves the lock of the other build alone."""
    s3.put("models/net/config.pbtxt", b"old", Metadata={"blake3": "x"})
    target = S3Destination(location(s3.url(), ""))
    with target.staging() as staging:
        target.check_held()
        s3.put(f"models/{LOCK}", b"another's")
        assert eventually(lambda: s3.requested("PUT").count(f"models/{LOCK}") > 4)
        time.sleep(3)
        (staging / "net").mkdir()
        (staging / "net" / "labels.txt").touch()
        said = f"^{s3.url('models/' + LOCK)} cannot be renewed: it is gone, or another build may have taken it$"
        with pytest.raises(StorageFailed, match=said):
            target.publish(staging / "net", ())
    assert s3.contents() == {LOCK: b"another's", "net/config.pbtxt": b"old"}
    assert not list((tmp_path / "cache" / "tritongen" / "staging").iterdir())


def test_the_lock_is_checked_before_each_object(s3, monkeypatch):
    """The lock is checked before each object is written or removed."""
    for name in ("config.pbtxt", "stale-1", "stale-2"):
        s3.put(f"models/net/{name}", b"old", Metadata={"blake3": "x"})
    target = S3Destination(location(s3.url(), ""))
    with target.staging() as staging:
        (staging / "net").mkdir()
        for name in ("config.pbtxt", "labels.txt"):
            (staging / "net" / name).touch()
        asked = []
        monkeypatch.setattr(target, "check_held", lambda: asked.append(len(s3.written())))
        s3.requests.clear()
        target.publish(staging / "net", ())
        assert asked == [0, 0, 1, 2, 3]


def test_a_removed_lock(s3, bucket):
    """A lock that was removed is noticed at the next renewal."""
    with leased(bucket) as held:
        s3.remove(f"models/{LOCK}")
        held.check()  # nobody knows yet
        held._renew()  # noqa: SLF001 (what the thread does)
        with pytest.raises(StorageFailed, match="cannot be renewed: it is gone"):
            held.check()
    assert not lock_exists(s3)


@pytest.mark.usefixtures("short")
def test_renewing_after_sleep(bucket, monkeypatch):
    """After the machine slept, the lock is renewed before the next write."""
    monkeypatch.setattr(lease, "RENEWED_EVERY_S", 100.0)  # as if nothing ran
    with leased(bucket) as held:
        monkeypatch.setattr(lease, "RENEWED_EVERY_S", 0.5)
        time.sleep(4)
        begun_s = lease.now_s()
        held.check()
        assert held.age_s <= lease.now_s() - begun_s


def test_the_age_counts_from_before_the_request(bucket, monkeypatch):
    """The age counts from before the request is sent; the server counts from its arrival."""
    put = lease.put

    def slow(*arguments, **condition):
        etag = put(*arguments, **condition)
        time.sleep(1)
        return etag

    monkeypatch.setattr(lease, "put", slow)
    with leased(bucket) as held:
        assert held.age_s >= 1
        begun_s = lease.now_s()
        held._renew()  # noqa: SLF001 (what the thread does)
        assert 1 <= held.age_s <= lease.now_s() - begun_s


@pytest.mark.parametrize("condition", [{"IfNoneMatch": "*"}, {"IfMatch": "seen"}], ids=["taking", "renewing"])
def test_a_lost_answer(bucket, condition):
    """The client repeats a request whose answer was lost; the lock that it finds is its own."""
    if "IfMatch" in condition:
        condition = {"IfMatch": lease.put(bucket, "me", IfNoneMatch="*")}
    first = lease.put(bucket, "me", **condition)
    assert lease.put(bucket, "me", **condition) == first
    with pytest.raises(StorageFailed):
        lease.put(bucket, "another", **condition)


@pytest.mark.parametrize("code", ["PreconditionFailed", "ConditionalRequestConflict"])
def test_other_servers_errors(s3, bucket, monkeypatch, code):
    """Other servers' errors for a failed condition and for two writes at once mean that the lock is taken."""
    lease.put(bucket, "killed", IfNoneMatch="*")
    call = Bucket.call

    def terse(self, method, name, **arguments):
        if "IfNoneMatch" in arguments:
            with self.reporting("written", name):
                raise ClientError({"Error": {"Code": code, "Message": "no"}}, "PutObject")
        return call(self, method, name, **arguments)

    monkeypatch.setattr(Bucket, "call", terse)
    with pytest.raises(TritongenError, match=f"^another build writes to {s3.url()}$"):
        lease.taken(bucket, "me")
    monkeypatch.setattr(lease, "LEASE_S", -1.0)
    assert lease.taken(bucket, "me")


def test_a_lock_that_is_removed_meanwhile(s3, bucket, monkeypatch):
    """The other build ends between the refusal and the look at its lock: the hint names no time."""
    lease.put(bucket, "first", IfNoneMatch="*")
    call = Bucket.call

    def late(self, method, name, **arguments):
        if method == "head_object":
            s3.remove(f"models/{LOCK}")
        return call(self, method, name, **arguments)

    monkeypatch.setattr(Bucket, "call", late)
    with pytest.raises(TritongenError, match=r"^another build writes") as caught:
        lease.taken(bucket, "me")
    assert caught.value.hint == "wait for its end"


def test_other_errors_of_s3(s3, bucket):
    """Errors that do not concern the lock are reported as they are."""
    s3.client.delete_bucket(Bucket=s3.bucket)
    with pytest.raises(StorageFailed, match="cannot be written: the specified bucket does not exist"), leased(bucket):
        pass


def test_two_builds_on_one_machine(s3):
    """The lock of the staging folder refuses the second build before S3 is asked."""
    first, second = (S3Destination(location(s3.url(), "")) for _ in range(2))
    with first.staging(), pytest.raises(TritongenError, match="another build writes"), second.staging():
        pass
    assert s3.requested("PUT") == [f"models/{LOCK}"]
