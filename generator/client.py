"""One image to a served model: tensor out, labels back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import tritonclient.grpc as triton

from generator import image
from generator.errors import InferenceFailed, TritongenError
from generator.spec import Preprocessing

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Guess:
    """One of the classes that a model gave an image: its logit, index and label."""

    logit: float
    index: int
    label: str


def classify(url: str, model: str, path: Path, preprocessing: Preprocessing, top: int) -> tuple[Guess, ...]:
    """The `top` classes of an image, by Triton's classification extension; the labels are the server's.

    Raises:
        ImageUnreadable: the file is no image; the server was not asked.
        InferenceFailed: the server answered with an error.
    """
    batch = image.tensor(image.load(path), preprocessing)[np.newaxis]
    request = triton.InferInput("input", list(batch.shape), "FP32")
    request.set_data_from_numpy(batch)
    wanted = triton.InferRequestedOutput("output", class_count=top)
    try:
        with triton.InferenceServerClient(url) as client:
            answer = client.infer(model, [request], outputs=[wanted], client_timeout=TIMEOUT_S)
    except triton.InferenceServerException as error:
        raise InferenceFailed(model, error.message()) from error
    return tuple(parse(row) for row in np.ravel(answer.as_numpy("output")))


def parse(row: bytes) -> Guess:
    """`b"12.5:281:tabby, tabby cat"`, as the classification extension writes it."""
    logit, index, *label = row.decode().split(":", 2)
    return Guess(float(logit), int(index), label[0] if label else "")


def preprocessing_of(parameters: Mapping[str, str]) -> Preprocessing:
    """What a model built by tritongen says of its input; ImageNet's for any other.

    Raises:
        TritongenError: the model's parameters are not what tritongen writes.
    """
    default = Preprocessing()
    try:
        return Preprocessing(
            resize_short_px=int(parameters.get("tritongen.resize_short_px", default.resize_short_px)),
            crop_px=int(parameters.get("tritongen.crop_px", default.crop_px)),
            mean=triple(parameters.get("tritongen.mean"), default.mean),
            std=triple(parameters.get("tritongen.std"), default.std),
        )
    except ValueError as error:
        raise TritongenError(
            f"the model's tritongen.* parameters say no preprocessing: {error}", "build the model again"
        ) from error


def triple(text: str | None, default: tuple[float, float, float]) -> tuple[float, float, float]:
    """`0.485,0.456,0.406`."""
    if text is None:
        return default
    red, green, blue = map(float, text.split(","))
    return red, green, blue
