"""Inputs to try a network on: photographs where it takes images, else numbers that such an input may hold."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from generator.graph.datatypes import numpy_type
from generator.imagenet import images
from generator.types import Preprocessing

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import numpy.typing as npt

    from generator.types import Signature, TensorSpec

    Array = npt.NDArray[Any]

CHANNELS = 3


def feeds(inputs: Iterable[TensorSpec], rows: int | None, preprocessing: Preprocessing | None) -> dict[str, Array]:
    """A value for each input, [rows, *dims], every row another; [*dims] where `rows` is None.

    The same on every call.
    """
    rng = np.random.default_rng(0)
    return {spec.name: sample(spec, rows, preprocessing, rng) for spec in inputs}


def sample(spec: TensorSpec, rows: int | None, preprocessing: Preprocessing | None, rng: np.random.Generator) -> Array:
    """Photographs first and then noise for an image, noise for other floats, small whole numbers for the rest."""
    if rows is None:
        (row,) = of_one_row((spec,))
        return noise(spec, spec.dims, rng) if row == spec else sample(row, 1, preprocessing, rng)
    if preprocessing is None or not takes_image(spec, preprocessing):
        return noise(spec, (rows, *spec.dims), rng)
    photographs = [photograph(spec, path, preprocessing) for path in images.PHOTOGRAPHS[:rows]]
    rest = noise(spec, (rows - len(photographs), *spec.dims), rng)
    return np.concatenate([np.stack(photographs).astype(rest.dtype), rest])


def described(signature: Signature, preprocessing: Preprocessing | None) -> str:
    """What `feeds` gives, in words."""
    rows = of_one_row(signature.inputs) if signature.unbatched else signature.inputs
    pictures = preprocessing is not None and all(takes_image(spec, preprocessing) for spec in rows)
    if not pictures:
        return "noise, and small whole numbers for integers; every row another"
    if signature.unbatched:
        return "a photograph"
    return f"{len(images.PHOTOGRAPHS)} photographs, then noise; every row another"


def noise(spec: TensorSpec, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Unit normal floats; all of a byte; 0 and 1 for wider integers, which may be indices; digits for strings."""
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
    """One picture as the input takes it."""
    pixels = images.tensor(images.load(path), preprocessing)
    return pixels if spec.dims[0] == CHANNELS else np.ascontiguousarray(pixels.transpose(1, 2, 0))


def takes_image(spec: TensorSpec, preprocessing: Preprocessing) -> bool:
    """Whether an input is a normalised RGB image of that size, channels first or last."""
    side = preprocessing.crop_px
    return spec.datatype in ("TYPE_FP16", "TYPE_FP32") and spec.dims in (
        (CHANNELS, side, side),
        (side, side, CHANNELS),
    )


def of_one_row(inputs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
    """The inputs of a model without a batch, less their first dimension where it is 1 in all of them."""
    if any(spec.dims[:1] != (1,) for spec in inputs):
        return inputs
    return tuple(replace(spec, dims=spec.dims[1:]) for spec in inputs)


def image_preprocessing(inputs: tuple[TensorSpec, ...]) -> Preprocessing | None:
    """ImageNet's preprocessing at the size of the only input, where that may be a square image."""
    if len(inputs) != 1:
        return None
    dims = inputs[0].dims
    side = max(dims, default=0)
    # As the published networks have it: 256 to 224.
    guess = Preprocessing(resize_short_px=round(side * 256 / 224), crop_px=side)
    return guess if takes_image(inputs[0], guess) else None
