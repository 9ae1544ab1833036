"""Objects of other programs in a repository in S3 are left as they are."""

import pytest
from helpers import only
from s3_server import LOCK

import tritongen
from generator.builder import build_model
from generator.errors import StorageFailed


def test_a_model_of_another_owner(s3, networks):
    """A foreign model is not replaced, and the other network is built."""
    s3.put("models/one/config.pbtxt", b"by hand")
    report = tritongen.build(networks, output=s3.url(), jobs=1)
    assert str(report.failed["one"]) == f"{s3.url('models/one')} was not made by tritongen and would be replaced"
    assert [model.network.name for model in report.built] == ["two"]
    assert s3.contents("models/one") == {"config.pbtxt": b"by hand"}


THEIRS = {
    "provenance.json": b'{"team": "vision"}',
    "config.pbtxt": b'name: "one"',
    "1/model.onnx": b"trained for weeks",
}


@pytest.mark.parametrize("dry_run", [True, False])
def test_file_names_do_not_make_an_owner(s3, networks, dry_run):
    """A model with our file names but other contents is not replaced."""
    for name, content in THEIRS.items():
        s3.put(f"models/one/{name}", content)
    report = tritongen.build(networks[0], output=s3.url(), dry_run=dry_run)
    assert str(report.failed["one"]) == f"{s3.url('models/one')} was not made by tritongen and would be replaced"
    assert s3.contents("models/one") == THEIRS


def test_an_object_in_the_place_of_a_model(s3, networks):
    """An object with the model's name is refused: no folder can have that key."""
    s3.put("models/one", b"notes")
    report = tritongen.build(networks[0], output=s3.url())
    assert str(report.failed["one"]) == f"{s3.url('models/one')} was not made by tritongen and would be replaced"
    assert s3.contents() == {"one": b"notes"}


def test_a_model_that_appears_during_the_build(s3, networks, monkeypatch):
    """A model that another program writes between the listing and the upload is not replaced."""
    prepared = build_model.verify

    def slow(*arguments, **options):
        s3.put("models/one/config.pbtxt", b"by hand")
        return prepared(*arguments, **options)

    monkeypatch.setattr(build_model, "verify", slow)
    report = tritongen.build(networks[0], output=s3.url())
    assert "was not made by tritongen" in str(report.failed["one"])
    assert s3.contents("models/one") == {"config.pbtxt": b"by hand"}


def test_folder_objects(s3, networks):
    """Objects whose keys end with a slash are not files of a model."""
    s3.put("models/")
    s3.put("models/one/")
    s3.put("models/one/1/")
    assert only(tritongen.build(networks[0], output=s3.url())) == ("published", "it is not there")
    assert only(tritongen.build(networks[0], output=s3.url())) == ("up to date", "")
    assert "one/1/" in s3.contents()


def test_a_key_with_a_query(s3, built):
    """s3fs cuts `?versionId=` off a key, and would remove another object."""
    s3.put("models/one/1/model.onnx?versionId=x", b"")
    with pytest.raises(StorageFailed, match=r"\?versionId=x cannot be asked for: \?versionId= stands in its name"):
        built()
    assert s3.requested("DELETE") == [f"models/{LOCK}"]
    with pytest.raises(StorageFailed, match="stands in its name"):
        tritongen.check(s3.url())
