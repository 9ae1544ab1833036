"""A network on its way into the repository: a simplified graph, beside what it must agree with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from generator.errors import BadValue
from generator.graph.signature import shown
from generator.verify import samples

if TYPE_CHECKING:
    from generator.graph.types import Simplified
    from generator.networks.user_networks import OnnxFile, TorchNetwork
    from generator.types import Preprocessing, Signature, TensorSpec, Weights
    from generator.verify.references import Reference


@dataclass(frozen=True)
class Prepared:
    """A network as a simplified graph, beside what it must agree with."""

    exporter: str
    simplified: Simplified
    signature: Signature
    reference: Reference
    weights: Weights
    preprocessing: Preprocessing | None


def preprocessing_of(definition: TorchNetwork | OnnxFile, inputs: tuple[TensorSpec, ...]) -> Preprocessing | None:
    """How an image becomes the only input, as far as it is told and ImageNet's way otherwise; None for no image.

    Raises:
        BadValue: it is told of an input that is no image.
    """
    guess = samples.image_preprocessing(inputs)
    told = definition.image.given()
    if guess is not None:
        return replace(guess, **told)
    if told:
        key, value = next(iter(told.items()))
        text = ",".join(map(str, value)) if isinstance(value, tuple) else value
        raise BadValue(key, text, f"no input takes a square RGB image: {', '.join(map(shown, inputs))}")
    return None
