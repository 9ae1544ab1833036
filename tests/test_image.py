"""From an image file to the input tensor."""

import numpy as np
import pytest
from PIL import Image

from generator.errors import ImageUnreadable
from generator.imagenet import images
from generator.types import Preprocessing


def test_a_grey_picture_has_the_values_of_the_formula():
    """(value / 255 - mean) / std, in each channel, [3,224,224] fp32."""
    tensor = images.tensor(Image.new("RGB", (640, 480), (128, 64, 255)), Preprocessing())
    assert tensor.shape == (3, 224, 224)
    assert tensor.dtype == np.float32
    expected = [(128 / 255 - 0.485) / 0.229, (64 / 255 - 0.456) / 0.224, (255 / 255 - 0.406) / 0.225]
    for channel, value in enumerate(expected):
        np.testing.assert_allclose(tensor[channel], value, rtol=1e-5)


def test_the_centre_is_cropped_after_resizing():
    """A white square in the middle of a wide picture ends in the middle of the tensor."""
    picture = Image.new("RGB", (1024, 512))
    picture.paste((255, 255, 255), (512 - 100, 256 - 100, 512 + 100, 256 + 100))
    bright = images.tensor(picture, Preprocessing())[0] > 0
    rows, columns = np.flatnonzero(bright.any(axis=1)), np.flatnonzero(bright.any(axis=0))
    assert (rows[0], rows[-1]) == (62, 161)  # 224 / 2 ± 50
    assert (columns[0], columns[-1]) == (62, 161)


@pytest.mark.parametrize("size", [(1, 1), (3, 4000), (4000, 3), (224, 224)])
def test_any_size(size):
    """Slivers and dots are resized too."""
    assert images.tensor(Image.new("RGB", size), Preprocessing()).shape == (3, 224, 224)


@pytest.mark.parametrize("kind", ["png", "gif", "webp", "bmp", "tiff", "jpeg"])
def test_any_format(tmp_path, kind):
    """What Pillow writes is read, whatever its mode."""
    mode = "L" if kind == "gif" else "CMYK" if kind in ("tiff", "jpeg") else "RGB"
    Image.new(mode, (300, 300)).save(tmp_path / f"picture.{kind}")
    assert images.load(tmp_path / f"picture.{kind}").mode == "RGB"


def test_sixteen_bits_are_scaled(tmp_path):
    """A 16-bit grey is the same grey in 8 bits, not white."""
    Image.fromarray(np.full((300, 300), 128 << 8, np.uint16)).save(tmp_path / "deep.png")
    assert images.load(tmp_path / "deep.png").getpixel((5, 5)) == (128, 128, 128)


def test_a_sliver_needs_no_gigabytes():
    """Only its middle is resized, and the middle is what is seen."""
    picture = Image.new("RGB", (100_001, 1))
    picture.putpixel((50_000, 0), (255, 255, 255))
    assert images.without_far_ends(picture).size[0] <= 5
    assert images.tensor(picture, Preprocessing())[0, 112, 112] > images.tensor(picture, Preprocessing())[0, 112, 0]


def test_the_camera_was_turned(tmp_path):
    """EXIF orientation 6: the picture is stored lying on its side."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20)).save(tmp_path / "turned.jpg", exif=exif)
    assert images.load(tmp_path / "turned.jpg").size == (20, 40)


PHOTOGRAPH = images.PHOTOGRAPHS[0].read_bytes()


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("missing.jpg", None, "there is no such file"),
        ("empty.png", b"", "Pillow knows no such format"),
        ("text.jpg", b"no image at all", "Pillow knows no such format"),
        ("cut.jpg", PHOTOGRAPH[: len(PHOTOGRAPH) // 2], "image file is truncated"),
        ("cut.png", b"\x89PNG\r\n\x1a\n" + bytes(20), "is not a readable image"),
    ],
)
def test_a_broken_file_is_one_sentence(tmp_path, name, content, why):
    """The path and what is wrong with it."""
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ImageUnreadable) as caught:
        images.load(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name} is not a readable image: ")
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)
