"""Building into S3 over real HTTP: the bytes of a folder, in an order that is safe for a running server."""

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


def test_the_bytes_are_those_of_a_folder(s3, networks, tmp_path):
    """The objects equal the files of a build in a folder; no lock and no staging folder is left."""
    report = tritongen.build(networks, output=s3.url("deep/er/models"), jobs=1)
    tritongen.build(networks, output=tmp_path / "folder", jobs=1)
    assert s3.contents("deep/er/models") == contents(tmp_path / "folder")
    assert [str(model.folder) for model in report.built] == [
        s3.url(f"deep/er/models/{name}") for name in ("one", "two")
    ]
    assert report.built[0].size_bytes == len(s3.get("deep/er/models/one/1/model.onnx"))
    assert contents(tmp_path / "cache" / "tritongen") == {}


def test_a_bucket_without_a_prefix(s3, networks):
    """The repository may be a whole bucket."""
    tritongen.build(networks[0], output=f"s3://{s3.bucket}")
    assert "one/config.pbtxt" in [entry["Key"] for entry in s3.client.list_objects_v2(Bucket=s3.bucket)["Contents"]]


def test_the_graph_first_and_the_config_last(s3, networks, tmp_path):
    """A config is written after the files that it names, and stale objects are removed last."""
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


def test_external_data_before_the_graph():
    """External data are written before the graph that names them."""
    from generator.repository.s3.destination import upload_order

    names = ["config.pbtxt", "provenance.json", "configs/t4-fp16.pbtxt", "labels.txt", "1/model.onnx", "1/w/part.bin"]
    assert sorted(names, key=upload_order) == [
        "1/w/part.bin", "1/model.onnx", "labels.txt", "configs/t4-fp16.pbtxt", "provenance.json", "config.pbtxt",
    ]  # fmt: skip


def test_no_change_writes_the_lock_only(s3, built):
    """A second build of the same model writes nothing but the lock."""
    before = s3.contents()
    assert built() == ("up to date", "")
    assert s3.written() == []
    assert s3.requested("PUT", "DELETE") == [f"models/{LOCK}"] * 2
    assert s3.contents() == before


def test_only_changed_objects_are_written(s3, built):
    """Another serving option changes some texts; the graph and equal texts are not written."""
    assert built(max_batch_size=4, preferred_batch_sizes=[4], profile=[1, 4, 4]) == ("rendered", "config.pbtxt would be another")  # fmt: skip
    assert sorted(s3.written()) == sorted(
        f"models/one/{name}" for name in NAMES if name.startswith("config") or name == "provenance.json"
    )


def test_a_variant_that_is_no_longer_wanted(s3, built):
    """The variant's objects are removed after the others are written."""
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
def test_changed_objects_are_restored(s3, built, case):
    """An object that was changed or removed is reported and written again."""
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
    """Objects over a kilobyte count as large."""
    monkeypatch.setattr(bucket_module, "READ_WHOLE_BYTES", 1000)


@pytest.mark.usefixtures("large")
def test_a_large_object_is_known_by_its_digest(s3, built):
    """The stored digest of a large object is trusted; an object without one is read."""
    graph = "models/one/1/model.onnx"
    assert built() == ("up to date", "")
    assert s3.requested("GET").count(graph) == 0
    s3.put(graph, s3.get(graph))
    s3.requests.clear()
    assert built() == ("up to date", "")
    assert s3.requested("GET").count(graph) == 1
    s3.put(graph, b"\0" * 5000)
    assert built() == ("published", "1/model.onnx was changed")


def test_texts_are_always_read(s3, built):
    """Texts are read whatever their digest says: tools that mount a bucket keep it when they edit an object."""
    config = s3.client.get_object(Bucket=s3.bucket, Key="models/one/config.pbtxt")
    s3.put("models/one/config.pbtxt", config["Body"].read()[:-1] + b"#", Metadata=config["Metadata"])
    assert built() == ("rendered", "config.pbtxt would be another")


@pytest.mark.usefixtures("large")
def test_a_large_object_is_read_in_pieces(s3, monkeypatch):
    """The digest of the pieces is the digest of the object."""
    monkeypatch.setattr(bucket_module, "PIECE_BYTES", 4096)
    content = os.urandom(10_000)
    s3.put("models/net/1/model.onnx", content)
    assert Bucket(location(s3.url(), "")).digest("net/1/model.onnx", len(content)) == digest_of(content)
    assert s3.requested("GET").count("models/net/1/model.onnx") == 3


def test_staging_of_killed_builds_is_removed(s3, networks, tmp_path):
    """Staging folders of killed builds are removed, of running builds not."""
    places = tmp_path / "cache" / "tritongen" / "staging"
    for name in ("killed", "living"):
        (places / name / "models" / "net").mkdir(parents=True)
        (places / name / "lock").touch()
    with (places / "living" / "lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        tritongen.build(networks[0], output=s3.url())
        assert [path.name for path in places.iterdir()] == ["living"]
        assert (places / "living" / "models" / "net").is_dir()


def test_paths_that_triton_cannot_read(s3, networks):
    """With a server other than AWS's such a path is refused before anything is built."""
    for dry_run in (True, False):
        with pytest.raises(BadValue, match=r"^prefix=\S+/a b: at http://\S+ Triton accepts only letters"):
            tritongen.build(networks[0], output=s3.url("a b"), dry_run=dry_run)
    assert s3.requested("PUT") == []


def test_dry_run_writes_nothing(s3, networks):
    """A dry run reads, and writes nothing."""
    assert only(tritongen.build(networks[0], output=s3.url(), dry_run=True)) == ("published", "it is not there")
    assert s3.requested("PUT", "POST", "DELETE") == []
