"""Repositories in S3, written over real HTTP: the same bytes as in a folder, in an order that a server can bear."""

import asyncio
import errno
import fcntl
import os
import signal
import threading

import aiohttp
import pytest
from botocore.exceptions import ConnectionClosedError
from fsspec.exceptions import FSTimeoutError
from helpers import small_onnx
from s3_server import LOCK

import generator
from generator import make
from generator.digests import digest_of
from generator.errors import BadOption, StorageFailed
from generator.s3 import bucket as bucket_module
from generator.s3.bucket import Bucket
from generator.s3.url import location

NAMES = ("1/model.onnx", "config.pbtxt", "configs/t4-fp16.pbtxt", "configs/t4-fp32.pbtxt", "configs/v100-fp16.pbtxt",
         "configs/v100-fp32.pbtxt", "labels.txt", "provenance.json")  # fmt: skip


@pytest.fixture(name="networks")
def _networks(tmp_path):
    """Two files of one's own, and what classes they have."""
    (tmp_path / "labels.txt").write_text("\n".join(f"class {number}" for number in range(1000)))
    for name in ("one", "two"):
        (tmp_path / f"{name}.onnx").write_bytes(small_onnx().SerializeToString())
    return [generator.onnx_network(str(tmp_path / f"{name}.onnx")) for name in ("one", "two")]


@pytest.fixture(name="built")
def _built(s3, networks, tmp_path):
    """The first, published; then the requests are forgotten."""
    labels = tmp_path / "labels.txt"
    assert generator.build(networks[0], output=s3.url(), labels=labels).failed == {}
    s3.requests.clear()
    return lambda **options: only(generator.build(networks[0], output=s3.url(), **{"labels": labels, **options}))


def only(report):
    """Of a report of one model: what was done, and why."""
    assert report.failed == {}
    (todo,) = report.needed.values()
    return todo.outcome, todo.why


def of_a_folder(folder):
    """Every file with its content."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_bytes_of_a_folder(s3, networks, tmp_path):
    """What is there is what a folder would hold; nothing is left of the lock, nor in the cache."""
    report = generator.build(networks, output=s3.url("deep/er/models"), jobs=1)
    generator.build(networks, output=tmp_path / "folder", jobs=1)
    assert s3.contents("deep/er/models") == of_a_folder(tmp_path / "folder")
    assert [str(model.folder) for model in report.built] == [
        s3.url(f"deep/er/models/{name}") for name in ("one", "two")
    ]
    assert report.built[0].size_bytes == len(s3.get("deep/er/models/one/1/model.onnx"))
    assert of_a_folder(tmp_path / "cache" / "tritongen") == {}


def test_a_bucket_as_a_whole(s3, networks):
    """Without a prefix."""
    generator.build(networks[0], output=f"s3://{s3.bucket}")
    assert "one/config.pbtxt" in [entry["Key"] for entry in s3.client.list_objects_v2(Bucket=s3.bucket)["Contents"]]


def test_the_graph_first_and_the_config_last(s3, networks, tmp_path):
    """A server that reads a config finds all that it names; what is stale goes after that."""
    for name in ("1/old.data", "2/model.onnx", "provenance.json"):
        s3.put(f"models/one/{name}", b'{"blake3_of_the_rest": "of another build"}')
    s3.requests.clear()
    generator.build(networks[0], output=s3.url(), labels=tmp_path / "labels.txt")
    written = [path.removeprefix("models/one/") for path in s3.written()]
    assert written[0] == "1/model.onnx"
    assert written[len(NAMES) - 2 : len(NAMES)] == ["provenance.json", "config.pbtxt"]
    assert sorted(written[: len(NAMES)]) == sorted(NAMES)
    assert sorted(written[len(NAMES) :]) == ["1/old.data", "2/model.onnx"]
    assert sorted(s3.contents("models/one")) == sorted(NAMES)


def test_data_of_a_graph_before_the_graph():
    """A graph names its data."""
    from generator.s3.destination import upload_order

    names = ["config.pbtxt", "provenance.json", "configs/t4-fp16.pbtxt", "labels.txt", "1/model.onnx", "1/w/part.bin"]
    assert sorted(names, key=upload_order) == [
        "1/w/part.bin", "1/model.onnx", "labels.txt", "configs/t4-fp16.pbtxt", "provenance.json", "config.pbtxt",
    ]  # fmt: skip


def test_nothing_changed(s3, built):
    """Only the lock is written."""
    before = s3.contents()
    assert built() == ("up to date", "")
    assert s3.written() == []
    assert s3.asked("PUT", "DELETE") == [f"models/{LOCK}"] * 2
    assert s3.contents() == before


def test_only_what_changed(s3, built):
    """Another option of serving goes into texts; the graph stays, and so do texts that say the same."""
    assert built(max_batch_size=4, preferred_batch_sizes=[4], profile=[1, 4, 4]) == ("rendered", "config.pbtxt would be another")  # fmt: skip
    assert sorted(s3.written()) == sorted(
        f"models/one/{name}" for name in NAMES if name.startswith("config") or name == "provenance.json"
    )


def test_a_variant_that_is_wanted_no_more(s3, built):
    """Its objects go, after the others are there."""
    assert built(gpus=["t4"])[0] == "rendered"
    assert s3.written()[0] == "models/one/provenance.json"
    assert sorted(s3.written()[1:]) == ["models/one/configs/v100-fp16.pbtxt", "models/one/configs/v100-fp32.pbtxt"]
    assert sorted(s3.contents("models/one/configs")) == ["t4-fp16.pbtxt", "t4-fp32.pbtxt"]


DAMAGE = {
    "another graph": ("1/model.onnx", b"?", "1/model.onnx was changed"),
    "no graph": ("1/model.onnx", None, "1/model.onnx is not there"),
    "a config that was edited": ("config.pbtxt", b'name: "two"', "config.pbtxt would be another"),
    "no labels": ("labels.txt", None, "labels.txt is not there"),
    "no provenance": ("provenance.json", None, "its provenance.json is not there"),
    "a provenance that was edited": ("provenance.json", b"{}", "its provenance.json is not one that this tritongen writes"),
    "a file of somebody's": ("notes.txt", b"", "notes.txt would go"),
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGE)
def test_what_was_changed_since(s3, built, case):
    """It is seen, said, and put right."""
    name, content, why = DAMAGE[case]
    before = s3.contents()
    if content is None:
        s3.remove(f"models/one/{name}")
    else:
        s3.put(f"models/one/{name}", content)
    if case == "no provenance":
        assert all(
            s3.client.head_object(Bucket=s3.bucket, Key=f"models/one/{name}")["Metadata"].get("blake3")
            for name in s3.contents("models/one")
        )
    texts = ("config.pbtxt", "labels.txt", "notes.txt")
    assert built() == ("rendered" if name in texts else "published", why)
    assert s3.contents() == before


@pytest.fixture(name="large")
def _large(monkeypatch):
    """What is more than a kilobyte is large."""
    monkeypatch.setattr(bucket_module, "READ_WHOLE_BYTES", 1000)


@pytest.mark.usefixtures("large")
def test_a_large_object_is_known_by_its_mark(s3, built):
    """It is not read again; one that another program has put there has no mark, and is read."""
    graph = "models/one/1/model.onnx"
    assert built() == ("up to date", "")
    assert s3.asked("GET").count(graph) == 0
    s3.put(graph, s3.get(graph))
    s3.requests.clear()
    assert built() == ("up to date", "")
    assert s3.asked("GET").count(graph) == 1
    s3.put(graph, b"\0" * 5000)
    assert built() == ("published", "1/model.onnx was changed")


def test_a_text_is_read_whatever_its_mark_says(s3, built):
    """Programs that mount a bucket keep what is written beside an object when they edit it."""
    config = s3.client.get_object(Bucket=s3.bucket, Key="models/one/config.pbtxt")
    s3.put("models/one/config.pbtxt", config["Body"].read()[:-1] + b"#", Metadata=config["Metadata"])
    assert built() == ("rendered", "config.pbtxt would be another")


@pytest.mark.usefixtures("large")
def test_a_large_object_is_read_in_pieces(s3, monkeypatch):
    """Its digest is that of the whole."""
    monkeypatch.setattr(bucket_module, "PIECE_BYTES", 4096)
    content = os.urandom(10_000)
    s3.put("models/net/1/model.onnx", content)
    assert Bucket(location(s3.url(), "")).digest("net/1/model.onnx", len(content)) == digest_of(content)
    assert s3.asked("GET").count("models/net/1/model.onnx") == 3


def test_somebody_elses_model(s3, networks):
    """It is not replaced; the other network is built."""
    s3.put("models/one/config.pbtxt", b"by hand")
    report = generator.build(networks, output=s3.url(), jobs=1)
    assert str(report.failed["one"]) == f"{s3.url('models/one')} was not made by tritongen and would be replaced"
    assert [model.network.name for model in report.built] == ["two"]
    assert s3.contents("models/one") == {"config.pbtxt": b"by hand"}


THEIRS = {
    "provenance.json": b'{"team": "vision"}',
    "config.pbtxt": b'name: "one"',
    "1/model.onnx": b"trained for weeks",
}


@pytest.mark.parametrize("dry_run", [True, False])
def test_somebody_elses_model_with_our_names(s3, networks, dry_run):
    """What files are called makes nobody their owner."""
    for name, content in THEIRS.items():
        s3.put(f"models/one/{name}", content)
    report = generator.build(networks[0], output=s3.url(), dry_run=dry_run)
    assert str(report.failed["one"]) == f"{s3.url('models/one')} was not made by tritongen and would be replaced"
    assert s3.contents("models/one") == THEIRS


def test_an_object_in_the_place_of_a_model(s3, networks):
    """No folder can be there, so none is made there."""
    s3.put("models/one", b"notes")
    report = generator.build(networks[0], output=s3.url())
    assert str(report.failed["one"]) == f"{s3.url('models/one')} was not made by tritongen and would be replaced"
    assert s3.contents() == {"one": b"notes"}


def test_staging_that_killed_builds_left(s3, networks, tmp_path):
    """Wherever they wrote to; of one that lives it stays."""
    places = tmp_path / "cache" / "tritongen" / "staging"
    for name in ("killed", "living"):
        (places / name / "models" / "net").mkdir(parents=True)
        (places / name / "lock").touch()
    with (places / "living" / "lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        generator.build(networks[0], output=s3.url())
        assert [path.name for path in places.iterdir()] == ["living"]
        assert (places / "living" / "models" / "net").is_dir()


def test_folders_that_tools_draw(s3, networks):
    """Objects whose keys end with a slash are no files of a model."""
    s3.put("models/")
    s3.put("models/one/")
    s3.put("models/one/1/")
    assert only(generator.build(networks[0], output=s3.url())) == ("published", "it is not there")
    assert only(generator.build(networks[0], output=s3.url())) == ("up to date", "")
    assert "one/1/" in s3.contents()


def test_somebody_elses_model_that_comes_meanwhile(s3, networks, monkeypatch):
    """Between the listing and the upload: it is not replaced either."""
    prepared = make.verify

    def slow(*arguments, **options):
        s3.put("models/one/config.pbtxt", b"by hand")
        return prepared(*arguments, **options)

    monkeypatch.setattr(make, "verify", slow)
    report = generator.build(networks[0], output=s3.url())
    assert "was not made by tritongen" in str(report.failed["one"])
    assert s3.contents("models/one") == {"config.pbtxt": b"by hand"}


def test_a_key_that_the_client_would_cut(s3, built):
    """s3fs takes ?versionId= for its own, and would remove the object beside it."""
    s3.put("models/one/1/model.onnx?versionId=x", b"")
    with pytest.raises(StorageFailed, match=r"\?versionId=x cannot be asked for: \?versionId= stands in its name"):
        built()
    assert s3.asked("DELETE") == [f"models/{LOCK}"]
    with pytest.raises(StorageFailed, match="stands in its name"):
        generator.check(s3.url())


def interrupt():
    """Ctrl-C, as the kernel hands it to a process: its main thread wakes from what it waits for."""
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)


def test_an_upload_that_is_interrupted(s3, tmp_path, monkeypatch):
    """It does not go on beside the build that was ended."""
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


def test_parts_of_an_interrupted_upload(s3, tmp_path, monkeypatch):
    """They go with it; those of another model stay."""
    (tmp_path / "large").write_bytes(bytes(101 << 20))
    bucket = Bucket(location(s3.url(), ""))
    s3.client.create_multipart_upload(Bucket=s3.bucket, Key="models/other/1/model.onnx")
    real = bucket.filesystem._call_s3  # noqa: SLF001 (its only way in)

    async def slow(method, *arguments, **options):
        if method == "upload_part":
            interrupt()
            await asyncio.sleep(60)
        return await real(method, *arguments, **options)

    monkeypatch.setattr(bucket.filesystem, "_call_s3", slow)
    with pytest.raises(KeyboardInterrupt):
        bucket.put(tmp_path / "large", "net/1/model.onnx", "")
    left = s3.client.list_multipart_uploads(Bucket=s3.bucket)["Uploads"]
    assert [upload["Key"] for upload in left] == ["models/other/1/model.onnx"]


def test_paths_that_no_triton_reads(s3, networks):
    """Beside a server that is not AWS's: refused before anything is built."""
    for dry_run in (True, False):
        with pytest.raises(BadOption, match=r"^the path \S+/a b: beside http://\S+ Triton takes letters"):
            generator.build(networks[0], output=s3.url("a b"), dry_run=dry_run)
    assert s3.asked("PUT") == []


def test_a_large_graph_goes_up_in_parts(s3, tmp_path):
    """Of 50 MB; it has its mark, and what is read is what was written."""
    content = os.urandom(1 << 20) * 101
    (tmp_path / "large").write_bytes(content)
    bucket = Bucket(location(s3.url(), ""))
    bucket.put(tmp_path / "large", "net/1/model.onnx", "its mark")
    assert bucket.mark("net/1/model.onnx") == "its mark"
    assert s3.get("models/net/1/model.onnx") == content
    assert s3.asked("PUT").count("models/net/1/model.onnx") == 3


def test_a_dry_run(s3, networks):
    """It reads, and writes nothing at all."""
    assert only(generator.build(networks[0], output=s3.url(), dry_run=True)) == ("published", "it is not there")
    assert s3.asked("PUT", "POST", "DELETE") == []


def test_parts_of_uploads_that_never_ended(s3, networks):
    """They cost and nobody sees them: those of the model that is written go, others may still be under way."""
    others = ["elsewhere/model.onnx", "models/one-more/1/model.onnx", "models/two/1/model.onnx"]
    for key in ("models/one/1/model.onnx", *others):
        s3.client.create_multipart_upload(Bucket=s3.bucket, Key=key)
    generator.build(networks[0], output=s3.url())
    left = s3.client.list_multipart_uploads(Bucket=s3.bucket)["Uploads"]
    assert sorted(upload["Key"] for upload in left) == others


LOST = {
    "a body that ends early": aiohttp.ClientPayloadError("Response payload is not completed"),
    "a connection that is closed": ConnectionClosedError(endpoint_url="http://here"),
    "no answer in time": FSTimeoutError(),
}


@pytest.mark.parametrize("method", ["_call_s3", "_put_file", "find", "cat_file", "get_file"])
@pytest.mark.parametrize("case", LOST)
def test_a_line_that_breaks(s3, tmp_path, monkeypatch, case, method):
    """Whatever a client calls it, it is one sentence; clearing up after old uploads is given up without a word."""
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
def test_an_upload_that_fails(s3, networks, tmp_path, monkeypatch, uploads):
    """After any number of objects: one sentence, the lock and the staging are gone, and the next build completes it."""
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
        generator.build(networks[0], **options)
    assert "s3:PutObject" in caught.value.hint
    assert len(s3.contents()) == uploads
    assert of_a_folder(tmp_path / "cache" / "tritongen") == {}
    monkeypatch.setattr(Bucket, "put", put)
    again = "rendered" if uploads == len(NAMES) - 1 else "published"  # all but the config were there
    assert only(generator.build(networks[0], **options))[0] == again
    assert sorted(s3.contents("models/one")) == sorted(NAMES)
    assert only(generator.build(networks[0], **options)) == ("up to date", "")


def test_a_replacement_that_fails_half_way(s3, built, networks, tmp_path, monkeypatch):
    """The graph is the new one and the rest is the old one's: the next build sees it."""
    (tmp_path / "one.onnx").write_bytes(small_onnx(classes=900).SerializeToString())
    put = Bucket.put

    def failing(self, path, name, digest):
        if "1/" not in name:
            with self.reporting("written", name):
                raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
        put(self, path, name, digest)

    monkeypatch.setattr(Bucket, "put", failing)
    with pytest.raises(StorageFailed, match="cannot be written: connection reset by peer"):
        generator.build(networks[0], output=s3.url())
    monkeypatch.setattr(Bucket, "put", put)
    assert built(labels=None)[0] == "published"
    generator.build(networks[0], output=tmp_path / "folder")
    assert s3.contents() == of_a_folder(tmp_path / "folder")
