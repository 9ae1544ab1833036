"""Writing a repository: whole models or none."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT, eventually

from generator.errors import OutputFailed, TritongenError
from generator.repository import folder as repository
from generator.repository.folder import publish, staging, write_model


def files(text):
    """A model's files, all holding the same text."""
    names = ("config.pbtxt", "1/model.onnx", "provenance.json", "configs/t4-fp16.pbtxt")
    return {name: text.encode() for name in names}


def make(target, text):
    """Stage and publish a model named `net`."""
    with staging(target) as folder:
        write_model(folder / "net", files(text))
        publish(folder / "net", target)


def contents(folder):
    """Every file of a folder."""
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_publishing_and_replacing(tmp_path):
    """A model appears, is replaced whole, and nothing else is left, beside the repository or in it."""
    target = tmp_path / "deep" / "repository"
    make(target, "old")
    assert set(contents(target / "net").values()) == {"old"}
    (target / "net" / "stale.txt").write_text("of the old one")
    make(target, "new")
    assert contents(target / "net") == dict.fromkeys(files(""), "new")
    assert [path.name for path in target.iterdir()] == ["net"]
    assert [path.name for path in target.parent.iterdir()] == ["repository"]


def test_where_folders_cannot_be_swapped_in_one_step(tmp_path, monkeypatch):
    """A filesystem without RENAME_EXCHANGE gets the same in two steps."""
    monkeypatch.setattr(repository, "RENAME_EXCHANGE", 1 << 30)  # the kernel answers EINVAL
    target = tmp_path / "repository"
    make(target, "old")
    make(target, "new")
    assert contents(target / "net") == dict.fromkeys(files(""), "new")


def test_a_failed_write_leaves_the_old_model(tmp_path):
    """The disk refuses in the middle: one sentence, the old model whole, nothing staged."""
    target = tmp_path / "repository"
    make(target, "old")
    with pytest.raises(OutputFailed, match=r"^cannot write .+/1/model.onnx/x: file exists$"), staging(target) as folder:
        write_model(folder / "net", {**files("new"), "1/model.onnx/x": b""})
    assert set(contents(target / "net").values()) == {"old"}
    assert [path.name for path in tmp_path.iterdir()] == ["repository"]


BUILD_UNTIL_KILLED = """
import sys, time
from pathlib import Path
from generator.repository.folder import staging, write_model
with staging(Path(sys.argv[1])) as folder:
    write_model(folder / "net", {"1/model.onnx": b"half"})
    print("staged", flush=True)
    time.sleep(60)
"""


def test_a_second_build_is_refused(tmp_path):
    """The second build into a repository ends with an error; the first is not disturbed."""
    target = tmp_path / "repository"
    with staging(target) as folder:
        write_model(folder / "net", files("first"))
        with pytest.raises(TritongenError, match=f"another build writes to {target}"):
            make(target, "second")
        publish(folder / "net", target)
    assert set(contents(target / "net").values()) == {"first"}
    with staging(tmp_path / "other"):  # another repository is another matter
        make(target, "second")
    assert set(contents(target / "net").values()) == {"second"}
    assert [path.name for path in tmp_path.iterdir()] == ["repository"]


def test_what_a_killed_build_staged_is_cleaned_by_the_next(tmp_path):
    """SIGKILL leaves the repository as it was and frees it; the next build removes the rest."""
    target = tmp_path / "repository"
    make(target, "old")
    with subprocess.Popen(
        [sys.executable, "-c", BUILD_UNTIL_KILLED, target], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as build:
        assert build.stdout.readline() == "staged\n"
        with pytest.raises(TritongenError, match="another build writes"):
            make(target, "new")
        build.kill()
    assert eventually(lambda: build.poll() is not None)
    assert (tmp_path / ".repository.staging" / "models" / "net").is_dir()
    assert set(contents(target).values()) == {"old"}
    make(target, "new")
    assert [path.name for path in tmp_path.iterdir()] == ["repository"]


def test_a_place_where_no_folder_can_be_made():
    """The kernel says that its parent is not there, which it is: it is not tried for ever."""
    with pytest.raises(OutputFailed, match=r"^cannot write /proc/nowhere: "), staging(Path("/proc/nowhere")):
        pass


BUILD_AND_BUILD = """
import sys
from pathlib import Path
from generator.errors import TritongenError
from generator.repository.folder import publish, staging, write_model
built = 0
while built < 50:
    try:
        with staging(Path(sys.argv[1])) as folder:
            write_model(folder / "net", {name: sys.argv[2].encode() for name in ("1/model.onnx", "provenance.json")})
            publish(folder / "net", Path(sys.argv[1]))
    except TritongenError as error:
        assert "another build writes" in str(error), error
    else:
        built += 1
"""


def test_many_builds_at_once(tmp_path):
    """Four processes, fifty builds each: every refusal is the lock's, and what is there is of one of them, whole."""
    target = tmp_path / "repository"
    builds = [
        subprocess.Popen([sys.executable, "-c", BUILD_AND_BUILD, target, name], cwd=ROOT, stderr=subprocess.PIPE)
        for name in "abcd"
    ]
    assert [build.communicate()[1] for build in builds] == [b""] * 4
    assert len(set(contents(target / "net").values())) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["repository"]


@pytest.mark.parametrize(
    ("code", "sentence", "hint"),
    [
        (errno.ENOSPC, "no space left on device", "free some space"),
        (errno.EROFS, "read-only file system", "not mounted read-only"),
        (errno.EACCES, "permission denied", "a folder that you may write to"),
    ],
)
def test_the_systems_word_is_passed_on(tmp_path, code, sentence, hint):
    """Each error of the disk has its own hint."""
    with pytest.raises(OutputFailed, match=sentence) as caught, repository.reporting(tmp_path):
        raise OSError(code, os.strerror(code))
    assert hint in caught.value.hint
