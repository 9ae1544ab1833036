"""Incremental builds: which models are built again, which are only rendered, and which are up to date."""

import errno
import json
import os
import shutil

import onnx
import pytest
from helpers import ROOT, only, small_onnx

import tritongen
from generator.builder import build_model, provenance, staleness
from generator.errors import BadValue, OutputFailed, TritongenError
from generator.networks.architectures import DPNShape
from generator.networks.types import Network, Published

TINY = Network(
    "tiny-dpn", "TinyDPN", DPNShape(8, 3, 16, 8, 4, (1, 1, 1, 1), (4, 4, 4, 4)), Published(0.5, 0.9, 0.5, None, 1, 1)
)
GROWN = Network("tiny-dpn", "TinyDPN", DPNShape(8, 3, 16, 8, 4, (1, 1, 1, 1), (8, 4, 4, 4)), TINY.published)


@pytest.fixture(autouse=True)
def _tiny_network(monkeypatch):
    """Replace the built-in networks with one that builds in a second."""
    monkeypatch.setattr("generator.networks.NETWORKS", (TINY,))


@pytest.fixture(name="first_build", scope="module")
def _first_build(tmp_path_factory):
    """A repository with that network, built once."""
    repository = tmp_path_factory.mktemp("first") / "repo"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("generator.networks.NETWORKS", (TINY,))
        assert tritongen.build(output=repository).failed == {}
    return repository


@pytest.fixture(name="repository")
def _repository(tmp_path, first_build):
    """Build a repository with that network."""
    return shutil.copytree(first_build, tmp_path / "repo")


@pytest.fixture(name="no_export")
def _no_export(repository, monkeypatch):  # noqa: ARG001 (built before)
    """Make every export fail, after the network was built."""

    def refuse(*_):
        raise AssertionError("it was exported")

    monkeypatch.setattr(build_model, "prepare", refuse)


def state(folder):
    """Return every file with its content, inode and time."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_ino, path.stat().st_mtime_ns)
        for path in folder.rglob("*") if path.is_file()
    }  # fmt: skip


def contents(folder):
    """Return every file with its content."""
    return {name: content for name, (content, _, _) in state(folder).items()}


@pytest.mark.usefixtures("no_export")
def test_unchanged_model_is_up_to_date(repository):
    """Nothing is written, and the summary has all figures."""
    before = state(repository)
    report = tritongen.build(output=repository)
    assert only(report) == ("up to date", "")
    assert report.built[0].certificate.worst.relative_error < 1e-4
    assert report.built[0].size_bytes == len(before["tiny-dpn/1/model.onnx"][0])
    assert state(repository) == before


def edit(path, content):
    """Replace the content of a file."""
    path.write_bytes(content)


GRAPH = {
    "the weights": ({"seed": 1}, "other weights"),
    "the tolerance": ({"tolerance": 5e-5}, "another --tolerance"),
    "the rewrites": ({"rewrites": ["none"]}, "another --rewrites"),
}


@pytest.mark.parametrize("case", GRAPH)
def test_changed_graph_input_rebuilds(repository, tmp_path, case):
    """The model has the bytes of a first build."""
    options, why = GRAPH[case]
    assert only(tritongen.build(output=repository, **options)) == ("published", why)
    tritongen.build(output=tmp_path / "other", **options)
    assert contents(repository) == contents(tmp_path / "other")
    assert only(tritongen.build(output=repository, **options)) == ("up to date", "")


def test_changed_network_rebuilds(repository, monkeypatch):
    """A different hyper-parameter under the same name rebuilds the model."""
    monkeypatch.setattr("generator.networks.NETWORKS", (GROWN,))
    assert only(tritongen.build(output=repository)) == ("published", "another network")


def test_another_build_method(repository, monkeypatch):
    """A model is built again if this tritongen draws random weights, or makes graphs, in another way."""
    monkeypatch.setattr(staleness, "BUILD_METHOD", 3)
    assert only(tritongen.build(output=repository)) == ("published", "another build method")


class Unreadable:
    """A model on a disk that has gone bad."""

    def digest(self, _name):
        """Raise the error of the system."""
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_unreadable_file():
    """A file that cannot be read counts as changed."""
    assert dict(staleness.damages(Unreadable(), {"1/model.onnx": "a digest"})) == {"1/model.onnx": "cannot be read"}


@pytest.mark.usefixtures("no_export")
def test_linked_version_folder(repository, tmp_path):
    """A link to a folder elsewhere stays and is up to date."""
    (repository / "tiny-dpn" / "1").rename(tmp_path / "elsewhere")
    (repository / "tiny-dpn" / "1").symlink_to(tmp_path / "elsewhere")
    assert only(tritongen.build(output=repository)) == ("up to date", "")
    assert (repository / "tiny-dpn" / "1").is_symlink()


@pytest.mark.parametrize("package", provenance.PACKAGES)
def test_other_package_version_rebuilds(repository, monkeypatch, package):
    """A different version of a package that makes or verifies a graph rebuilds the model."""
    now = provenance.versions()
    monkeypatch.setattr(provenance, "versions", lambda: {**now, package: "0.0.1"})
    assert only(tritongen.build(output=repository)) == ("published", f"another version of {package}")


def flipped(content):
    """Flip one bit in the middle."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


DAMAGED = {
    "a bit": (lambda path: edit(path, flipped(path.read_bytes())), "1/model.onnx was changed"),
    "cut short": (lambda path: edit(path, path.read_bytes()[:-1]), "1/model.onnx was changed"),
    "gone": (lambda path: path.unlink(), "1/model.onnx is not there"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_graph_is_rebuilt(repository, case):
    """The model is published again with the same bytes."""
    damage, why = DAMAGED[case]
    before = contents(repository)
    damage(repository / "tiny-dpn" / "1" / "model.onnx")
    assert only(tritongen.build(output=repository)) == ("published", why)
    assert contents(repository) == before


PROVENANCE = {
    "empty": b"",
    "no object": b"[]",
    "of an older tritongen": b'{"network": {"name": "tiny-dpn"}}',
    "no text": b"\xff",
    "without end": b"[" * 100_000,
    "large": b" " * (1 << 22) + b"{}",
}


@pytest.mark.parametrize("case", PROVENANCE)
def test_invalid_provenance_rebuilds(repository, case):
    """The model is published again with the same bytes."""
    before = contents(repository)
    (repository / "tiny-dpn" / "provenance.json").write_bytes(PROVENANCE[case])
    outcome, why = only(tritongen.build(output=repository))
    assert (outcome, why) == ("published", "its provenance.json is not one that this tritongen writes")
    assert contents(repository) == before


def test_missing_provenance(repository):
    """The config still proves that tritongen made the model; without it the folder is not replaced."""
    before = contents(repository)
    (repository / "tiny-dpn" / "provenance.json").unlink()
    assert only(tritongen.build(output=repository)) == ("published", "its provenance.json is not there")
    assert contents(repository) == before
    (repository / "tiny-dpn" / "provenance.json").unlink()
    (repository / "tiny-dpn" / "config.pbtxt").write_text('name: "tiny-dpn"')
    assert "was not made by tritongen" in str(tritongen.build(output=repository).failed["tiny-dpn"])


def test_edited_provenance_rebuilds(repository):
    """A hand-written figure is replaced."""
    path = repository / "tiny-dpn" / "provenance.json"
    before = path.read_bytes()
    record = json.loads(before)
    record["certificate"]["batches"][0]["max_abs_error"] = 0.0
    path.write_text(json.dumps(record, indent=2) + "\n")
    assert only(tritongen.build(output=repository))[0] == "published"
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["1/../../../secret", "/etc/passwd"])
def test_provenance_cannot_name_files_outside(repository, name):
    """A path outside the model folder is invalid, even with a correct seal."""
    path = repository / "tiny-dpn" / "provenance.json"
    record = json.loads(path.read_text())
    record["blake3"][name] = "0" * 64
    del record[provenance.SEAL]
    path.write_text(json.dumps(record | {provenance.SEAL: provenance.seal(record)}))
    outcome, why = only(tritongen.build(output=repository))
    assert (outcome, why) == ("published", "its provenance.json is not one that this tritongen writes")


TEXTS = {
    "a serving option": ({"max_queue_delay_us": 7}, "config.pbtxt would be another"),
    "the precision": ({"precision": "fp32"}, "config.pbtxt would be another"),
    "a GPU less": (
        {"gpus": ["t4"]},
        "provenance.json would be another; configs/v100-fp16.pbtxt, configs/v100-fp32.pbtxt would go",
    ),
}


@pytest.mark.parametrize("case", TEXTS)
@pytest.mark.usefixtures("no_export")
def test_changed_option_renders_texts(repository, tmp_path, monkeypatch, case):
    """The texts are rendered, nothing is exported, and the graph file is unchanged."""
    options, why = TEXTS[case]
    before = state(repository)
    assert only(tritongen.build(output=repository, **options)) == ("rendered", why)
    after = state(repository)
    assert after["tiny-dpn/1/model.onnx"] == before["tiny-dpn/1/model.onnx"]
    assert only(tritongen.build(output=repository, **options)) == ("up to date", "")
    monkeypatch.undo()
    monkeypatch.setattr("generator.networks.NETWORKS", (TINY,))
    tritongen.build(output=tmp_path / "other", **options)
    assert contents(repository) == contents(tmp_path / "other")


EDITED = {
    "a config": (lambda model: edit(model / "config.pbtxt", b"# mine\n"), "config.pbtxt would be another"),
    "a config that is gone": (
        lambda model: (model / "configs/t4-fp16.pbtxt").unlink(),
        "configs/t4-fp16.pbtxt is not there",
    ),
    "the labels": (lambda model: edit(model / "labels.txt", b"cat\n"), "labels.txt would be another"),
    "a file more": (lambda model: edit(model / "configs" / "h100.pbtxt", b""), "configs/h100.pbtxt would go"),
}


@pytest.mark.parametrize("case", EDITED)
@pytest.mark.usefixtures("no_export")
def test_edited_text_is_restored(repository, case):
    """The text is rendered again."""
    change, why = EDITED[case]
    before = contents(repository)
    change(repository / "tiny-dpn")
    outcome, reason = only(tritongen.build(output=repository))
    assert outcome == "rendered"
    assert reason.startswith(why)
    assert contents(repository) == before


@pytest.mark.usefixtures("no_export")
def test_user_template(repository, tmp_path):
    """A changed template renders the texts again; an unchanged one does not."""
    (tmp_path / "own").mkdir()
    text = (ROOT / "templates" / "config.pbtxt.j2").read_text()
    (tmp_path / "own" / "config.pbtxt.j2").write_text("# mine\n" + text)
    assert only(tritongen.build(output=repository, template_dir=tmp_path / "own"))[0] == "rendered"
    assert (repository / "tiny-dpn" / "config.pbtxt").read_text().startswith("# mine")
    assert only(tritongen.build(output=repository, template_dir=tmp_path / "own")) == ("up to date", "")
    (tmp_path / "own" / "config.pbtxt.j2").write_text("# yours\n" + text)
    assert only(tritongen.build(output=repository, template_dir=tmp_path / "own"))[0] == "rendered"


def test_force(repository):
    """A forced build publishes the same bytes."""
    before = contents(repository)
    assert only(tritongen.build(output=repository, force=True)) == ("published", "a rebuild was forced")
    assert contents(repository) == before


@pytest.mark.usefixtures("no_export")
def test_dry_run(repository, tmp_path):
    """The actions are reported and nothing is written."""
    before = state(repository)
    for options, needed in (({}, ("up to date", "")), ({"seed": 3}, ("published", "other weights")),
                            ({"precision": "fp32"}, ("rendered", "config.pbtxt would be another"))):  # fmt: skip
        report = tritongen.build(output=repository, dry_run=True, **options)
        todo = report.needed["tiny-dpn"]
        assert (todo.outcome, todo.why) == needed
        assert report.built == ()
    assert state(repository) == before
    assert tritongen.build(output=tmp_path / "new", dry_run=True).needed["tiny-dpn"].why == "it is not there"
    assert [path.name for path in tmp_path.iterdir()] == ["repo"]


def test_changed_onnx_file_rebuilds(tmp_path):
    """The digests of the file and its external data define the network."""
    model = small_onnx(classes=10)
    path = tmp_path / "net.onnx"
    onnx.save(model, path, save_as_external_data=True, location="net.data", size_threshold=0)
    network = tritongen.onnx_network(path, "net", ())

    def build():
        return only(tritongen.build(network, output=tmp_path / "repo"))

    assert build() == ("published", "it is not there")
    assert build() == ("up to date", "")
    data = tmp_path / "net.data"
    values = bytearray(data.read_bytes())
    values[: len(values)] = b"\0" * len(values)
    data.write_bytes(values)
    assert build() == ("published", "another network")
    os.utime(data)
    assert build() == ("up to date", "")
    onnx.save(small_onnx(classes=5), path)
    assert build() == ("published", "another network")


def test_torch_function_always_rebuilds(tmp_path, monkeypatch):
    """The result of a function is unknown before the call."""
    (tmp_path / "ours.py").write_text(
        "import torch\ndef net():\n    torch.manual_seed(0)\n    return torch.nn.Linear(4, 2)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    network = tritongen.torch_network("ours:net", "net", ("4",))
    tritongen.build(network, output=tmp_path / "repo")
    why = "what its function returns is not known before it is called"
    assert only(tritongen.build(network, output=tmp_path / "repo")) == ("published", why)


THEIRS = [
    {},
    {"precious": b"mine"},
    {
        "provenance.json": b'{"team": "vision"}',
        "config.pbtxt": b'name: "tiny-dpn"',
        "1/model.onnx": b"trained for weeks",
    },
]


@pytest.mark.parametrize("theirs", THEIRS, ids=["empty", "a file", "of our names"])
def test_foreign_folder_is_kept(tmp_path, theirs):
    """A folder that tritongen did not make is not replaced, whatever files it has."""
    (tmp_path / "repo" / "tiny-dpn" / "1").mkdir(parents=True)
    for name, content in theirs.items():
        (tmp_path / "repo" / "tiny-dpn" / name).write_bytes(content)
    for options in ({"dry_run": True}, {}, {"force": True}):
        report = tritongen.build(output=tmp_path / "repo", **options)
        assert isinstance(report.failed["tiny-dpn"], TritongenError)
        assert "was not made by tritongen" in str(report.failed["tiny-dpn"])
        assert report.needed == {}
    assert contents(tmp_path / "repo" / "tiny-dpn") == theirs


def test_foreign_folder_created_during_build_is_kept(tmp_path, monkeypatch):
    """A folder that appears during the build is not replaced."""
    verify = build_model.verify

    def slow(*arguments, **options):
        (tmp_path / "repo" / "tiny-dpn").mkdir(parents=True)
        (tmp_path / "repo" / "tiny-dpn" / "precious").write_bytes(b"mine")
        return verify(*arguments, **options)

    monkeypatch.setattr(build_model, "verify", slow)
    report = tritongen.build(output=tmp_path / "repo", jobs=1)
    assert "was not made by tritongen" in str(report.failed["tiny-dpn"])
    assert contents(tmp_path / "repo") == {"tiny-dpn/precious": b"mine"}


def test_invalid_repository_path(tmp_path):
    """A dry run raises the same error."""
    (tmp_path / "file").touch()
    for dry_run in (True, False):
        with pytest.raises(OutputFailed, match=r"^cannot write \S+/file: file exists$"):
            tritongen.build(output=tmp_path / "file", dry_run=dry_run)
    with pytest.raises(BadValue, match=r"^output='': empty$"):
        tritongen.build(output="")
