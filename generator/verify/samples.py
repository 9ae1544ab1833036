"""Sample inputs for a network: photographs for images, otherwise valid numbers."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from generator.errors import BadValue
from generator.graph.datatypes import numpy_type
from generator.imagenet import images
from generator.types import Preprocessing, Signature, TensorSpec

Array = npt.NDArray[Any]

CHANNELS = 3


def feeds(inputs: Iterable[TensorSpec], rows: int | None, preprocessing: Preprocessing | None) -> dict[str, Array]:
    """Return different rows for each input, shape [rows, *dims], or [*dims] if `rows` is None; equal on every call."""
    rng = np.random.default_rng(0)
    return {spec.name: sample(spec, rows, preprocessing, rng) for spec in inputs}


def sample(spec: TensorSpec, rows: int | None, preprocessing: Preprocessing | None, rng: np.random.Generator) -> Array:
    """Return photographs then noise for an image input, otherwise noise."""
    if rows is None:
        (row,) = without_single_row((spec,))
        return noise(spec, spec.dims, rng) if row == spec else sample(row, 1, preprocessing, rng)
    if preprocessing is None or not takes_image(spec, preprocessing):
        return noise(spec, (rows, *spec.dims), rng)
    photographs = [photograph(spec, path, preprocessing) for path in images.PHOTOGRAPHS[:rows]]
    rest = noise(spec, (rows - len(photographs), *spec.dims), rng)
    return np.concatenate([np.stack(photographs).astype(rest.dtype), rest])


def described(signature: Signature, preprocessing: Preprocessing | None) -> str:
    """Describe the result of `feeds`, for the certificate."""
    rows = without_single_row(signature.inputs) if signature.unbatched else signature.inputs
    pictures = preprocessing is not None and all(takes_image(spec, preprocessing) for spec in rows)
    if not pictures:
        return "noise, and small whole numbers for integers; every row another"
    if signature.unbatched:
        return "a photograph"
    return f"{len(images.PHOTOGRAPHS)} photographs, then noise; every row another"


def noise(spec: TensorSpec, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Return unit normal floats, any bytes, 0 and 1 for wider integers (they may be indices), or digits as strings."""
    match spec.datatype:
        case "TYPE_FP32":
            return rng.standard_normal(shape, dtype=np.float32)
        case "TYPE_FP16" | "TYPE_FP64":
            return rng.standard_normal(shape).astype(numpy_type(spec.datatype))
        case "TYPE_UINT8":
            return rng.integers(0, 256, shape, dtype=np.uint8)
        case "TYPE_STRING":
            return rng.integers(0, 10, shape).astype(str).astype(np.object_)
        case _:
            return rng.integers(0, 2, shape).astype(numpy_type(spec.datatype))


def photograph(spec: TensorSpec, path: Path, preprocessing: Preprocessing) -> Array:
    """Load one photograph in the layout of the input."""
    pixels = images.tensor(images.load(path), preprocessing)
    return pixels if spec.dims[0] == CHANNELS else np.ascontiguousarray(pixels.transpose(1, 2, 0))


def takes_image(spec: TensorSpec, preprocessing: Preprocessing) -> bool:
    """Check for a normalised RGB image of the cropped size, channels first or last."""
    side = preprocessing.crop_px
    return spec.datatype in ("TYPE_FP16", "TYPE_FP32") and spec.dims in (
        (CHANNELS, side, side),
        (side, side, CHANNELS),
    )


def without_single_row(inputs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
    """Remove the first dimension of the inputs of an unbatched model, if it is 1 in all of them."""
    if any(spec.dims[:1] != (1,) for spec in inputs):
        return inputs
    return tuple(replace(spec, dims=spec.dims[1:]) for spec in inputs)


def image_preprocessing(inputs: tuple[TensorSpec, ...], options: Mapping[str, Any]) -> Preprocessing | None:
    """Return ImageNet's preprocessing with these options for the only input, if that takes a square image.

    Raise BadValue if there are options but no image input.
    """
    side = max(inputs[0].dims, default=0)
    # The published networks resize to 256 and crop to 224.
    default = Preprocessing(resize_short_px=round(side * 256 / 224), crop_px=side)
    if len(inputs) == 1 and takes_image(inputs[0], default):
        return replace(default, **options)
    for key, value in options.items():
        text = ",".join(map(str, value)) if isinstance(value, tuple) else value
        raise BadValue(key, text, f"no input takes a square RGB image: {', '.join(spec.shape for spec in inputs)}")
    return None
