"""The input of measured requests: a photograph or other real values, never random bytes, which contain NaN."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import numpy as np

from generator.errors import TritongenError
from generator.server.client import preprocessing_of
from generator.verify import samples

if TYPE_CHECKING:
    from generator.server.probe import ServedModel
    from generator.verify.samples import Array


def input_row(model: ServedModel) -> dict[str, Array]:
    """Return one row of a batch: an array of [*dims] per input.

    Raises:
        TritongenError: an input has dimensions of any size.
    """
    for spec in model.inputs:
        if any(dim < 1 for dim in spec.dims):
            raise TritongenError(f"{model.name} leaves dimensions of {spec.name!r} open")
    return {name: array[0] for name, array in samples.feeds(model.inputs, 1, preprocessing_of(model)).items()}


def analyzer_json(row: dict[str, Array]) -> str:
    """Return perf_analyzer's JSON for a row: strings as they are, other values as base64."""

    def content(array: Array) -> object:
        return (
            array.ravel().tolist() if array.dtype == np.object_ else {"b64": base64.b64encode(array.tobytes()).decode()}
        )

    return json.dumps(
        {"data": [{name: {"content": content(array), "shape": array.shape} for name, array in row.items()}]}
    )
