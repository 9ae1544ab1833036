"""What perf_analyzer sends: real values in its JSON, never random bytes, which hold NaN."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import numpy as np

from generator.errors import TritongenError
from generator.server.client import preprocessing_of
from generator.verify import samples

if TYPE_CHECKING:
    from generator.server.served_model import ServedModel
    from generator.verify.samples import Array


def input_feeds(model: ServedModel) -> dict[str, Array]:
    """What every row of a batch is, [*dims] an input: a photograph for an image.

    Raises:
        TritongenError: an input has no size of its own.
    """
    for spec in model.inputs:
        if any(dim < 1 for dim in spec.dims):
            raise TritongenError(f"{model.name} leaves dimensions of {spec.name!r} open")
    return {name: array[0] for name, array in samples.feeds(model.inputs, 1, preprocessing_of(model)).items()}


def input_data(feeds: dict[str, Array]) -> str:
    """perf_analyzer's JSON for one row: raw bytes, or the strings themselves."""
    tensors = {
        name: {"content": array.ravel().tolist(), "shape": list(array.shape)}
        if array.dtype == np.object_
        else {"content": {"b64": base64.b64encode(array.tobytes()).decode()}, "shape": list(array.shape)}
        for name, array in feeds.items()
    }
    return json.dumps({"data": [tensors]})
