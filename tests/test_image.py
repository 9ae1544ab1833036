"""Image files as input tensors."""

import numpy as np
import pytest
from PIL import Image

from generator.errors import ImageUnreadable
from generator.imagenet import images
from generator.types import Preprocessing


def test_normalisation():
    """Each channel is (value / 255 - mean) / std, [3,224,224] fp32."""
    tensor = images.tensor(Image.new("RGB", (640, 480), (128, 64, 255)), Preprocessing())
    assert tensor.shape == (3, 224, 224)
    assert tensor.dtype == np.float32
    expected = [(128 / 255 - 0.485) / 0.229, (64 / 255 - 0.456) / 0.224, (255 / 255 - 0.406) / 0.225]
    for channel, value in enumerate(expected):
        np.testing.assert_allclose(tensor[channel], value, rtol=1e-5)


def test_centre_is_cropped_after_resizing():
    """A white square in the middle of a wide picture ends in the middle of the tensor."""
    picture = Image.new("RGB", (1024, 512))
    picture.paste((255, 255, 255), (512 - 100, 256 - 100, 512 + 100, 256 + 100))
    bright = images.tensor(picture, Preprocessing())[0] > 0
    rows, columns = np.flatnonzero(bright.any(axis=1)), np.flatnonzero(bright.any(axis=0))
    assert (rows[0], rows[-1]) == (62, 161)  # 224 / 2 ± 50
    assert (columns[0], columns[-1]) == (62, 161)


@pytest.mark.parametrize("size", [(1, 1), (3, 4000), (4000, 3), (224, 224)])
def test_any_size_is_accepted(size):
    """Very long and very small images are resized too."""
    assert images.tensor(Image.new("RGB", size), Preprocessing()).shape == (3, 224, 224)


@pytest.mark.parametrize("kind", ["png", "gif", "webp", "bmp", "tiff", "jpeg"])
def test_any_format_is_read(tmp_path, kind):
    """Formats and colour modes that Pillow writes are read."""
    mode = "L" if kind == "gif" else "CMYK" if kind in ("tiff", "jpeg") else "RGB"
    Image.new(mode, (300, 300)).save(tmp_path / f"picture.{kind}")
    assert images.load(tmp_path / f"picture.{kind}").mode == "RGB"


def test_16_bit_grey_is_scaled(tmp_path):
    """A 16-bit grey becomes the same grey in 8 bits, not white."""
    Image.fromarray(np.full((300, 300), 128 << 8, np.uint16)).save(tmp_path / "deep.png")
    assert images.load(tmp_path / "deep.png").getpixel((5, 5)) == (128, 128, 128)


def test_very_long_image_needs_little_memory():
    """Only the middle is resized, since only the middle is cropped."""
    picture = Image.new("RGB", (100_001, 1))
    picture.putpixel((50_000, 0), (255, 255, 255))
    assert images.without_ends(picture).size[0] <= 5
    assert images.tensor(picture, Preprocessing())[0, 112, 112] > images.tensor(picture, Preprocessing())[0, 112, 0]


def test_exif_orientation_is_applied(tmp_path):
    """With EXIF orientation 6 the image is stored on its side."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20)).save(tmp_path / "turned.jpg", exif=exif)
    assert images.load(tmp_path / "turned.jpg").size == (20, 40)


PHOTOGRAPH = images.PHOTOGRAPHS[0].read_bytes()


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("missing.jpg", None, "there is no such file"),
        ("empty.png", b"", "Pillow does not know its format"),
        ("text.jpg", b"no image at all", "Pillow does not know its format"),
        ("cut.jpg", PHOTOGRAPH[: len(PHOTOGRAPH) // 2], "image file is truncated"),
        ("cut.png", b"\x89PNG\r\n\x1a\n" + bytes(20), "is not a readable image"),
    ],
)
def test_broken_file_is_an_error(tmp_path, name, content, why):
    """The error names the path and the fault in one line."""
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ImageUnreadable) as caught:
        images.load(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name} is not a readable image: ")
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)
