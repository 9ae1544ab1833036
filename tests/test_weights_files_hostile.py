"""Broken safetensors files, incomplete downloads, other files, and paths that are not files."""

import contextlib
import json
import os

import numpy as np
import pytest
from hand_pickles import in_zip
from hostile_weights import assert_says, events, refused, watched
from weights_samples import (
    TINY_DENSENET,
    as_paddle,
    state_dict,
    write,
)

from generator.errors import WeightsUnusable
from generator.weights.load import load

pytestmark = pytest.mark.usefixtures("warm_weights")


def safetensors_file(header, data=b""):
    """Join a header and data."""
    text_ = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text_).to_bytes(8, "little") + text_ + data


def entry(start, end, shape=(4,), dtype="F32"):
    """Describe a tensor in a safetensors header."""
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


SAFETENSORS = {
    "a header longer than the file": ((500).to_bytes(8, "little") + b"{}", "its header claims 500 bytes, and the file has 10"),
    "a header of gigabytes": ((1 << 31).to_bytes(8, "little") + b"{}", "its header claims 2147483648 bytes"),
    "overlapping tensors": (safetensors_file({"a": entry(0, 16), "b": entry(8, 24)}, bytes(24)), "it is damaged: .*nvalid"),
    "tensors out of the file": (safetensors_file({"a": entry(0, 1 << 40, (1 << 38,))}, bytes(16)), "it is damaged: "),
    "a shape of another size": (safetensors_file({"a": entry(0, 16, (1 << 40, 1 << 40))}, bytes(16)), "it is damaged: "),
    "a key twice": (b"", "it is damaged: "),
    "no JSON": (safetensors_file(b"{not json}"), "it is damaged: .*header"),
    "JSON without end": (safetensors_file(b'{"a":' * 10_000), "it is damaged: "),
    "JSON that is not UTF-8": (safetensors_file(b'{"\xff": 1}'), "it is damaged: "),
    "another type": (safetensors_file({"a": entry(0, 16, dtype="CODE")}, bytes(16)), "it is damaged: "),
    "numbers in 8 bits": (safetensors_file({"a": entry(0, 4, dtype="F8_E4M3")}, bytes(4)), "its 'a' holds float8_e4m3fn values"),
    "complex numbers": (safetensors_file({"a": entry(0, 8, (1,), dtype="C64")}, bytes(8)), "its 'a' holds complex64 values"),
    "nothing": (safetensors_file({}), "it holds no tensors"),
    "escapes in a key": (safetensors_file({"\x1b[2J": entry(0, 16)}, bytes(16)), r"'\\x1b\[2J'"),
}  # fmt: skip
TWICE = json.dumps({"a": entry(0, 16)})[:-1] + ', "a": ' + json.dumps(entry(16, 32)) + "}"
SAFETENSORS["a key twice"] = (safetensors_file(TWICE.encode(), bytes(32)), "it is damaged: ")


@pytest.mark.parametrize(("content", "sentence"), SAFETENSORS.values(), ids=SAFETENSORS)
def test_broken_safetensors_file_is_refused(content, sentence, tmp_path):
    """The library refuses the file, or this program does."""
    (tmp_path / "model.safetensors").write_bytes(content)
    assert_says(refused(tmp_path / "model.safetensors")[0], sentence)


@pytest.mark.parametrize(
    ("container", "sentence"),
    [
        ("torch zip", "its zip has no end, so the file is incomplete"),
        (
            "torch legacy",
            "its storages do not have the length that its pickle declares, so it is incomplete or changed",
        ),
        ("safetensors", "it is damaged: "),
        ("Paddle pickle 2", "its pickle is damaged or incomplete"),
        ("Paddle pickle 4", "its pickle is damaged or incomplete"),
    ],
)
@pytest.mark.parametrize("part", [0.02, 0.5, 0.999])
def test_incomplete_download_is_refused(container, sentence, part, tmp_path):
    """The file ends near the beginning, in the middle or just before the end."""
    state = state_dict(TINY_DENSENET)
    path = write(tmp_path / "weights", as_paddle(TINY_DENSENET, state) if container[0] == "P" else state, container)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    found, _ = refused(path)
    early = container in {"torch legacy", "safetensors"} and part < 0.1
    assert_says(found, "incomplete|its header claims" if early else sentence)


OTHER_FILES = {
    "empty": (b"", "it is empty"),
    "one byte": (b"\x80", "its pickle is damaged or incomplete"),
    "text": (b"densenet121\n", "its format is not torch's, safetensors' or Paddle's"),
    "a page": (b"<!DOCTYPE html><html>404", "it is a web page, probably of a failed download"),
    "XML": (b"\n <?xml version='1.0'?><Error/>", "it is a web page, probably of a failed download"),
    "git-lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "it is a git-lfs pointer"),
    "zip of other things": (in_zip(b"x", (), name="photo.jpg"), "it is a zip that torch.save did not write"),
    "end of a zip": (b"PK\x03\x04" + b"PK\x05\x06" + bytes(18), "it is a zip that torch.save did not write"),
    "zeros": (bytes(1000), "its format is not torch's"),
    "noise": (np.random.default_rng(0).bytes(1000), "its format is not torch's"),
    "ONNX": (b"\x08\x08\x12\x07pytorch", "its format is not torch's"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(100), "its format is not torch's"),
}


@pytest.mark.parametrize(("content", "sentence"), OTHER_FILES.values(), ids=OTHER_FILES)
def test_other_file_is_refused(content, sentence, tmp_path):
    """The message says what the file is, if that helps."""
    (tmp_path / "weights.pth").write_bytes(content)
    assert_says(refused(tmp_path / "weights.pth")[0], sentence)


def test_path_that_is_not_a_file_is_refused(tmp_path):
    """A folder, a pipe, a missing path, a link loop and a file of gigabytes are refused."""
    os.mkfifo(tmp_path / "pipe")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(3 << 30)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert refused(tmp_path)[0] == "it is a folder"
    assert refused(tmp_path / "pipe")[0] == "it is a device or a pipe, not a file"
    assert refused(tmp_path / "missing")[0] == "no such file or directory"
    assert refused(tmp_path / "loop")[0] == "too many levels of symbolic links"
    assert refused(tmp_path / "large")[0] == "it has 3.2 GB; the largest network needs 0.4 GB"


def test_file_name_is_escaped(tmp_path):
    """A file name can have escape sequences, since archives contain names."""
    path = tmp_path / "dpn92\x1b[2J.pth"
    path.write_bytes(b"x")
    with pytest.raises(WeightsUnusable, match=r"dpn92\\x1b\[2J\.pth") as caught:
        load(TINY_DENSENET, path)
    assert str(caught.value).isprintable()


def test_changed_bytes_are_refused_or_harmless(tmp_path):
    """With any byte of its head changed, a file loads or is refused, without a traceback."""
    generator = np.random.default_rng(0)
    state = state_dict(TINY_DENSENET)
    for container in (
        "torch zip",
        "torch legacy",
        "safetensors",
        "Paddle pickle 2",
        "Paddle pickle 4",
        "Paddle pickle 5",
    ):
        path = write(tmp_path / "weights", as_paddle(TINY_DENSENET, state) if container[0] == "P" else state, container)
        content = path.read_bytes()
        for _ in range(25):
            broken = bytearray(content)
            broken[generator.integers(min(len(broken), 3000))] = generator.integers(256)
            path.write_bytes(broken)
            with watched(), contextlib.suppress(WeightsUnusable):
                load(TINY_DENSENET, path)
            assert events == []
