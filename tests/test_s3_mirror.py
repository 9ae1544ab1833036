"""`check` of a repository in S3: the findings of a folder, without fetching weights."""

import errno
import os

import numpy as np
import pytest
from helpers import SMALL_CONFIG, onnx_model, small_onnx, write_model
from verdict_cases import CASES, lay_out

from generator.errors import OutputFailed, RepositoryNotFound, StorageFailed
from generator.repository.s3 import bucket as bucket_module
from generator.repository.s3.mirror import mirrored
from generator.repository.s3.url import location
from tritongen import check


def test_check_finds_the_same_as_in_a_folder(s3, tmp_path):
    """For 107 recorded models the findings are equal, with URLs in place of paths."""
    for case in CASES.values():
        lay_out(case, tmp_path / "models")
    for folder in (path for path in (tmp_path / "models").rglob("*") if path.is_dir() and not any(path.iterdir())):
        (folder / ".keep").touch()  # there are no empty folders in S3
    s3.upload(tmp_path / "models")
    ours = check(tmp_path / "models")
    theirs = check(s3.url())
    assert len(ours) > 70
    assert [repr(found).replace(s3.url(), str(tmp_path / "models")) for found in theirs] == list(map(repr, ours))


WEIGHTS = np.random.default_rng(0).standard_normal((3, 700_000)).astype(np.float32)  # 8.4 MB


def heavy(**options):
    """[N,3] by a large matrix; the nodes stand behind the weights in the file."""
    return onnx_model(
        [("MatMul", ["input", "w"], ["output"])], {"input": ["fp32", "N", 3]}, {"output": ["fp32", "N", 700_000]}, {"w": WEIGHTS}, **options
    )  # fmt: skip


CONFIG = SMALL_CONFIG.replace("3, 224, 224", "3").replace("1000", "700000")


@pytest.fixture(name="fetched")
def _fetched(monkeypatch):
    """How many bytes were fetched, by the names of objects."""
    seen = {}
    read = bucket_module.Bucket.read

    def counted(self, name, start=0, end=None):
        content = read(self, name, start, end)
        seen[name] = seen.get(name, 0) + len(content)
        return content

    monkeypatch.setattr(bucket_module.Bucket, "read", counted)
    return seen


def test_weights_are_not_fetched(s3, tmp_path, fetched):
    """`check` fetches the structure of a graph, not its 8.4 MB of weights, and finds a defect behind them."""
    write_model(tmp_path / "models", "net", CONFIG, heavy())
    write_model(tmp_path / "models", "old", CONFIG, heavy(opset=99))
    s3.upload(tmp_path / "models")
    found = check(s3.url())
    assert [(f.model, f.rule) for f in found if f.level == "error"] == [("old", "header-of")]
    assert {name for name in fetched if fetched[name] > 600_000} == set()
    assert set(fetched) == {"net/1/model.onnx", "old/1/model.onnx"}


@pytest.mark.parametrize("size", [1000, 2 << 20, 17 << 20])
def test_other_objects(s3, tmp_path, size):
    """Labels are fetched whole; an object larger than any label file is not fetched."""
    write_model(tmp_path / "models", "net")
    (tmp_path / "models" / "net" / "film.mp4").write_bytes(b"x" * size)
    s3.upload(tmp_path / "models")
    with mirrored(location(s3.url(), ""), "headers") as folder:
        content = (folder / "net" / "film.mp4").read_bytes()
    assert content == (b"x" if size < 1 << 24 else b"\0") * size


def test_full_disk(s3, tmp_path, monkeypatch):
    """The error names the file that cannot be written, not S3."""
    write_model(tmp_path / "models", "net", CONFIG, heavy())
    s3.upload(tmp_path / "models")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("generator.repository.s3.mirror.os.pwrite", full)
    with pytest.raises(OutputFailed, match=r"^cannot write \S+/net/1/model.onnx: no space left on device$"):
        check(s3.url())


def test_run_fetches_the_weights(s3, tmp_path):
    """`--run` needs the weights and fetches them."""
    write_model(tmp_path / "models", "net", CONFIG, heavy())
    s3.upload(tmp_path / "models")
    assert check(s3.url(), run=True) == ()
    with mirrored(location(s3.url(), ""), "everything") as folder:
        assert (folder / "net/1/model.onnx").read_bytes() == heavy().SerializeToString()


def test_the_copy_is_removed(s3, tmp_path):
    """The copy is removed afterwards, and its files are sparse."""
    write_model(tmp_path / "models", "net", CONFIG, heavy())
    s3.upload(tmp_path / "models")
    with mirrored(location(s3.url(), ""), "configs") as folder:
        model = folder / "net/1/model.onnx"
        assert model.stat().st_size > 8_000_000
        assert model.stat().st_blocks == 0
        assert (folder / "net/config.pbtxt").read_text() == CONFIG
    assert not folder.parent.exists()


@pytest.mark.parametrize(
    "key", ["../net/config.pbtxt", "net/../../x", "net//1/model.onnx", "net/./x", "/etc/passwd", "net/" + "x" * 300]
)
def test_keys_that_are_not_paths(s3, tmp_path, key):
    """Keys that would leave the folder are reported, and not written."""
    write_model(tmp_path / "models", "net")
    s3.upload(tmp_path / "models")
    s3.put(f"models/{key}", b"evil")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(StorageFailed, match="cannot be looked into: its name is no path of files"):
        check(s3.url())
    assert sorted(tmp_path.iterdir()) == before


def test_an_object_that_is_also_a_folder(s3):
    """A key that is the prefix of others cannot be a file: the error names the object to remove."""
    s3.put("models/net", b"")
    s3.put("models/net/1/model.onnx", b"")
    with pytest.raises(StorageFailed, match=f"^{s3.url()}/net cannot be a file: other objects are below it$"):
        check(s3.url())


def test_control_characters_in_names(s3):
    """Control characters in names are printed escaped."""
    for keys in (["models/a/../\x1b[31m"], ["models/\x1b[31m", "models/\x1b[31m/x"]):
        for key in keys:
            s3.put(key, b"")
        with pytest.raises(StorageFailed) as caught:
            check(s3.url())
        assert str(caught.value).isprintable()
        s3.remove(keys[0])


def test_folder_objects(s3, tmp_path):
    """An object whose key ends with a slash is an empty folder."""
    write_model(tmp_path / "models", "net", model=small_onnx())
    s3.upload(tmp_path / "models")
    s3.put("models/")
    s3.put("models/drawn/")
    assert [found.model for found in check(s3.url()) if found.level == "error"] == ["drawn"]


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ([], "nothing is there"),
        (["models/"], "nothing is there"),
        (["models/readme.txt"], "it holds no models"),
        (["models/config.pbtxt", "models/1/model.onnx"], "it is a model's folder"),
        (["modelsmore/net/config.pbtxt"], "nothing is there"),
    ],
)
def test_not_a_repository(s3, keys, why):
    """The error names the URL."""
    for key in keys:
        s3.put(key, b"")
    with pytest.raises(RepositoryNotFound, match=f"^{s3.url()} is not a model repository: {why}"):
        check(s3.url())
