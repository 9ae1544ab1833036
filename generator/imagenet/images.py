"""Image files as input tensors."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from generator.errors import ImageUnreadable
from generator.imagenet import ASSETS
from generator.types import Preprocessing

# For verification and the demo; CC0 by Stefan van der Walt and Rachel Michetti, from scikit-image's sample data.
PHOTOGRAPHS = (ASSETS / "chelsea.jpg", ASSETS / "coffee.jpg")


def load(path: Path) -> Image.Image:
    """Read an image as RGB, turned upright by its EXIF orientation; raise ImageUnreadable if that fails."""
    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I"):  # 16-bit greys: convert() would clip them to white
                upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
            return upright.convert("RGB")
    except FileNotFoundError as error:
        raise ImageUnreadable(path, "there is no such file") from error
    except IsADirectoryError as error:
        raise ImageUnreadable(path, "it is a folder") from error
    except UnidentifiedImageError as error:
        raise ImageUnreadable(path, "Pillow does not know its format") from error
    # Pillow's decoders raise any error of their parsers.
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise ImageUnreadable(path, str(error).lower() or type(error).__name__) from error


def tensor(image: Image.Image, preprocessing: Preprocessing) -> npt.NDArray[np.float32]:
    """Resize the short side, crop the centre, and normalise with mean and std: [3,crop,crop] fp32."""
    image = without_ends(image)
    width, height = image.size
    scale = preprocessing.resize_short_px / min(width, height)
    crop = preprocessing.crop_px
    resized = image.resize(
        (max(crop, round(width * scale)), max(crop, round(height * scale))), Image.Resampling.BILINEAR
    )
    left, top = (resized.width - crop) // 2, (resized.height - crop) // 2
    pixels = np.asarray(resized.crop((left, top, left + crop, top + crop)), dtype=np.float32) / 255
    normalised = (pixels - np.array(preprocessing.mean, np.float32)) / np.array(preprocessing.std, np.float32)
    return np.ascontiguousarray(normalised.transpose(2, 0, 1), dtype=np.float32)


def without_ends(image: Image.Image) -> Image.Image:
    """Cut a very long image to its middle, since only the middle is cropped and the whole would need gigabytes."""
    width, height = image.size
    longest = 4 * min(width, height)
    if max(width, height) <= longest:
        return image
    left, top = max(0, width - longest) // 2, max(0, height - longest) // 2
    return image.crop((left, top, width - left, height - top))
