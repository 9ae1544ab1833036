"""Labels of one's own."""

import pytest

from generator.errors import LabelsUnusable
from generator.labels import IMAGENET, read_labels


@pytest.mark.parametrize("content", [b"cat\ndog\n", b"cat\r\ndog", b"\xef\xbb\xbfcat\n  dog \n\n"])
def test_one_class_a_line(tmp_path, content):
    """As editors save them."""
    (tmp_path / "labels.txt").write_bytes(content)
    assert read_labels(tmp_path / "labels.txt", 2) == b"cat\ndog\n"


@pytest.mark.parametrize(
    ("content", "classes", "why"),
    [
        (b"cat\ndog\n", 3, "it has 2 labels, and the output has 3 classes"),
        (b"cat\ndog\n", None, "the network has no single output with a float for each class"),
        (b"cat\n\ndog\n", 3, "line 2 is empty or not printable"),
        (b"cat\n\x1b[31mdog\n", 2, "line 2 is empty or not printable"),
        (b"\xff\xfe\x00", 1, "it is not UTF-8 text"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, content, classes, why):
    """Each in its own sentence."""
    (tmp_path / "labels.txt").write_bytes(content)
    with pytest.raises(LabelsUnusable, match=rf"labels\.txt cannot be used as labels: {why}"):
        read_labels(tmp_path / "labels.txt", classes)


def test_no_file(tmp_path):
    """Missing, or a folder."""
    with pytest.raises(LabelsUnusable, match="there is no such file"):
        read_labels(tmp_path / "labels.txt", 2)
    with pytest.raises(LabelsUnusable, match="is a directory"):
        read_labels(tmp_path, 2)


def test_imagenets_are_unchanged():
    """What the ten are published with is the file itself."""
    assert read_labels(IMAGENET, 1000) == IMAGENET.read_bytes()
