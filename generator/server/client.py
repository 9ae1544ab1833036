"""Classify images with a served model."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tritonclient.grpc as triton

from generator.errors import InferenceFailed, TritongenError
from generator.graph.datatypes import numpy_type, wire_type
from generator.imagenet.images import load
from generator.repository.s3.url import S3Url, location
from generator.server.engines import connected
from generator.server.probe import ServedModel, TritonClient
from generator.types import Preprocessing, TensorSpec
from generator.verify import samples

TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Guess:
    """One class of an image: its logit, index and label."""

    logit: float
    index: int
    label: str


@dataclass(frozen=True)
class Classified:
    """The best classes of each image, best first, and the weights of the model as its config states them."""

    model: str
    weights: str
    images: dict[Path, tuple[Guess, ...]]


def infer(
    images: str | Path | Iterable[str | Path],
    model: str,
    *,
    top: int = 5,
    url: str | None = None,
    repository: str | Path | S3Url = "model_repository",
) -> Classified:
    """Classify image files with a served model.

    Args:
        images: one or more image files.
        model: the name of the model, in any letter case.
        top: the number of classes per image.
        url: `host:port` of a gRPC port. Default: the server at localhost:8001, else one that is started for the call.
        repository: the model repository that a started server serves.

    Raises:
        ImageUnreadable: a file is not an image; no request was sent.
        ServerUnreachable: nothing answers at `url`.
        ModelNotServed: the server does not have the model ready.
        TritongenError: the model takes no image or does not answer with classes, or the server could not be started.
    """
    paths = [Path(path) for path in ([images] if isinstance(images, str | Path) else images)]
    for path in paths:
        load(path)  # a broken file is refused before a server is started
    name = model.lower()
    with connected(url, location(repository, "repository"), models=[name]) as server:
        served = server.served_model(name)
        answers = {path: classify(server, served, path, top) for path in paths}
    return Classified(name, served.parameters.get("tritongen.weights", "not stated"), answers)


def classify(server: TritonClient, model: ServedModel, path: Path, top: int) -> tuple[Guess, ...]:
    """Return the `top` classes of an image with the labels of the server, by Triton's classification extension.

    Raises:
        ImageUnreadable: the file is not an image; no request was sent.
        TritongenError: the model takes no image, or does not have exactly one output with classes.
        InferenceFailed: the server answered with an error.
    """
    inputs, preprocessing = row_specs(model), preprocessing_of(model)
    if len(inputs) != 1 or preprocessing is None or not samples.takes_image(inputs[0], preprocessing):
        listed = ", ".join(f"{spec.name} {spec.datatype} {list(spec.dims)}" for spec in model.inputs)
        hint = "`tritongen infer` sends one normalised RGB image; tritonclient sends anything"
        raise TritongenError(f"{model.name} takes no image: its input is {listed}", hint)
    outputs = [spec.name for spec in model.outputs if sum(dim != 1 for dim in spec.dims) == 1]
    if len(outputs) != 1:
        listed = ", ".join(f"{spec.name} {list(spec.dims)}" for spec in model.outputs)
        raise TritongenError(f"{model.name} does not answer with one score per class: its output is {listed}")
    spec = inputs[0]
    batch = samples.photograph(spec, path, preprocessing)[np.newaxis].astype(numpy_type(spec.datatype))
    request = triton.InferInput(spec.name, list(batch.shape), wire_type(spec.datatype))
    request.set_data_from_numpy(batch)
    classes = triton.InferRequestedOutput(outputs[0], class_count=top)
    try:
        answer = server.grpc.infer(model.name, [request], outputs=[classes], client_timeout=TIMEOUT_S)
    except triton.InferenceServerException as error:
        raise InferenceFailed(model.name, error.message()) from error
    guesses = []
    for row in np.ravel(answer.as_numpy(outputs[0])):  # b"12.5:281:tabby, tabby cat"
        logit, index, *label = row.decode().split(":", 2)
        guesses.append(Guess(float(logit), int(index), label[0] if label else ""))
    return tuple(guesses)


def row_specs(model: ServedModel) -> tuple[TensorSpec, ...]:
    """Return the inputs without the batch dimension, also if the batch size is fixed to 1."""
    return model.inputs if model.max_batch_size else samples.without_single_row(model.inputs)


def preprocessing_of(model: ServedModel) -> Preprocessing | None:
    """Return the preprocessing in a model's parameters, else the one of ImageNet, or None if the model takes no image.

    Raises:
        TritongenError: the parameters of the model are not as tritongen writes them.
    """
    default = samples.image_preprocessing(row_specs(model), {})
    parameters = model.parameters
    if default is None or "tritongen.crop_px" not in parameters:
        return default
    try:
        return Preprocessing(
            resize_short_px=int(parameters["tritongen.resize_short_px"]),
            crop_px=int(parameters["tritongen.crop_px"]),
            mean=triple(parameters["tritongen.mean"]),
            std=triple(parameters["tritongen.std"]),
        )
    except (KeyError, ValueError) as error:
        raise TritongenError(
            f"the tritongen.* parameters of {model.name} are not a preprocessing: {error}", "build the model again"
        ) from error


def triple(text: str) -> tuple[float, float, float]:
    """Read three numbers, such as `0.485,0.456,0.406`."""
    red, green, blue = map(float, text.split(","))
    return red, green, blue
