"""Uploads to S3 that are interrupted or fail, and uploads in parts: the next build completes them."""

import asyncio
import errno
import os
import signal
import threading

import aiohttp
import pytest
from botocore.exceptions import ConnectionClosedError
from fsspec.exceptions import FSTimeoutError
from helpers import contents, only, small_onnx
from test_s3_build import NAMES

import tritongen
from generator.errors import StorageFailed
from generator.repository.s3.bucket import Bucket
from generator.repository.s3.url import location


def interrupt():
    """Ctrl-C, as the kernel hands it to a process: its main thread wakes from what it waits for."""
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)


def test_an_interrupted_upload_ends(s3, tmp_path, monkeypatch):
    """Ctrl-C ends the upload with the build."""
    (tmp_path / "large").write_bytes(bytes(1000))
    bucket = Bucket(location(s3.url(), ""))
    cancelled = threading.Event()

    async def slow(*_, **__):
        await asyncio.sleep(0.5)  # until it is waited for
        interrupt()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    monkeypatch.setattr(bucket.filesystem, "_put_file", slow)
    with pytest.raises(KeyboardInterrupt):
        bucket.put(tmp_path / "large", "net/1/model.onnx", "")
    assert cancelled.wait(10)


def test_parts_of_an_interrupted_upload_are_removed(s3, tmp_path, monkeypatch):
    """Parts of other models' uploads stay."""
    (tmp_path / "large").write_bytes(bytes(101 << 20))
    bucket = Bucket(location(s3.url(), ""))
    s3.client.create_multipart_upload(Bucket=s3.bucket, Key="models/other/1/model.onnx")
    real = bucket.filesystem._call_s3  # noqa: SLF001 (its only way in)
    begun = threading.Event()

    async def slow(method, *arguments, **options):
        if method == "upload_part":
            if not begun.is_set():  # several parts go up at once; Ctrl-C comes once
                begun.set()
                interrupt()
            await asyncio.sleep(60)
        return await real(method, *arguments, **options)

    monkeypatch.setattr(bucket.filesystem, "_call_s3", slow)
    with pytest.raises(KeyboardInterrupt):
        bucket.put(tmp_path / "large", "net/1/model.onnx", "")
    left = s3.client.list_multipart_uploads(Bucket=s3.bucket)["Uploads"]
    assert [upload["Key"] for upload in left] == ["models/other/1/model.onnx"]


def test_a_large_graph_is_uploaded_in_parts(s3, tmp_path):
    """A graph of 50 MB has a stored digest and reads back equal."""
    content = os.urandom(1 << 20) * 101
    (tmp_path / "large").write_bytes(content)
    bucket = Bucket(location(s3.url(), ""))
    bucket.put(tmp_path / "large", "net/1/model.onnx", "its mark")
    assert bucket.mark("net/1/model.onnx") == "its mark"
    assert s3.get("models/net/1/model.onnx") == content
    assert s3.requested("PUT").count("models/net/1/model.onnx") == 3


def test_parts_of_earlier_uploads_are_removed(s3, networks):
    """Parts left by earlier uploads of this model are removed; others may belong to running uploads."""
    others = ["elsewhere/model.onnx", "models/one-more/1/model.onnx", "models/two/1/model.onnx"]
    for key in ("models/one/1/model.onnx", *others):
        s3.client.create_multipart_upload(Bucket=s3.bucket, Key=key)
    tritongen.build(networks[0], output=s3.url())
    left = s3.client.list_multipart_uploads(Bucket=s3.bucket)["Uploads"]
    assert sorted(upload["Key"] for upload in left) == others


LOST = {
    "a body that ends early": aiohttp.ClientPayloadError("Response payload is not completed"),
    "a connection that is closed": ConnectionClosedError(endpoint_url="http://here"),
    "no answer in time": FSTimeoutError(),
}


@pytest.mark.parametrize("method", ["_call_s3", "_put_file", "find", "cat_file", "get_file"])
@pytest.mark.parametrize("case", LOST)
def test_a_broken_connection(s3, tmp_path, monkeypatch, case, method):
    """A broken connection is one sentence, whatever the client raises; removing old parts is given up silently."""
    s3.put("models/net/labels.txt", b"x")
    (tmp_path / "file").touch()
    bucket = Bucket(location(s3.url(), ""))

    def broken(*_, **__):
        raise LOST[case]

    async def broken_there(*_, **__):
        raise LOST[case]

    monkeypatch.setattr(bucket.filesystem, method, broken_there if method.startswith("_") else broken)
    said = []
    for call in (
        bucket.sizes,
        lambda: bucket.read("net/labels.txt"),
        lambda: bucket.fetch("net/labels.txt", tmp_path / "got"),
        lambda: bucket.put(tmp_path / "file", "net/labels.txt", ""),
        lambda: bucket.mark("net/labels.txt"),
    ):
        try:
            call()
        except StorageFailed as failed:
            said.append(str(failed))
    bucket.end_uploads("net")
    assert said  # by those that come to it
    assert all(text.isprintable() for text in said)


@pytest.mark.parametrize("uploads", range(len(NAMES)))
def test_a_failed_upload(s3, networks, tmp_path, monkeypatch, uploads):
    """After any number of objects the lock and the staging folder are removed, and the next build completes the model."""
    put, done = Bucket.put, []

    def failing(self, path, name, digest):
        if len(done) == uploads:
            with self.reporting("written", name):
                raise PermissionError("Access Denied")
        done.append(name)
        put(self, path, name, digest)

    options = {"output": s3.url(), "labels": tmp_path / "labels.txt"}
    monkeypatch.setattr(Bucket, "put", failing)
    with pytest.raises(
        StorageFailed, match=rf"^{s3.url('models/one/')}\S+ cannot be written: access Denied$"
    ) as caught:
        tritongen.build(networks[0], **options)
    assert "s3:PutObject" in caught.value.hint
    assert len(s3.contents()) == uploads
    assert contents(tmp_path / "cache" / "tritongen") == {}
    monkeypatch.setattr(Bucket, "put", put)
    again = "rendered" if uploads == len(NAMES) - 1 else "published"  # all but the config were there
    assert only(tritongen.build(networks[0], **options))[0] == again
    assert sorted(s3.contents("models/one")) == sorted(NAMES)
    assert only(tritongen.build(networks[0], **options)) == ("up to date", "")


def test_a_replacement_that_fails_half_way(s3, built, networks, tmp_path, monkeypatch):
    """The graph is new and the rest is old: the next build sees it and writes the rest."""
    (tmp_path / "one.onnx").write_bytes(small_onnx(classes=900).SerializeToString())
    put = Bucket.put

    def failing(self, path, name, digest):
        if "1/" not in name:
            with self.reporting("written", name):
                raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
        put(self, path, name, digest)

    monkeypatch.setattr(Bucket, "put", failing)
    with pytest.raises(StorageFailed, match="cannot be written: connection reset by peer"):
        tritongen.build(networks[0], output=s3.url())
    monkeypatch.setattr(Bucket, "put", put)
    assert built(labels=None)[0] == "published"
    tritongen.build(networks[0], output=tmp_path / "folder")
    assert s3.contents() == contents(tmp_path / "folder")
