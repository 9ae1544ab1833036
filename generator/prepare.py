"""The first steps of a build, which differ by what a network is made of: its weights, and its graph."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from generator import onnx_file, samples
from generator.batching import rows_of, with_dynamic_batch
from generator.errors import BadOption, NetworkUnusable, OnnxUnreadable
from generator.export import ROWS, export, first_line
from generator.labels import IMAGENET
from generator.networks import INPUT
from generator.networks.own import load_plugin, module_of, zeros
from generator.references import OnnxReference, TorchReference
from generator.signature import OPEN, shown, signature
from generator.simplify import simplify
from generator.spec import DenseNetShape, DPNShape, OnnxFile, Plugin, Preprocessing, TorchNetwork, Weights
from generator.verify import compare

SAME = 1e-3  # of the largest value: sums in another order, not another row's doing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from generator.references import Reference
    from generator.spec import BuildOptions, Exported, Network, Signature, Simplified, TensorSpec

    LoadWeights = Callable[[Network], tuple[nn.Module, Weights, Preprocessing]]


@dataclass(frozen=True)
class Prepared:
    """A network as a simplified graph, beside what it must agree with."""

    exported: Exported
    simplified: Simplified
    signature: Signature
    reference: Reference
    weights: Weights
    preprocessing: Preprocessing | None
    labels: Path | None = None


def prepare(
    network: Network, options: BuildOptions, load_weights: LoadWeights, on_step: Callable[[str], None]
) -> Prepared:
    """Weights, export, simplify.

    Raises:
        TritongenError: what the network is made of gives no graph that can be served.
    """
    definition = network.shape
    if isinstance(definition, Plugin):
        definition = load_plugin(definition)
    match definition:
        case OnnxFile():
            return from_onnx(network.name, definition, options, on_step)
        case TorchNetwork():
            return from_torch(network.name, definition, options, on_step)
        case DenseNetShape() | DPNShape():
            return from_table(network, options, load_weights, on_step)


def from_table(
    network: Network, options: BuildOptions, load_weights: LoadWeights, on_step: Callable[[str], None]
) -> Prepared:
    """One of the ten."""
    on_step("weights")
    module, weights, preprocessing = load_weights(network)
    on_step("export")
    exported = export(network.name, module, (INPUT,), ("output",))
    on_step("simplify")
    simplified = simplify(network.name, exported, options.rewrites)
    return Prepared(
        exported,
        simplified,
        signature(network.name, simplified.model),
        TorchReference(module),
        weights,
        preprocessing,
        IMAGENET,
    )


def from_torch(name: str, definition: TorchNetwork, options: BuildOptions, on_step: Callable[[str], None]) -> Prepared:
    """A torch module of the user's."""
    on_step("weights")
    module = Flat(module_of(definition, name))
    outputs = output_names(definition.target or name, module, definition)
    on_step("export")
    exported = export(name, module, definition.inputs, outputs)
    on_step("simplify")
    simplified = simplify(name, exported, options.rewrites)
    return Prepared(
        exported,
        simplified,
        signature(name, simplified.model),
        TorchReference(module),
        Weights(definition.target or "plugin"),
        preprocessing_of(definition, definition.inputs),
        definition.labels,
    )


class Flat(nn.Module):
    """A module whose answer, a tensor, or a sequence or mapping of tensors, is a tuple."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The tensors in order."""
        return sequence(self.module(*inputs))


def sequence(answer: Any) -> tuple[torch.Tensor, ...]:  # noqa: ANN401 (whatever a module returns)
    """A tensor, or those of a sequence or mapping."""
    if isinstance(answer, torch.Tensor):
        return (answer,)
    return tuple(answer.values() if isinstance(answer, dict) else answer)


def output_names(target: str, flat: Flat, definition: TorchNetwork) -> tuple[str, ...]:
    """The keys of a mapping; else `output`, or `output_0`, `output_1` and so on.

    Raises:
        NetworkUnusable: the module does not take these inputs, or gives something else than tensors.
    """
    try:
        with torch.no_grad():
            answer = flat.module(*zeros(definition.inputs, ROWS))
    except Exception as error:
        raise NetworkUnusable(target, f"it does not take its inputs: {first_line(error)}", "see --input") from error
    values = sequence(answer)
    if not values or not all(isinstance(value, torch.Tensor) for value in values):
        raise NetworkUnusable(target, "it answers with something else than tensors")
    if isinstance(answer, dict):
        return tuple(map(str, answer))
    return ("output",) if len(values) == 1 else tuple(f"output_{i}" for i in range(len(values)))


def from_onnx(name: str, definition: OnnxFile, options: BuildOptions, on_step: Callable[[str], None]) -> Prepared:
    """An ONNX file of the user's; a batch of fixed size becomes a dynamic one where that is safe."""
    path = definition.path
    on_step("weights")
    exported = onnx_file.read(path, definition.dims)
    reference: Reference = given(path)
    on_step("simplify")
    simplified = simplify(name, exported, options.rewrites)
    served = signature(name, simplified.model)
    preprocessing = preprocessing_of(definition, served.inputs)
    if served.unbatched:
        simplified, served, reference = batched(name, path, simplified, served)
        preprocessing = preprocessing_of(definition, served.inputs)
        check_closed(path, served)
    else:
        check_closed(path, served)
        served = signature(name, simplified.model, unbatched=mixing(path, reference, served, preprocessing))
        check_closed(path, served)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    weights = Weights("onnx", file=path.name, sha256=digest)
    return Prepared(exported, simplified, served, reference, weights, preprocessing)


def preprocessing_of(definition: TorchNetwork | OnnxFile, inputs: tuple[TensorSpec, ...]) -> Preprocessing | None:
    """How an image becomes the only input, as far as it is told and ImageNet's way otherwise; None for no image.

    Raises:
        BadOption: it is told of an input that is no image.
    """
    guess = samples.image_preprocessing(inputs)
    told = {key: value for key, value in asdict(definition.image).items() if value is not None}
    if guess is not None:
        return replace(guess, **told)
    if told:
        raise BadOption(
            "--mean, --std, --resize", "given", f"no square RGB image goes into {', '.join(map(shown, inputs))}"
        )
    return None


def batched(
    name: str, path: Path, simplified: Simplified, served: Signature
) -> tuple[Simplified, Signature, Reference]:
    """With its fixed batch made a dynamic one; or as it was, with the reason why not."""
    rows = None if simplified.sidecars else rows_of(simplified.model)
    if rows is None:
        return simplified, served, given(path)
    model, reason = with_dynamic_batch(simplified.model)
    if reason:
        return simplified, replace(served, unbatched=f"its batch stays {rows}: {reason}"), given(path)
    return replace(simplified, model=model), signature(name, model), given(path, rows)


def given(path: Path, rows: int | None = None) -> OnnxReference:
    """The file as ONNX Runtime takes it.

    Raises:
        OnnxUnreadable: it does not.
    """
    try:
        return OnnxReference(path, rows)
    except Exception as error:
        raise OnnxUnreadable(path, f"ONNX Runtime refuses it: {first_line(error)}") from error


def mixing(path: Path, reference: Reference, served: Signature, preprocessing: Preprocessing | None) -> str | None:
    """Why a dynamic first dimension is no batch: two rows together are not what each is alone.

    Raises:
        OnnxUnreadable: it cannot answer even one row.
    """
    pair = samples.feeds(served.inputs, 2, preprocessing)
    try:
        alone = [reference.run({name: array[row : row + 1] for name, array in pair.items()}) for row in range(2)]
    except Exception as error:
        raise OnnxUnreadable(path, f"ONNX Runtime cannot run it: {first_line(error)}") from error
    try:
        together = reference.run(pair)
    except Exception as error:  # noqa: BLE001 (whatever it is, it is the file's)
        return f"it does not take two rows at once: {first_line(error)}"
    joined = [np.concatenate(parts) for parts in zip(*alone, strict=True)]
    if compare(joined, together, 2, ranked=False).relative_error <= SAME:
        return None
    return "its answer to one row depends on the other rows"


def check_closed(path: Path, served: Signature) -> None:
    """Raise BadOption where an input has a dimension that nobody has said."""
    for spec in served.inputs:
        if OPEN in spec.dims:
            sizes = "x".join("224" if dim == OPEN else str(dim) for dim in spec.dims)
            raise BadOption(
                "--onnx", path, f"its input {spec.name!r} {shown(spec)} leaves a dimension open",
                f"say what it is to be, such as --input {spec.name}:{sizes}",
            )  # fmt: skip
