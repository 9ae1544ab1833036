"""Repositories in S3, written over real HTTP: the same bytes as in a folder, in an order that a server can bear."""

import fcntl
import os

import pytest
from helpers import contents, only
from s3_server import LOCK

import tritongen
from generator.errors import BadValue
from generator.repository.s3 import bucket as bucket_module
from generator.repository.s3.bucket import Bucket
from generator.repository.s3.url import location
from generator.system.files import digest_of

NAMES = ("1/model.onnx", "config.pbtxt", "configs/t4-fp16.pbtxt", "configs/t4-fp32.pbtxt", "configs/v100-fp16.pbtxt",
         "configs/v100-fp32.pbtxt", "labels.txt", "provenance.json")  # fmt: skip


def test_the_bytes_of_a_folder(s3, networks, tmp_path):
    """What is there is what a folder would hold; nothing is left of the lock, nor in the cache."""
    report = tritongen.build(networks, output=s3.url("deep/er/models"), jobs=1)
    tritongen.build(networks, output=tmp_path / "folder", jobs=1)
    assert s3.contents("deep/er/models") == contents(tmp_path / "folder")
    assert [str(model.folder) for model in report.built] == [
        s3.url(f"deep/er/models/{name}") for name in ("one", "two")
    ]
    assert report.built[0].size_bytes == len(s3.get("deep/er/models/one/1/model.onnx"))
    assert contents(tmp_path / "cache" / "tritongen") == {}


def test_a_bucket_as_a_whole(s3, networks):
    """Without a prefix."""
    tritongen.build(networks[0], output=f"s3://{s3.bucket}")
    assert "one/config.pbtxt" in [entry["Key"] for entry in s3.client.list_objects_v2(Bucket=s3.bucket)["Contents"]]


def test_the_graph_first_and_the_config_last(s3, networks, tmp_path):
    """A server that reads a config finds all that it names; what is stale goes after that."""
    for name in ("1/old.data", "2/model.onnx", "provenance.json"):
        s3.put(f"models/one/{name}", b'{"blake3_of_the_rest": "of another build"}')
    s3.requests.clear()
    tritongen.build(networks[0], output=s3.url(), labels=tmp_path / "labels.txt")
    written = [path.removeprefix("models/one/") for path in s3.written()]
    assert written[0] == "1/model.onnx"
    assert written[len(NAMES) - 2 : len(NAMES)] == ["provenance.json", "config.pbtxt"]
    assert sorted(written[: len(NAMES)]) == sorted(NAMES)
    assert sorted(written[len(NAMES) :]) == ["1/old.data", "2/model.onnx"]
    assert sorted(s3.contents("models/one")) == sorted(NAMES)


def test_data_of_a_graph_before_the_graph():
    """A graph names its data."""
    from generator.repository.s3.destination import upload_order

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


def test_staging_that_killed_builds_left(s3, networks, tmp_path):
    """Wherever they wrote to; of one that lives it stays."""
    places = tmp_path / "cache" / "tritongen" / "staging"
    for name in ("killed", "living"):
        (places / name / "models" / "net").mkdir(parents=True)
        (places / name / "lock").touch()
    with (places / "living" / "lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        tritongen.build(networks[0], output=s3.url())
        assert [path.name for path in places.iterdir()] == ["living"]
        assert (places / "living" / "models" / "net").is_dir()


def test_paths_that_no_triton_reads(s3, networks):
    """Beside a server that is not AWS's: refused before anything is built."""
    for dry_run in (True, False):
        with pytest.raises(BadValue, match=r"^prefix=\S+/a b: at http://\S+ Triton accepts only letters"):
            tritongen.build(networks[0], output=s3.url("a b"), dry_run=dry_run)
    assert s3.asked("PUT") == []


def test_a_dry_run(s3, networks):
    """It reads, and writes nothing at all."""
    assert only(tritongen.build(networks[0], output=s3.url(), dry_run=True)) == ("published", "it is not there")
    assert s3.asked("PUT", "POST", "DELETE") == []
