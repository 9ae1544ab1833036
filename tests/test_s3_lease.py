"""The lock of a repository in S3: who has it, who is told, and what becomes of one whose build was killed."""

import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from helpers import eventually
from s3_server import LOCK

from generator.errors import StorageFailed, TritongenError
from generator.s3 import lease
from generator.s3.bucket import Bucket
from generator.s3.destination import S3Destination
from generator.s3.lease import leased
from generator.s3.url import location


@pytest.fixture(name="bucket")
def _bucket(s3):
    """The place of a repository."""
    return Bucket(location(s3.url(), ""))


def there(s3):
    """Whether the lock is."""
    return LOCK in s3.contents()


def test_the_second_is_told(s3, bucket):
    """At once, and when the lock would be void; then it is free again."""
    with leased(bucket) as held:
        held.check()
        assert there(s3)
        with pytest.raises(TritongenError, match=f"^another build writes to {s3.url()}$") as caught, leased(bucket):
            pass
        assert 50 < int(re.fullmatch(r"wait for its end; if it was killed, its lock is void (\d+) s from now", caught.value.hint)[1]) <= 60  # fmt: skip
    assert not there(s3)
    with leased(bucket):
        pass


def test_many_at_once(s3):
    """Of eight that want it in the same moment, one has it."""

    def attempt(_):
        try:
            with leased(Bucket(location(s3.url(), ""))):
                time.sleep(1)
        except TritongenError as error:
            return str(error)
        return "had it"

    with ThreadPoolExecutor(8) as pool:
        told = sorted(pool.map(attempt, range(8)))
    assert told == [f"another build writes to {s3.url()}"] * 7 + ["had it"]


def test_one_that_was_killed(s3, bucket, monkeypatch):
    """Its lock is void when it has shown no life for so long; of many that wait for that, one takes it."""
    monkeypatch.setattr(lease, "LEASE_S", 2.0)
    lease.put(bucket, IfNoneMatch="*")
    with pytest.raises(TritongenError, match="another build writes"):
        lease.taken(bucket)
    time.sleep(3)

    def attempt(_):
        try:
            return lease.taken(bucket)
        except TritongenError:
            return None

    with ThreadPoolExecutor(4) as pool:
        assert len([etag for etag in pool.map(attempt, range(4)) if etag]) == 1
    assert there(s3)


def test_one_that_lives_is_not_robbed(bucket, monkeypatch):
    """However long it takes, it renews the lock."""
    monkeypatch.setattr(lease, "LEASE_S", 3.0)
    monkeypatch.setattr(lease, "RENEWED_EVERY_S", 0.5)
    with leased(bucket) as held:
        for _ in range(8):
            time.sleep(0.5)
            held.check()
            with pytest.raises(TritongenError, match="another build writes"):
                lease.taken(bucket)


def test_one_that_cannot_renew(s3, tmp_path, monkeypatch):
    """It writes nothing more once another may have the lock, and leaves the other's lock alone."""
    monkeypatch.setattr(lease, "LEASE_S", 2.0)
    monkeypatch.setattr(lease, "RENEWED_EVERY_S", 0.2)
    target = S3Destination(location(s3.url(), ""))
    with target.staging() as staging:
        target.check_held()
        s3.put(f"models/{LOCK}", b"another's")
        assert eventually(lambda: s3.asked("PUT").count(f"models/{LOCK}") > 4)
        time.sleep(2)
        (staging / "net").mkdir()
        (staging / "net" / "config.pbtxt").touch()
        with pytest.raises(StorageFailed, match=f"^{s3.url('models/' + LOCK)} cannot be renewed: 2 s have passed"):
            target.publish(staging / "net", ())
    assert s3.contents() == {LOCK: b"another's"}
    assert not list((tmp_path / "cache" / "tritongen" / "staging").iterdir())


def test_s3_says_no(s3, bucket):
    """What is not about the lock is said as it is."""
    s3.client.delete_bucket(Bucket=s3.bucket)
    with pytest.raises(StorageFailed, match="cannot be written: the specified bucket does not exist"), leased(bucket):
        pass


def test_two_builds_of_one_machine(s3):
    """The second is told by the lock of the staging folder, before S3 is asked."""
    first, second = (S3Destination(location(s3.url(), "")) for _ in range(2))
    with first.staging(), pytest.raises(TritongenError, match="another build writes"), second.staging():
        pass
    assert s3.asked("PUT") == [f"models/{LOCK}"]
